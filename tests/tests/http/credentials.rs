//! Admin credentials: which routes each scope opens, how files of them are read again, and their names in the
//! record.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::server::{ADMIN_TOKEN, Launch, Server, no_body};

use super::refusals::OPERATORS;

const CREDENTIALS: &str = "\
# one for each scope
reader read token-of-the-reader
policies policy token-of-the-policies
secrets secrets token-of-the-secrets
both read,policy token-of-the-two-scopes
everything all token-of-everything
";

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

fn launch(credentials: &str) -> Result<Launch> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?.arguments(["--admin-tokens", "credentials"]);
    write(&launch.folder().join("credentials"), credentials)?;
    Ok(launch)
}

/// Waits until the server is as expected.
fn until(server: &Server, good: impl Fn(&Server) -> Result<bool>) -> Result<()> {
    let started = tokio::time::Instant::now();
    while !good(server)? {
        ensure!(started.elapsed() < MAX_WAIT, "it never came to that:\n{}", server.log()?);
    }
    Ok(())
}

fn is_let_in(server: &Server, token: &str) -> Result<bool> {
    Ok(server.send("GET", "/admin/stats", Some(token), no_body())?.status == 200)
}

#[test]
fn each_scope_opens_its_own_routes_and_no_other() -> Result<()> {
    let server = launch(CREDENTIALS)?.server()?;
    server.create("w")?;
    for (method, path, scope) in OPERATORS {
        for (token, opens) in [
            ("token-of-the-reader", &["read"][..]),
            ("token-of-the-policies", &["policy"]),
            ("token-of-the-secrets", &["secrets"]),
            ("token-of-the-two-scopes", &["read", "policy"]),
            ("token-of-everything", &["read", "policy", "secrets"]),
            (ADMIN_TOKEN, &["read", "policy", "secrets"]),
        ] {
            let answer = server.send(method, path, Some(token), no_body())?;
            if opens.contains(&scope) {
                ensure!(![401, 403, 405].contains(&answer.status), "{method} {path} by {token}: {answer:?}");
            } else {
                let refused = answer.refusal(403, "forbidden")?["message"].to_string();
                ensure!(refused.contains(&format!("the scope {scope},")), "{method} {path}: {refused}");
            }
        }
    }
    server.stop()?;
    Ok(())
}

#[test]
fn what_is_forbidden_has_no_effect() -> Result<()> {
    let server = launch(CREDENTIALS)?.server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    for (method, path, scope) in OPERATORS {
        let wrong = if scope == "read" { "token-of-the-secrets" } else { "token-of-the-reader" };
        server.send(method, path, Some(wrong), no_body())?.refusal(403, "forbidden")?;
    }
    assert_eq!(
        (server.generation()?, server.stat("entries")?, server.delivered("w", &token)?),
        (1, 1, secret)
    );
    Ok(())
}

#[test]
fn a_file_of_credentials_is_read_again_and_a_wrong_one_changes_nothing() -> Result<()> {
    let launch = launch("old read token-of-the-old-one\n")?;
    let (server, file) = (launch.server()?, launch.folder().join("credentials"));
    assert!(is_let_in(&server, "token-of-the-old-one")? && !is_let_in(&server, "token-of-the-new-one")?);
    write(&file, "new read token-of-the-new-one\n")?;
    server.hang_up()?;
    until(&server, |server| is_let_in(server, "token-of-the-new-one"))?;
    assert!(!is_let_in(&server, "token-of-the-old-one")?, "what is no longer in the file is no credential");
    write(&file, "new read token-of-the-new-one\nlate none token-of-the-late-one\n")?;
    server.hang_up()?;
    until(&server, |server| Ok(server.log()?.contains("cannot be read again")))?;
    let log = server.log()?;
    let line = log.lines().find(|line| line.contains("cannot be read again")).unwrap_or_default();
    for word in ["ERROR", "credentials, line 2", "names no scopes"] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    assert!(is_let_in(&server, "token-of-the-new-one")? && is_let_in(&server, ADMIN_TOKEN)?);
    fs::remove_file(&file)?;
    server.hang_up()?;
    until(&server, |server| Ok(server.log()?.matches("cannot be read again").count() == 2))?;
    assert!(is_let_in(&server, "token-of-the-new-one")?, "a file that is gone takes nobody's credential");
    assert!(!server.log()?.contains("token-of-the"), "{}", server.log()?);
    server.stop()?;
    Ok(())
}

#[test]
fn the_record_of_a_change_names_the_credential_and_the_operator() -> Result<()> {
    let launch = launch(CREDENTIALS)?;
    let server = launch.server()?;
    let swap = |headers: &[(&str, &str)], token| {
        server.send_with(headers, "PUT", "/admin/policy?setting.ttl=7s", Some(token), no_body())?.json(200)
    };
    swap(&[], "token-of-the-policies")?;
    swap(&[("leasehold-operator", "alice")], ADMIN_TOKEN)?;
    let record = fs::read_to_string(launch.folder().join("leasehold.state/audit.jsonl"))?;
    let by: Vec<serde_json::Value> = record.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let by: Vec<&str> = by.iter().filter_map(|line| line["by"].as_str()).collect();
    ensure!(by[1].starts_with("HTTP from 127.0.0.1:") && by[1].ends_with(", credential policies"), "{by:?}");
    ensure!(by[2].starts_with("alice, HTTP from ") && by[2].ends_with(", credential admin"), "{by:?}");
    Ok(())
}
