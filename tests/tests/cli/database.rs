//! `leasehold database check`: its statements about a database, and that it changes nothing.

use anyhow::{Context as _, Result};
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{Ended, Launch};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

fn check(url: &str) -> Result<Ended> {
    Launch::alone(["database", "check", "--database", url])?.run_to_completion()
}

fn migrate(url: &str) -> Result<Ended> {
    Launch::alone(["migrate", "--database", url])?.run_to_completion()
}

#[track_caller]
fn assert_says(ended: &Ended, code: i32, stdout: &[&str], log: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for (text, words) in [(&ended.stdout, stdout), (&ended.log, log)] {
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
    }
}

#[tokio::test]
async fn what_a_server_would_lack_is_said_and_nothing_is_made() -> Result<()> {
    let database = TestDatabase::create().await?;
    let missing = check(database.url())?;
    let own = "sessions  each connection has its own";
    assert_says(
        &missing,
        1,
        &["server    PostgreSQL", own, "schema    is not there"],
        &["leasehold migrate"],
    );
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(database.pool())
        .await?;
    assert_eq!(tables, 0, "a look has made a table");
    migrate(database.url())?;
    let ready = check(database.url())?;
    assert_says(
        &ready,
        0,
        &["access    read and write", "schema    is there", "may do all that is needed"],
        &[],
    );
    let user = format!("checks_{}", database.options().get_database().context("no name")?);
    let role = format!(
        "CREATE ROLE {user} LOGIN PASSWORD 'x'; GRANT SELECT, INSERT, UPDATE ON workspaces, \
         workspace_tokens TO {user}"
    );
    sqlx::raw_sql(AssertSqlSafe(role)).execute(database.pool()).await?;
    let url = database.options().username(&user).password("x").to_url_lossy().to_string();
    assert_says(&check(&url)?, 1, &["may not DELETE"], &["grant DELETE on workspaces"]);
    Ok(())
}

#[tokio::test]
async fn what_is_between_is_said_or_refused() -> Result<()> {
    let database = TestDatabase::create().await?;
    migrate(database.url())?;
    let keeps = Pooler::start(Version::New, Mode::Transaction, &database.options(), &[])?;
    assert_says(&check(&keeps.url())?, 0, &["a pooler that keeps prepared statements"], &[]);
    let loses = Pooler::start(Version::Old, Mode::Transaction, &database.options(), &[])?;
    assert_says(&check(&loses.url())?, 1, &[], &["the pooler before the database", "pool_mode=session"]);
    Ok(())
}

#[test]
fn a_file_is_looked_at_and_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    assert_says(&check(&url)?, 1, &[], &["cannot open", "x.db"]);
    assert!(!path.exists(), "a look has made a file");
    assert_says(&migrate(&url)?, 0, &["was made"], &[]);
    assert_says(&check(&url)?, 0, &["library   SQLite 3", "schema    is there"], &[]);
    std::fs::write(folder.path().join("no.db"), "not a database at all, whatever its name says")?;
    let damaged = check(&format!("sqlite://{}", folder.path().join("no.db").display()))?;
    assert_says(&damaged, 1, &[], &["no.db"]);
    Ok(())
}

#[test]
fn a_parameter_that_nobody_knows_is_refused_by_its_name_and_its_value_is_in_no_log() -> Result<()> {
    let database = ["--database", "postgres://u@127.0.0.1:1/d?sslpassword=hunter2"];
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"], &["database", "check"]] {
        let launch = Launch::alone(command.iter().copied())?.arguments(database);
        let ended = launch.variable("LEASEHOLD_LOG", "trace").run_to_completion()?;
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        assert!(ended.log.contains("unknown parameter \"sslpassword\""), "{ended:?}");
        let all = format!("{}{}", ended.stdout, ended.log);
        assert!(!all.contains("hunter2"), "{command:?}: {all}");
    }
    Ok(())
}
