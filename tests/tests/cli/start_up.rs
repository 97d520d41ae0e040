//! Start-up failures: exit code 1 and one line on stderr that names the argument and says what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use leasehold_tests::Engine;
use leasehold_tests::server::Launch;

/// Returns a server that would start, with a database in its own folder.
fn good() -> Result<Launch> {
    Launch::new("sqlite://test.db?mode=rwc")
}

/// Runs a server that must not start, and returns its one line of complaint.
#[track_caller]
fn refused(launch: &Launch) -> String {
    let ended = launch.run_to_completion().expect("it ends by itself");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.log);
    let (log, complaint) = ended.log.trim_end().rsplit_once('\n').unwrap_or(("", ended.log.trim_end()));
    assert!(complaint.starts_with("error: ") && !log.contains("error: "), "not one line: {}", ended.log);
    complaint.to_owned()
}

#[track_caller]
fn assert_says(complaint: &str, words: &[&str]) {
    for word in words {
        assert!(complaint.contains(word), "no {word:?} in {complaint:?}");
    }
}

#[test]
fn what_the_command_line_does_not_know_is_a_usage_error() -> Result<()> {
    for arguments in [&["--policies", "ttl"][..], &["extra"], &["--listen"]] {
        let ended = good()?.arguments(arguments.iter().copied()).run_to_completion()?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.log);
        assert_says(&ended.log, &["error: ", "--help", arguments[0]]);
    }
    Ok(())
}

#[test]
fn a_database_that_is_none_is_named() -> Result<()> {
    for (url, words) in [
        ("mysql://u:hunter2@db/x", &["mysql", "expected sqlite://", "postgres://"][..]),
        ("u:hunter2@db/x", &["not a URL", "expected sqlite://"]),
        ("sqlite:///no/such/folder/x.db?mode=rwc", &["/no/such/folder/x.db", "directory exist"]),
        ("sqlite://missing.db", &["missing.db", "mode=rwc"]),
        ("postgres://u:hunter2@127.0.0.1:1/x", &["postgres://u@127.0.0.1:1/x", "check its host and port"]),
        ("postgres://u:hunter2@127.0.0.1:port/x", &["expected postgres://"]),
    ] {
        let complaint = refused(&Launch::new(url)?);
        assert_says(&complaint, words);
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_not_repeated() -> Result<()> {
    let database = Engine::Postgres.empty().await?;
    let (user, rest) = database.url().rsplit_once('@').context("no user")?;
    let (user, _right) = user.rsplit_once(':').context("no password")?;
    let complaint = refused(&Launch::new(&format!("{user}:hunter2@{rest}"))?);
    assert_says(&complaint, &["password authentication failed", "check", "PGPASSWORD", "127.0.0.1"]);
    assert!(!complaint.contains("hunter2"), "{complaint}");
    Ok(())
}

#[tokio::test]
async fn a_database_that_belongs_to_another_program_is_left_alone() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = engine.empty().await?;
        database.execute("CREATE TABLE workspaces (name TEXT)").await?;
        let complaint = refused(&Launch::new(database.url())?);
        assert_says(&complaint, &["cannot bring the schema of", "another program's"]);
        database.execute("INSERT INTO workspaces (name) VALUES ('still there')").await?;
    }
    Ok(())
}

#[test]
fn a_policy_that_cannot_be_used_is_named_with_the_reason() -> Result<()> {
    let import = r#"(component (import "wasi:filesystem/types@0.2.6" (instance)))"#;
    for (name, bytes, words) in [
        ("empty.wasm", Vec::new(), &["it is empty", "expected a WebAssembly component"][..]),
        ("text.wasm", b"ttl=30s\n".to_vec(), &["does not begin like a WebAssembly component"]),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), &["core WebAssembly module", "wasm32-wasip2"]),
        ("other.wasm", wat::parse_str(import)?, &["wasi:filesystem/types@0.2.6", "offers leasehold:policy"]),
    ] {
        let launch = good()?.arguments(["--policy", name]);
        fs::write(launch.folder().join(name), bytes)?;
        let complaint = refused(&launch);
        assert_says(&complaint, words);
        assert_says(&complaint, &[name]);
    }
    let complaint = refused(&good()?.arguments(["--policy", "missing.wasm"]));
    assert_says(
        &complaint,
        &["missing.wasm", "(ttl, resilient, watched, negative, passthrough)", "No such file"],
    );
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_used_is_named_with_what_would_do() -> Result<()> {
    for (setting, words) in [
        ("ttl", &["\"ttl\"", "expected NAME=VALUE"][..]),
        ("=30s", &["\"=30s\"", "expected NAME=VALUE"]),
        ("tll=30s", &["tll", "ttl, jitter"]),
        ("ttl=soon", &["\"soon\"", "expected a duration such as"]),
    ] {
        assert_says(&refused(&good()?.arguments(["--setting", setting])), words);
        let complaint = refused(&good()?.arguments(["--token-policy", "ttl", "--token-setting", setting]));
        assert_says(&complaint, words);
        assert_says(&complaint, &["--token-setting"]);
    }
    assert_says(&refused(&good()?.arguments(["--token-policy", "x.wasm"])), &["x.wasm", "no bundled policy"]);
    Ok(())
}

#[test]
fn a_port_that_is_taken_or_none_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (listen, words) in [
        (address.as_str(), "no other program uses"),
        ("127.0.0.1", "is no address"),
        ("127.0.0.1:99999", "is no address"),
    ] {
        let launch = Launch::alone(["serve", "--listen", listen, "--database", "sqlite://x.db?mode=rwc"])?;
        let complaint = refused(&launch.variable("LEASEHOLD_ADMIN_TOKEN", "token"));
        assert_says(&complaint, &[listen, "expected HOST:PORT", words]);
    }
    Ok(())
}

#[test]
fn an_admin_token_that_protects_nothing_is_refused() -> Result<()> {
    let complaint = refused(&good()?.variable("LEASEHOLD_ADMIN_TOKEN", ""));
    assert_says(&complaint, &["LEASEHOLD_ADMIN_TOKEN", "is empty", "set it to a long random word"]);
    for (token, words) in [
        ("hunter2 hunter2", "has spaces"),
        ("hunt2", "has 5 characters; expected 16 at least"),
        ("hunter2-hunter2", "has 15 characters"),
    ] {
        let complaint = refused(&good()?.variable("LEASEHOLD_ADMIN_TOKEN", token));
        assert_says(&complaint, &["LEASEHOLD_ADMIN_TOKEN", words]);
        assert!(!complaint.contains("hunt"), "{complaint}");
    }
    for (mode, text, words) in [
        (0o644, "hunter2\n", &["0644", "expected 0600", "chmod 600"][..]),
        (0o600, "\n", &["is empty", "remove it to have a new one made"]),
    ] {
        let launch = Launch::bare()?.arguments(["--database", "sqlite://test.db?mode=rwc"]);
        let file = launch.folder().join("leasehold.admin-token");
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        let complaint = refused(&launch);
        assert_says(&complaint, words);
        assert_says(&complaint, &["leasehold.admin-token"]);
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }
    Ok(())
}

#[test]
fn a_filter_for_the_log_that_is_none_is_named() -> Result<()> {
    for filter in ["leasehold=loud", "loud", "info,loud", "leasehold", ""] {
        let complaint = refused(&good()?.variable("LEASEHOLD_LOG", filter));
        assert_says(&complaint, &["LEASEHOLD_LOG", &format!("{filter:?}"), "expected a level such as info"]);
    }
    Ok(())
}
