//! The operator's commands against a running server, and the other ways to change its policy: a watched file,
//! SIGHUP, and a restart, which changes nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::hostile::COMPONENT as HOSTILE;
use leasehold_tests::server::{ADMIN_TOKEN, Ended, Launch, Server, no_body};
use leasehold_tests::sqlite::TestDatabase;
use serde_json::Value;

async fn launch() -> Result<(Launch, TestDatabase)> {
    let database = TestDatabase::create().await?;
    Ok((Launch::new(database.url())?, database))
}

/// Runs `leasehold policy` with these arguments against the server.
fn policy(server: &Server, arguments: &[&str]) -> Result<Ended> {
    let url = format!("http://{}", server.address());
    let launch = Launch::alone(["policy"])?.arguments(arguments.iter().copied());
    launch.arguments(["--server", &url]).variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN).run_to_completion()
}

fn said(ended: &Ended) -> Result<&str> {
    ensure!(ended.code == Some(0), "{:?}: {}{}", ended.code, ended.stdout, ended.log);
    Ok(&ended.stdout)
}

fn shown(server: &Server) -> Result<Value> {
    server.admin("GET", "/admin/policy", no_body())?.json(200)
}

/// Waits until the server's policy is as expected.
fn until(server: &Server, good: impl Fn(&Value) -> bool) -> Result<Value> {
    let started = tokio::time::Instant::now();
    loop {
        let policy = shown(server)?;
        if good(&policy) {
            return Ok(policy);
        }
        ensure!(started.elapsed() < MAX_WAIT, "it never came to that: {policy}");
    }
}

#[tokio::test]
async fn an_operator_applies_looks_and_goes_back() -> Result<()> {
    let (launch, _database) = launch().await?;
    let server = launch.server()?;
    let applied = policy(&server, &["apply", "ttl", "--setting", "ttl=30s", "--as", "alice"])?;
    assert!(said(&applied)?.starts_with("active: ttl 0.1.0 ("), "{}", applied.stdout);
    assert!(
        said(&applied)?.contains("ttl=30s") && applied.stdout.contains("as generation 2"),
        "{}",
        applied.stdout
    );
    let tuned = policy(&server, &["apply", "--setting", "jitter=1s"])?;
    assert!(said(&tuned)?.contains("ttl=30s") && tuned.stdout.contains("jitter=1s"), "{}", tuned.stdout);
    let status = policy(&server, &["status"])?;
    for expected in [
        "active: ttl 0.1.0",
        "on probation for another",
        "to go back to: ttl 0.1.0",
        "swap by alice, HTTP from",
    ] {
        assert!(said(&status)?.contains(expected), "{expected} in {}", status.stdout);
    }
    let json: Value = serde_json::from_str(said(&policy(&server, &["status", "--json"])?)?)?;
    assert_eq!(json["generation"], 3);
    assert!(said(&policy(&server, &["rollback"])?)?.contains("as generation 4"));
    assert_eq!(shown(&server)?["settings"]["jitter"], "80%");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_applied_is_said_in_words_and_the_old_policy_serves_on() -> Result<()> {
    let (launch, _database) = launch().await?;
    let server = launch.server()?;
    let file = launch.folder().join("broken.wasm");
    fs::write(&file, "text")?;
    let empty = launch.folder().join("empty.wasm");
    fs::write(&empty, "")?;
    let empty = empty.to_str().context("text")?;
    let file = file.to_str().context("text")?;
    for (arguments, expected) in [
        (&["apply", file][..], "refused at stage inspect: it does not begin like a WebAssembly component"),
        (&["apply", "ttl", "--setting", "tll=1s"], "refused at stage configure"),
        (&["apply", "no-such-file.wasm"], "cannot read the policy"),
        (&["apply", "ttl", "--setting", "ttl"], "expected NAME=VALUE"),
        (&["apply", empty, "--setting", "ttl=1s"], "refused at stage size: it is empty"),
        (&["apply", "ttl", "--setting", "ttl=1\n2"], "control characters"),
        (&["rollback"], "there is no earlier policy to go back to"),
        (&["rollback", "--as", "two\nlines"], "--as"),
        (&["rollback", "--as", &"x".repeat(65)], "leasehold-operator must have 1 to 64 printable"),
    ] {
        let ended = policy(&server, arguments)?;
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        assert!(
            ended.log.contains(expected) && ended.log.lines().count() == 1,
            "{arguments:?}: {}",
            ended.log
        );
        assert_eq!(shown(&server)?["generation"], 1, "{arguments:?}");
    }
    let nobody = Launch::alone(["policy", "status", "--server", "http://127.0.0.1:9"])?;
    let ended = nobody.variable("LEASEHOLD_ADMIN_TOKEN", "word").run_to_completion()?;
    assert!(ended.log.contains("no answer from http://127.0.0.1:9"), "{}", ended.log);
    let ended = Launch::alone(["policy", "status"])?.run_to_completion()?;
    assert!(ended.log.contains("set LEASEHOLD_ADMIN_TOKEN"), "{}", ended.log);
    let url = format!("http://{}", server.address());
    let wrong = Launch::alone(["policy", "status", "--server", &url])?;
    let ended = wrong.variable("LEASEHOLD_ADMIN_TOKEN", "wrong-horse").run_to_completion()?;
    assert!(
        ended.log.contains("does not know this admin token") && !ended.log.contains("wrong-horse"),
        "{}",
        ended.log
    );
    Ok(())
}

#[tokio::test]
async fn a_restart_comes_back_with_what_was_active_and_with_the_way_back() -> Result<()> {
    let (launch, _database) = launch().await?;
    let server = launch.server()?;
    server.create("w")?;
    server.admin("PUT", "/admin/policy?setting.ttl=30s", no_body())?.json(200)?;
    server.admin("PUT", "/admin/policy?setting.does=nothing", HOSTILE.to_vec())?.json(200)?;
    server.kill()?;
    let server = launch.server()?;
    assert_eq!(shown(&server)?["name"], "hostile");
    assert!(said(&policy(&server, &["rollback"])?)?.contains("ttl=30s"));
    assert!(said(&policy(&server, &["rollback"])?)?.contains("ttl=5m"));
    server.stop()?;
    assert_eq!(shown(&launch.server()?)?["settings"]["ttl"], "5m");
    // An operator that changes the command line wants what it says.
    let changed = launch.clone().arguments(["--setting", "ttl=7m"]);
    assert_eq!(shown(&changed.server()?)?["settings"]["ttl"], "7m");
    let record = fs::read_to_string(launch.folder().join("leasehold.state/audit.jsonl"))?;
    let lines: Vec<Value> = record.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let lines: Vec<Value> = lines.into_iter().filter(|line| line["workspace"].is_null()).collect();
    let causes: Vec<&str> = lines.iter().filter_map(|line| line["cause"].as_str()).collect();
    assert_eq!(causes, ["start", "swap", "swap", "start", "rollback", "rollback", "start", "start"]);
    assert!(lines.iter().all(|line| line["card"].is_object() && line["digest"].is_string()), "{record}");
    assert!(lines[1]["by"].as_str().is_some_and(|by| by.starts_with("HTTP from 127.0.0.1:")), "{}", lines[1]);
    Ok(())
}

#[tokio::test]
async fn a_restart_with_a_bad_file_serves_on_with_what_was_active() -> Result<()> {
    let (launch, _database) = launch().await?;
    let path = launch.folder().join("policy.wasm");
    fs::write(&path, component(true))?;
    let launch = launch.clone().arguments(["--policy", path.to_str().context("text")?]);
    launch.server()?.kill()?;
    let kept =
        |server: &Server| anyhow::Ok((shown(server)?["name"].clone(), shown(server)?["digest"].clone()));
    let digest = Value::from(leasehold::Policy::from_bytes(component(true)).digest());
    for bad in [Some("half of a compone"), Some(""), None] {
        match bad {
            Some(text) => fs::write(&path, text)?,
            None => fs::remove_file(&path)?,
        }
        let server = launch.server().with_context(|| format!("{bad:?}"))?;
        assert_eq!(kept(&server)?, ("ttl".into(), digest.clone()), "{bad:?}");
        server.kill()?;
    }
    fs::write(&path, component(false))?;
    let server = launch.server()?;
    assert_eq!(shown(&server)?["name"], "hostile", "the file has changed: it is taken");
    assert!(
        said(&policy(&server, &["rollback"])?)?.contains("ttl 0.1.0"),
        "and what it replaced is the way back"
    );
    server.stop()?;
    assert_eq!(
        shown(&launch.server()?)?["name"],
        "ttl",
        "the file has not changed since: the rollback holds"
    );
    let record = fs::read_to_string(launch.folder().join("leasehold.state/audit.jsonl"))?;
    assert_eq!(record.matches(r#""refused":{"#).count(), 3, "{record}");
    Ok(())
}

#[tokio::test]
async fn a_step_back_to_this_version_keeps_the_policy_and_what_the_newer_one_wrote() -> Result<()> {
    let (launch, _database) = launch().await?;
    let server = launch.server()?;
    server.admin("PUT", "/admin/policy?setting.ttl=7s", no_body())?.json(200)?;
    server.stop()?;
    let folder = launch.folder().join("leasehold.state");
    let file = folder.join("policies.json");
    let mut newer: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    newer["rollout"] = "wave 2".into();
    let record = folder.join("audit.jsonl");
    let strange = r#"{"v":2,"said":"in another way"}"#;
    fs::write(&record, format!("{}{strange}\n", fs::read_to_string(&record)?))?;
    fs::write(&file, newer.to_string())?;
    let server = launch.server()?;
    assert_eq!(shown(&server)?["settings"]["ttl"], "7s", "a field more is no damage");
    server.stop()?;
    assert!(fs::read_to_string(&file)?.contains("wave 2"));
    newer["version"] = 99.into();
    fs::write(&file, newer.to_string())?;
    let server = launch.server()?;
    assert_eq!(shown(&server)?["settings"]["ttl"], "7s", "what is understood of it serves on");
    assert!(server.log()?.contains("a newer server kept the policies"), "{}", server.log()?);
    server.stop()?;
    let mut aside = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.to_string_lossy().contains("policies.newer-") {
            aside.push(fs::read_to_string(path)?);
        }
    }
    assert_eq!(aside, [newer.to_string()]);
    let lines = fs::read_to_string(&record)?;
    assert!(lines.lines().any(|line| line == strange) && lines.lines().count() > 3, "{lines}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_kept_is_said_and_serves_all_the_same() -> Result<()> {
    let (launch, _database) = launch().await?;
    let server = launch.server()?;
    let record = launch.folder().join("leasehold.state/audit.jsonl");
    fs::remove_file(&record)?;
    fs::create_dir(&record)?;
    let applied = policy(&server, &["apply", "--setting", "ttl=30s"])?;
    assert!(
        said(&applied)?.contains("ttl=30s") && applied.log.contains("cannot keep this"),
        "{}",
        applied.log
    );
    server.kill()?;
    fs::remove_dir(&record)?;
    assert_eq!(
        shown(&launch.server()?)?["settings"]["ttl"],
        "30s",
        "the policies are kept without the record"
    );
    Ok(())
}

#[tokio::test]
async fn two_servers_do_not_share_a_state_folder() -> Result<()> {
    let (launch, _database) = launch().await?;
    let _server = launch.server()?;
    let ended = launch.run_to_completion()?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("another server uses the folder"), "{}", ended.log);
    Ok(())
}

fn component(ttl: bool) -> &'static [u8] {
    if ttl { leasehold_policies::TTL } else { HOSTILE }
}

/// Replaces a file by a rename, as `mv` and most tools do.
fn rename_over(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    Ok(fs::rename(beside, path)?)
}

#[tokio::test]
async fn a_watched_file_is_applied_however_it_is_written_and_a_bad_one_leaves_the_old_policy() -> Result<()> {
    let (launch, _database) = launch().await?;
    let path = launch.folder().join("policy.wasm");
    fs::write(&path, component(true))?;
    let file = path.to_str().context("text")?;
    let server = launch.clone().arguments(["--policy", file, "--watch-policy"]).server()?;
    let generation = |expected: u64| move |policy: &Value| policy["generation"] == expected;
    rename_over(&path, component(false))?;
    assert_eq!(until(&server, generation(2))?["name"], "hostile");
    fs::write(&path, component(true))?;
    assert_eq!(until(&server, generation(3))?["name"], "ttl");
    for missing in [true, false] {
        if missing {
            fs::remove_file(&path)?;
        } else {
            fs::write(&path, vec![0; 5 << 20])?;
        }
        let record = launch.folder().join("leasehold.state/audit.jsonl");
        let words = if missing { "No such file" } else { "it has 5242880 bytes; expected 4194304 at most" };
        until(&server, |_| fs::read_to_string(&record).is_ok_and(|record| record.contains(words)))?;
    }
    fs::write(&path, "half of a compone")?;
    let policy = until(&server, |policy| policy["recent"][0]["refused"].is_object())?;
    assert_eq!((&policy["name"], &policy["generation"]), (&"ttl".into(), &3.into()));
    assert!(
        policy["recent"][0]["by"].as_str().is_some_and(|by| by.starts_with("--watch-policy")),
        "{policy}"
    );
    server.stop()?;
    let server = launch.arguments(["--policy", file, "--watch-policy"]).server()?;
    assert_eq!(shown(&server)?["name"], "ttl", "the file is no better than before");
    assert!(server.log()?.contains("a policy cannot be used; the next one is tried"), "{}", server.log()?);
    rename_over(&path, component(false))?;
    assert_eq!(until(&server, generation(2))?["name"], "hostile");
    Ok(())
}

#[tokio::test]
async fn sighup_applies_what_the_command_line_names() -> Result<()> {
    let (launch, _database) = launch().await?;
    let server = launch.clone().arguments(["--setting", "ttl=40s"]).server()?;
    server.admin("PUT", "/admin/policy?setting.ttl=1s", no_body())?.json(200)?;
    server.hang_up()?;
    let policy = until(&server, |policy| policy["generation"] == 3)?;
    assert_eq!((&policy["settings"]["ttl"], &policy["recent"][0]["by"]), (&"40s".into(), &"SIGHUP".into()));
    Ok(())
}

#[tokio::test]
async fn a_name_cannot_be_watched() -> Result<()> {
    let (launch, _database) = launch().await?;
    let ended = launch.arguments(["--watch-policy"]).run_to_completion()?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("--watch-policy needs a file"), "{}", ended.log);
    Ok(())
}
