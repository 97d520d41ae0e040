//! `leasehold workspace` against a running server: what each command does and prints, and the words where it
//! cannot be done.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{ADMIN_TOKEN, Ended, Launch, Server, no_body};
use serde_json::Value;

fn server() -> Result<Server> {
    Launch::new("sqlite://test.db?mode=rwc")?.server()
}

/// Runs `leasehold workspace` with these arguments against what listens there.
fn at(url: &str, arguments: &[&str]) -> Result<Ended> {
    let launch = Launch::alone(["workspace"])?.arguments(arguments.iter().copied());
    let launch = launch.arguments(["--server", url]).variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN);
    launch.run_to_completion()
}

fn run(server: &Server, arguments: &[&str]) -> Result<Ended> {
    at(&format!("http://{}", server.address()), arguments)
}

fn said(server: &Server, arguments: &[&str]) -> Result<String> {
    let ended = run(server, arguments)?;
    ensure!(ended.code == Some(0), "{arguments:?}: {:?} {}{}", ended.code, ended.stdout, ended.log);
    Ok(ended.stdout)
}

#[test]
fn a_workspace_is_made_shown_rotated_forgotten_and_deleted() -> Result<()> {
    let server = server()?;
    for id in ["acme", "a b/c?%", "..", "reset"] {
        let made = said(&server, &["create", id])?;
        let (name, token) = made.trim_end().split_once('\n').context("two lines")?;
        assert_eq!(name, id);
        let shown = said(&server, &["show", id])?;
        ensure!(shown.contains("secret: none yet") && shown.contains("cached: nothing"), "{shown}");
        let secret = server.delivered(id, token)?;
        let shown = said(&server, &["show", id])?;
        ensure!(shown.contains("secret: yes") && shown.contains("cached: fresh, obtained "), "{shown}");
        ensure!(shown.contains("by generation 1 (ttl 0.1.0)") && !shown.contains(&secret), "{shown}");
        let rotated = said(&server, &["rotate", id, "--key", "k", "--as", "alice"]);
        // The key is one rotation's, whichever workspace comes first.
        if id == "acme" {
            let (rotated, next) = (rotated?, server.delivered(id, token)?);
            ensure!(next != secret && !rotated.contains(&next), "{rotated}");
            assert_eq!(said(&server, &["rotate", id, "--key", "k", "--print"])?.trim_end(), next);
        } else {
            ensure!(rotated.is_err_and(|error| error.to_string().contains("another workspace")));
        }
        ensure!(server.stat("entries")? == 1);
        said(&server, &["forget", id])?;
        ensure!(server.stat("entries")? == 0);
        said(&server, &["delete", id])?;
        server.heartbeat(id, token)?.refusal(401, "unauthorized")?;
    }
    Ok(())
}

#[test]
fn workspaces_are_listed_page_after_page() -> Result<()> {
    let server = server()?;
    for n in 0..5 {
        let token = server.create(&format!("w-{n}"))?;
        if n < 2 {
            server.delivered(&format!("w-{n}"), &token)?;
        }
    }
    let ids = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.rsplit(' ').next().map(str::to_owned)).collect()
    };
    assert_eq!(ids(&said(&server, &["list"])?), ["w-0", "w-1", "w-2", "w-3", "w-4"]);
    assert_eq!(ids(&said(&server, &["list", "--limit", "2", "--all"])?).len(), 5);
    let page = run(&server, &["list", "--limit", "2", "--after", "w-1"])?;
    assert_eq!(ids(&page.stdout), ["w-2", "w-3"]);
    ensure!(page.log.contains("--after \"w-3\"") && page.log.contains("--all"), "{}", page.log);
    assert_eq!(ids(&said(&server, &["list", "--without-secret"])?), ["w-2", "w-3", "w-4"]);
    let json: Value = serde_json::from_str(&said(&server, &["list", "--limit", "1", "--json"])?)?;
    assert_eq!((&json["workspaces"][0]["id"], &json["next"]), (&"w-0".into(), &"w-0".into()));
    Ok(())
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() -> Result<()> {
    let server = server()?;
    server.create("w")?;
    for (arguments, words) in [
        (&["show", "unheard-of"][..], &["404", "create it first"][..]),
        (&["create", "w"], &["409", "choose another id"]),
        (&["delete", "unheard-of"], &["404", "create it first"]),
        (&["rotate", "unheard-of"], &["404", "create it first"]),
        (&["rotate", "w", "--key", ""], &["400", "Idempotency-Key must have 1 to 255"]),
        (&["list", "--limit", "1001"], &["400", "from 1 to 1000"]),
        (&["show", "a\nb"], &["is no id"]),
        (&["show", "w", "--as", "two\nlines"], &["--as"]),
        (&["token", "revoke", "w", ""], &["is no id"]),
    ] {
        let ended = run(&server, arguments)?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", ended.log);
        ensure!(ended.log.lines().count() == 1, "{arguments:?}: {}", ended.log);
        for word in words {
            ensure!(ended.log.contains(word), "{arguments:?}: no {word:?} in {}", ended.log);
        }
    }
    let nobody = at("http://127.0.0.1:9", &["list"])?;
    ensure!(nobody.log.contains("no answer from http://127.0.0.1:9"), "{}", nobody.log);
    server.admin("GET", "/workspaces/w", no_body())?.json(200)?;
    Ok(())
}

/// Answers one request with this body, and returns what was asked.
fn answering(body: &'static str) -> Result<(String, thread::JoinHandle<Result<String>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let answered = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let (mut request, mut bytes) = (Vec::new(), [0; 1024]);
        // The body comes with the head, or right behind it: it ends with a brace, where there is one.
        while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"}") {
            let count = stream.read(&mut bytes)?;
            ensure!(count > 0, "it ended early");
            request.extend_from_slice(&bytes[..count]);
            if request.starts_with(b"POST") && request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut bytes)?;
                request.extend_from_slice(&bytes[..count]);
            }
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        Ok(String::from_utf8(request)?)
    });
    Ok((url, answered))
}

#[test]
fn the_tokens_of_a_workspace_are_asked_for_as_the_server_has_them() -> Result<()> {
    const MADE: &str = r#"{"id":"t-2","auth_token":"the-token","prefix":"the-"}"#;
    const LIST: &str = r#"{"tokens":[{"id":"t-1","prefix":"abcd","created_at":"2026-01-01T00:00:00Z",
        "last_used_at":null,"expires_at":"2027-01-01T00:00:00Z"}]}"#;
    for (arguments, body, asked, words) in [
        (&["token", "list", "w"][..], LIST, "GET /workspaces/w/tokens ", "t-1  abcd  made 2026-01-01"),
        (&["token", "new", "w", "--expires-in", "30d"], MADE, r#"{"expires_in":"30d"}"#, "t-2\nthe-token\n"),
        (&["token", "new", "w"], MADE, "POST /workspaces/w/tokens ", "t-2\nthe-token\n"),
        (&["token", "rotate", "w", "--overlap", "1h"], MADE, r#"{"overlap":"1h"}"#, "t-2\nthe-token\n"),
        (&["token", "rotate", "w"], MADE, "POST /workspaces/w/tokens/rotate ", "t-2\nthe-token\n"),
        (&["token", "revoke", "w", "t 1"], "{}", "DELETE /workspaces/w/tokens/t%201 ", "was revoked"),
    ] {
        let (url, answered) = answering(body)?;
        let ended = at(&url, arguments)?;
        let request = answered.join().expect("no panic")?;
        ensure!(request.contains(asked), "{arguments:?}: {request}");
        ensure!(ended.code == Some(0) && ended.stdout.contains(words), "{arguments:?}: {ended:?}");
    }
    Ok(())
}

#[test]
fn the_tokens_of_a_workspace_are_made_listed_rotated_and_revoked() -> Result<()> {
    let server = server()?;
    let first = said(&server, &["create", "w"])?.lines().nth(1).context("a token")?.to_owned();
    let id_and_token = |text: String| {
        let (id, token) = text.trim_end().split_once('\n').context("two lines")?;
        anyhow::Ok((id.to_owned(), token.to_owned()))
    };
    let (second_id, second) = id_and_token(said(&server, &["token", "new", "w", "--expires-in", "30d"])?)?;
    let (_, third) = id_and_token(said(&server, &["token", "rotate", "w", "--overlap", "1h"])?)?;
    for token in [&first, &second, &third] {
        server.delivered("w", token)?;
    }
    said(&server, &["token", "revoke", "w", &second_id])?;
    server.heartbeat("w", &second)?.refusal(401, "unauthorized")?;
    let listed = said(&server, &["token", "list", "w"])?;
    ensure!(listed.lines().count() == 2 && !listed.contains(&second_id), "{listed}");
    ensure!([&first, &third].iter().all(|token| !listed.contains(token.as_str())), "{listed}");
    said(&server, &["token", "rotate", "w", "--overlap", "0s"])?;
    server.heartbeat("w", &first)?.refusal(401, "unauthorized")?;
    let refused = run(&server, &["token", "revoke", "w", &second_id])?;
    ensure!(refused.code == Some(1) && refused.log.contains("GET its tokens"), "{refused:?}");
    let record = server.stop().map(|ended| ended.log)?;
    ensure!(!record.contains(&third), "{record}");
    Ok(())
}

#[test]
fn what_a_server_says_does_not_control_the_terminal() -> Result<()> {
    const LIST: &str = r#"{"workspaces":[{"id":"\u001b[2Jw","created_at":"\u0007","has_secret":true}],
        "next":"\u001b[2Jw"}"#;
    const MADE: &str = r#"{"id":"\u001b[2Jw","auth_token":"\u001b[2Jt"}"#;
    for (arguments, body) in [(&["list"][..], LIST), (&["create", "w"], MADE), (&["list", "--json"], LIST)] {
        let (url, answered) = answering(body)?;
        let ended = at(&url, arguments)?;
        answered.join().expect("no panic")?;
        ensure!(ended.code == Some(0), "{ended:?}");
        let all = format!("{}{}", ended.stdout, ended.log);
        ensure!(!all.chars().any(|c| c.is_control() && c != '\n'), "{arguments:?}: {all:?}");
    }
    Ok(())
}
