//! Where a server's admin tokens come from: a file that is named, lines that a command prints, and the words
//! where one cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::server::{Ended, Launch, no_body};

const TOKEN: &str = "hunter2-hunter2-hunter2";

fn write(launch: &Launch, name: &str, text: &str, mode: u32) -> Result<()> {
    let path = launch.folder().join(name);
    fs::write(&path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn bare() -> Result<Launch> {
    Ok(Launch::bare()?.arguments(["--database", "sqlite://test.db?mode=rwc"]))
}

/// Checks that it ended with an error that has these words, and shows no token.
#[track_caller]
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.log);
    let complaint = ended.log.lines().last().unwrap_or_default();
    assert!(complaint.starts_with("error: ") && !ended.log.contains("hunt"), "{}", ended.log);
    for word in words {
        assert!(complaint.contains(word), "no {word:?} in {complaint}");
    }
}

#[test]
fn the_token_is_read_from_a_file_that_is_named_and_read_again() -> Result<()> {
    for by_flag in [false, true] {
        let launch = bare()?;
        let launch = if by_flag {
            launch.arguments(["--admin-token-file", "token"])
        } else {
            launch.variable("LEASEHOLD_ADMIN_TOKEN_FILE", "token")
        };
        write(&launch, "token", &format!("{TOKEN}\n"), 0o600)?;
        let server = launch.server()?;
        server.client(TOKEN).create("w")?;
        let made = launch.folder().join("leasehold.admin-token");
        ensure!(!made.exists(), "a token was made although one is named");
        let status = launch.beside(["policy", "status", "--server", &format!("http://{}", server.address())]);
        let ended = status.variable("LEASEHOLD_ADMIN_TOKEN_FILE", "token").run_to_completion()?;
        ensure!(ended.code == Some(0), "{}", ended.log);
        write(&launch, "token", "another-one-of-16-characters\n", 0o600)?;
        server.hang_up()?;
        let (client, started) = (server.client("another-one-of-16-characters"), tokio::time::Instant::now());
        while client.admin("GET", "/admin/stats", no_body())?.status != 200 {
            ensure!(started.elapsed() < MAX_WAIT, "{}", server.log()?);
        }
        server.client(TOKEN).admin("GET", "/admin/stats", no_body())?.refusal(401, "unauthorized")?;
        server.stop()?;
    }
    Ok(())
}

#[test]
fn a_token_file_that_cannot_be_used_is_named_with_what_to_do() -> Result<()> {
    let launch = bare()?.variable("LEASEHOLD_ADMIN_TOKEN_FILE", "token");
    assert_refused(&launch.run_to_completion()?, &["token", "no such file", "LEASEHOLD_ADMIN_TOKEN_FILE"]);
    for (text, mode, words) in [
        ("hunte\n", 0o600, &["token", "has 5 characters; expected 16 at least"][..]),
        (TOKEN, 0o604, &["token", "0604", "chmod 600"]),
    ] {
        write(&launch, "token", text, mode)?;
        assert_refused(&launch.run_to_completion()?, words);
    }
    write(&launch, "token", TOKEN, 0o600)?;
    let both = launch.variable("LEASEHOLD_ADMIN_TOKEN", TOKEN);
    assert_refused(&both.run_to_completion()?, &["both LEASEHOLD_ADMIN_TOKEN and", "unset one of them"]);
    Ok(())
}

#[test]
fn a_file_of_credentials_that_cannot_be_used_is_named_with_its_line() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?.arguments(["--admin-tokens", "credentials"]);
    assert_refused(&launch.run_to_completion()?, &["credentials", "No such file"]);
    for (line, mode, words) in [
        (format!("ci all {TOKEN}"), 0o644, &["credentials", "0644", "sha256:HEX in place of each token"][..]),
        ("ci all hunte".to_owned(), 0o600, &["credentials, line 1", "expected 16 at least"]),
        (format!("ci {TOKEN}"), 0o600, &["credentials, line 1", "NAME SCOPES TOKEN"]),
        (format!("admin all {TOKEN}"), 0o600, &["credentials, line 1", "LEASEHOLD_ADMIN_TOKEN"]),
        (
            format!("ci all {TOKEN}\nci all {TOKEN}s"),
            0o600,
            &["credentials, line 2", "the name ci", "line 1"],
        ),
    ] {
        write(&launch, "credentials", &line, mode)?;
        assert_refused(&launch.run_to_completion()?, words);
    }
    Ok(())
}

#[test]
fn a_token_that_a_command_has_made_opens_what_its_line_says() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?.arguments(["--admin-tokens", "credentials"]);
    let new =
        |arguments: [&str; 4]| launch.beside(["admin-token", "new"]).arguments(arguments).run_to_completion();
    let made = new(["--name", "ci", "--scopes", "read,policy"])?;
    ensure!(made.code == Some(0), "{}", made.log);
    let (token, line) = made.stdout.trim_end().split_once('\n').context("one line")?;
    ensure!(line.starts_with("ci read,policy sha256:") && !line.contains(token), "{line}");
    write(&launch, "credentials", line, 0o644)?;
    let server = launch.server()?;
    let client = server.client(token);
    client.admin("PUT", "/admin/policy?setting.ttl=7s", no_body())?.json(200)?;
    client.admin("POST", "/workspaces", no_body())?.refusal(403, "forbidden")?;
    server.stop()?;
    assert_refused(&new(["--name", "c i", "--scopes", "read"])?, &["--name", "expected 1 to 64 of"]);
    assert_refused(&new(["--name", "ci", "--scopes", "write"])?, &["--scopes", "read, policy and secrets"]);
    Ok(())
}
