//! The record of changes: each change of a workspace with who and from where, on the disk before an operator
//! is answered; heals by their heartbeat, which waits for no disk.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{ADMIN_TOKEN, Client, Launch, Server, no_body};
use leasehold_tests::{Engine, MAX_WAIT};
use serde_json::Value;

use super::W;
use crate::database::on_both;

on_both! {
    each_change_is_recorded_with_its_author_before_the_answer,
    a_change_that_was_refused_or_changed_nothing_leaves_no_line,
    a_heal_is_recorded_once_however_many_wait_for_it,
}

/// The lines about workspaces, and about what is cached.
fn changes(launch: &Launch) -> Result<Vec<Value>> {
    let record = fs::read_to_string(launch.folder().join("leasehold.state/audit.jsonl"))?;
    let lines = record.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok(lines.into_iter().filter(|line| line["peer"].is_string()).collect())
}

fn causes(launch: &Launch) -> Result<Vec<String>> {
    let causes = changes(launch)?.into_iter().map(|line| line["cause"].as_str().map(str::to_owned));
    causes.collect::<Option<_>>().context("a line without a cause")
}

/// Waits until a server has recorded this many changes.
fn recorded(launch: &Launch, count: usize) -> Result<Vec<String>> {
    let started = tokio::time::Instant::now();
    loop {
        let causes = causes(launch)?;
        if causes.len() >= count {
            return Ok(causes);
        }
        ensure!(started.elapsed() < MAX_WAIT, "it never came to that: {causes:?}");
    }
}

async fn each_change_is_recorded_with_its_author_before_the_answer(engine: Engine) -> Result<()> {
    let rows = engine.empty().await?;
    let launch = Launch::new(rows.url())?;
    let server = launch.server()?;
    let by_alice = |method: &str, path: &str, body: Vec<u8>| {
        server.send_with(&[("leasehold-operator", "alice")], method, path, Some(ADMIN_TOKEN), body)
    };
    let (path, secret) = (format!("/workspaces/{W}"), format!("/workspaces/{W}/secret"));
    let forget = format!("/admin/cache/forget/{W}");
    for (method, path, body, cause, workspace) in [
        ("POST", "/workspaces", format!(r#"{{"id":"{W}"}}"#), "create", Some(W)),
        ("POST", &secret, String::new(), "rotate", Some(W)),
        ("POST", "/admin/cache/reset", String::new(), "reset", None),
        ("POST", &forget, String::new(), "forget", Some(W)),
        ("DELETE", &path, String::new(), "delete", Some(W)),
    ] {
        let answer = by_alice(method, path, body.into())?;
        ensure!((200..300).contains(&answer.status), "{answer:?}");
        let line = changes(&launch)?.pop().with_context(|| format!("{cause}: no line is on the disk"))?;
        let text = |name: &str| line[name].as_str();
        assert_eq!(
            (text("cause"), text("workspace"), text("outcome")),
            (Some(cause), workspace, Some("done"))
        );
        assert_eq!((text("credential"), text("operator")), (Some("admin"), Some("alice")), "{line}");
        let peer = text("peer").context("no peer")?;
        let by = format!("alice, HTTP from {peer}, credential admin");
        ensure!(peer.starts_with("127.0.0.1:") && text("by") == Some(&by), "{line}");
        ensure!(text("at").is_some_and(|at| at.ends_with('Z')), "{line}");
    }
    server.stop()?;
    Ok(())
}

async fn a_change_that_was_refused_or_changed_nothing_leaves_no_line(engine: Engine) -> Result<()> {
    let rows = engine.empty().await?;
    let launch = Launch::new(rows.url())?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let secret = server.rotate("w")?;
    server.admin("POST", "/workspaces", br#"{"id":"w"}"#.to_vec())?.refusal(409, "workspace_exists")?;
    server.admin("POST", "/workspaces/unheard-of/secret", no_body())?.refusal(404, "unknown_workspace")?;
    server.admin("DELETE", "/workspaces/unheard-of", no_body())?.refusal(404, "unknown_workspace")?;
    server.admin("GET", "/workspaces/w/secret", no_body())?.json(200)?;
    assert_eq!(server.delivered("w", &token)?, secret);
    let key = [("idempotency-key", "k")];
    for _ in 0..3 {
        server.send_with(&key, "POST", "/workspaces/w/secret", Some(ADMIN_TOKEN), no_body())?.json(200)?;
    }
    assert_eq!(causes(&launch)?, ["create", "rotate", "rotate"], "a rotation that is answered again is none");
    let record = fs::read_to_string(launch.folder().join("leasehold.state/audit.jsonl"))?;
    ensure!(!record.contains(&secret) && !record.contains(&token), "the record has a secret");
    Ok(())
}

async fn a_heal_is_recorded_once_however_many_wait_for_it(engine: Engine) -> Result<()> {
    let rows = engine.empty().await?;
    let launch = Launch::new(rows.url())?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let client: &Client = &server;
    thread::scope(|scope| {
        let beats: Vec<_> = (0..16).map(|_| scope.spawn(|| client.delivered("w", &token))).collect();
        beats.into_iter().try_for_each(|beat| beat.join().expect("no panic").map(drop))
    })?;
    assert_eq!(recorded(&launch, 2)?, ["create", "heal"]);
    let heal = changes(&launch)?.pop().context("no line")?;
    ensure!(heal["by"].as_str().is_some_and(|by| by.starts_with("heartbeat from 127.0.0.1:")), "{heal}");
    ensure!(heal["workspace"] == "w" && heal["credential"].is_null() && heal["outcome"] == "done", "{heal}");
    rows.execute("UPDATE workspaces SET platform_inbound_secret = NULL").await?;
    server.admin("POST", "/admin/cache/reset", no_body())?.json(200)?;
    server.delivered("w", &token)?;
    assert_eq!(recorded(&launch, 4)?, ["create", "heal", "reset", "heal"], "another heal is another line");
    server.stop()?;
    assert_eq!(causes(&launch)?.len(), 4);
    Ok(())
}

/// Sends a heartbeat, and goes away without waiting for its answer.
fn abandon_heartbeat(server: &Server, id: &str, token: &str) -> Result<()> {
    let body = format!(r#"{{"workspace_id":"{id}"}}"#);
    let mut stream = TcpStream::connect(server.address())?;
    let request = format!(
        "POST /registry/heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    Ok(stream.write_all(request.as_bytes())?)
}

#[tokio::test]
async fn a_heal_is_recorded_also_where_its_client_has_gone() -> Result<()> {
    let rows = Engine::Sqlite.empty().await?;
    let launch = Launch::new(rows.url())?;
    let server = launch.server()?;
    for n in 0..20 {
        let id = format!("w-{n}");
        let token = server.create(&id)?;
        abandon_heartbeat(&server, &id, &token)?;
        // Healed by now or not: this one waits for it.
        server.delivered(&id, &token)?;
    }
    assert_eq!(recorded(&launch, 40)?.iter().filter(|cause| *cause == "heal").count(), 20);
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_written_slows_no_heartbeat_and_is_said() -> Result<()> {
    let rows = Engine::Sqlite.empty().await?;
    let launch = Launch::new(rows.url())?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let record = launch.folder().join("leasehold.state/audit.jsonl");
    fs::remove_file(&record)?;
    fs::create_dir(&record)?;
    server.delivered("w", &token)?;
    server.rotate("w")?;
    ensure!(server.log()?.contains("cannot keep a change"), "{}", server.log()?);
    Ok(())
}
