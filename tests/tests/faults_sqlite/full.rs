//! No room for another page: SQLite's own limit in a library, and the system's limit under the real server.
//! The disk of the log may be full as well.
//!
//! The first two differ in what is known afterwards. SQLite undoes a statement for which there was no room,
//! and says so. When the system refuses to write, the record of the commit may be on the disk all the same,
//! and the outcome is unknown.

use std::fs;

use anyhow::{Context as _, Result};
use leasehold::{Column, Error, Sqlite, Status};
use leasehold_tests::server::{Launch, no_body};
use sqlx::Executor as _;
use sqlx::sqlite::SqlitePoolOptions;

use super::{TestBed, assert_refused, workspaces};

/// Pages without a gap: rows that follow one another in the order of the table. The filler is what can be
/// deleted.
const PACKED: &str = "
    CREATE TABLE filler (text TEXT);
    INSERT INTO filler VALUES (hex(zeroblob(40000)));
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000)
    INSERT INTO workspaces (id, platform_inbound_secret)
    SELECT printf('w%04d', n), CASE WHEN n % 2 THEN 'old' END FROM n";

/// Returns a cache whose connections take no page more than there is. That is SQLite's way to meet a full
/// disk in a test: from there on everything is as it is when there is no room.
async fn bench() -> Result<TestBed> {
    let rows = workspaces(PACKED).await?;
    let pool = SqlitePoolOptions::new()
        .max_connections(2)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("PRAGMA max_page_count = 1").await.map(drop) })
        })
        .connect_with(rows.options())
        .await?;
    let column = Column::new("workspaces", "id", "platform_inbound_secret")?;
    let database = Sqlite::from_pool(pool, column).await?;
    TestBed::over(rows, database).await
}

#[tokio::test]
async fn a_full_disk_refuses_issues_and_changes_nothing_until_there_is_room() -> Result<()> {
    let bench = bench().await?;
    let (stored, absent, cold) = ("w0501", "w0502", "w2501");
    assert_eq!(bench.read(stored).await?, ("old".to_owned(), Status::Miss));
    for _ in 0..5 {
        assert_refused(bench.issue(stored).await, "the disk is full");
        assert_refused(bench.heal(absent).await, "the disk is full");
        assert_eq!(bench.read(stored).await?, ("old".to_owned(), Status::Hit));
        assert_eq!(bench.read(absent).await, Err(Error::Absent));
    }
    assert_eq!(bench.read(cold).await?, ("old".to_owned(), Status::Miss));
    assert_eq!(bench.issue("nobody").await, Err(Error::UnknownWorkspace), "that takes no room");
    assert_eq!(bench.stored(stored).await?.as_deref(), Some("old"));
    assert_eq!(bench.stored(absent).await?, None);
    assert_eq!(bench.verdict().await?, "ok");

    sqlx::raw_sql("DELETE FROM filler").execute(bench.rows.pool()).await?;
    let issued = bench.issue(stored).await?;
    assert_eq!(bench.stored(stored).await?, Some(issued.clone()));
    assert_eq!(bench.read(stored).await?, (issued, Status::Hit));
    let healed = bench.heal(absent).await?;
    assert_eq!(bench.stored(absent).await?, Some(healed));
    assert_eq!(bench.verdict().await?, "ok");
    Ok(())
}

#[test]
fn a_write_that_the_system_refuses_is_an_unknown_outcome_and_the_next_one_works() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?.by(r#"trap '' XFSZ; exec "$0" "$@""#);
    let server = launch.server()?;
    let (token, empty) = (server.create("w")?, server.create("empty")?);
    let secret = server.delivered("w", &token)?;
    // Every commit makes the log longer, until it is long enough to begin again at its start. That takes a
    // thousand pages.
    let log = fs::metadata(launch.folder().join("test.db-wal")).context("the log of the database")?.len();
    server.limit_files(Some(log))?;
    for _ in 0..3 {
        let rotate = server.admin("POST", "/workspaces/w/secret", no_body())?;
        rotate.refusal(503, "outcome_unknown")?;
        let (read, status) = server.secret("w")?;
        assert_eq!(
            (read, status.as_str()),
            (secret.clone(), "miss"),
            "the entry is gone, and the row is as it was"
        );
        assert_eq!(server.delivered("w", &token)?, secret);
    }
    assert_eq!(server.heartbeat("empty", &empty)?.json(200)?["secret_error"], "unavailable");
    assert_eq!(server.admin("POST", "/workspaces", no_body())?.status, 503);
    assert_eq!(server.get("/healthz")?.status, 200);

    server.limit_files(None)?;
    let rotated = server.rotate("w")?;
    assert_ne!(rotated, secret);
    let healed = server.delivered("empty", &empty)?;
    assert_eq!(server.delivered("w", &token)?, rotated);
    let ended = server.kill()?;
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
    // Frames that the refused commits left in the log are not taken for more than they are.
    let server = launch.server()?;
    assert_eq!((server.secret("w")?.0, server.secret("empty")?.0), (rotated, healed));
    server.stop()?;
    Ok(())
}

#[test]
fn a_log_that_cannot_be_written_fails_no_request_and_keeps_nothing_running() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?.by(r#"exec "$0" "$@" 2>/dev/full"#);
    let server = launch.variable("LEASEHOLD_LOG", "debug").server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    let rotated = server.rotate("w")?;
    assert_ne!(rotated, secret);
    assert_eq!(server.delivered("w", &token)?, rotated);
    server.stop()?;
    Ok(())
}
