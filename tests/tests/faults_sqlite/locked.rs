//! Another process that has the write lock. SQLite's log lets readers go on beside it, and allows a single
//! writer.
//!
//! The type of a refusal shows that it comes in time: an issue that is still waiting after a second has an
//! unknown outcome, and a refusal that says that nothing was changed can only have come before that.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use leasehold::{Column, Error, Sqlite, Status};
use leasehold_tests::server::{Launch, no_body};

use super::{TestBed, assert_refused, workspaces};

const ROWS: &str = "INSERT INTO workspaces (id, platform_inbound_secret) VALUES \
                    ('warm', 'old'), ('cold', 'cold one'), ('cool', 'cool one'), ('empty', NULL)";
const WRITE: &str = "UPDATE workspaces SET platform_inbound_secret = 'uncommitted'";

/// The other process, with the lock. It is killed when this value is dropped.
struct Holder {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Holder {
    /// Returns once it has the lock.
    fn start(file: &Path, begin: &str, statement: &str) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hold-lock"))
            .arg(file)
            .args([begin, statement])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the other process")?;
        let stdin = child.stdin.take().context("stdin is not piped")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is not piped")?);
        let mut holder = Self { child, stdin, stdout };
        holder.says("held")?;
        Ok(holder)
    }

    /// Has it end its transaction, and returns once the lock is free.
    fn release(mut self, word: &str) -> Result<()> {
        writeln!(self.stdin, "{word}")?;
        self.says("released")
    }

    /// Kills it, and returns once the lock is free.
    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Reads a line. The process bounds the wait: it ends by itself where it cannot go on.
    fn says(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.trim_end() == word, "the other process said {line:?} instead of {word:?}");
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It has ended already, or ends now; there is nothing to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn bench() -> Result<TestBed> {
    let rows = workspaces(ROWS).await?;
    let column = Column::new("workspaces", "id", "platform_inbound_secret")?;
    let database = Sqlite::connect(rows.url(), column).await?;
    TestBed::over(rows, database).await
}

impl TestBed {
    fn file(&self) -> std::path::PathBuf {
        self.rows.options().get_filename().to_owned()
    }
}

#[tokio::test]
async fn while_another_process_writes_reads_go_on_and_issues_are_refused_and_after_it_they_work_at_once()
-> Result<()> {
    for (begin, cold) in [("BEGIN IMMEDIATE", "cold"), ("BEGIN EXCLUSIVE", "cool")] {
        let bench = bench().await?;
        assert_eq!(bench.read("warm").await?, ("old".to_owned(), Status::Miss));
        let holder = Holder::start(&bench.file(), begin, WRITE)?;
        for _ in 0..3 {
            assert_refused(bench.issue("warm").await, "locked by another writer");
            assert_eq!(bench.read("warm").await?, ("old".to_owned(), Status::Hit));
        }
        assert_eq!(bench.read(cold).await?, (format!("{cold} one"), Status::Miss));
        assert_refused(bench.heal("empty").await, "locked by another writer");
        assert_eq!(bench.read("empty").await, Err(Error::Absent), "a heal that was refused is not cached");
        holder.release("ROLLBACK")?;
        assert_eq!(bench.stored("warm").await?.as_deref(), Some("old"));
        let issued = bench.issue("warm").await?;
        assert_eq!(bench.stored("warm").await?, Some(issued.clone()));
        assert_eq!(bench.read("warm").await?, (issued, Status::Hit));
        let healed = bench.heal("empty").await?;
        assert_eq!(bench.stored("empty").await?, Some(healed));
    }
    Ok(())
}

#[tokio::test]
async fn an_issue_that_waited_for_a_writer_in_another_process_comes_after_what_that_one_committed()
-> Result<()> {
    let bench = bench().await?;
    bench.read("warm").await?;
    let holder = Holder::start(&bench.file(), "BEGIN IMMEDIATE", WRITE)?;
    let cache = bench.cache.clone();
    // The issue is sent before the other process commits, or after; in both cases it is stored last.
    let issue = tokio::spawn(async move { cache.issue(&super::id("warm")).await });
    while bench.cache.stats().issues == 0 {
        tokio::task::yield_now().await;
    }
    holder.release("COMMIT")?;
    let issued = issue.await??;
    assert_eq!(bench.stored("warm").await?.as_deref(), issued.expose_str());
    assert_eq!(bench.read("warm").await?.0.as_str(), issued.expose_str().expect("text"));
    assert_eq!(
        bench.stored("cold").await?.as_deref(),
        Some("uncommitted"),
        "the other one's commit is there"
    );
    Ok(())
}

#[tokio::test]
async fn a_process_that_dies_with_the_lock_leaves_neither_the_lock_nor_its_changes() -> Result<()> {
    let bench = bench().await?;
    let holder = Holder::start(&bench.file(), "BEGIN IMMEDIATE", WRITE)?;
    assert_refused(bench.issue("warm").await, "locked by another writer");
    holder.kill()?;
    assert_eq!(bench.stored("warm").await?.as_deref(), Some("old"));
    let issued = bench.issue("warm").await?;
    assert_eq!(bench.stored("warm").await?, Some(issued));
    assert_eq!(bench.read("cold").await?.0, "cold one");
    assert_eq!(bench.verdict().await?, "ok");
    Ok(())
}

#[tokio::test]
async fn a_locked_file_makes_the_server_refuse_changes_and_deliver_secrets() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let server = launch.server()?;
    let (warm, empty) = (server.create("warm")?, server.create("empty")?);
    let secret = server.delivered("warm", &warm)?;
    let holder = Holder::start(&launch.folder().join("test.db"), "BEGIN IMMEDIATE", WRITE)?;
    server.admin("POST", "/workspaces/warm/secret", no_body())?.refusal(503, "unavailable")?;
    server.admin("POST", "/workspaces", no_body())?.refusal(503, "unavailable")?;
    server.admin("DELETE", "/workspaces/warm", no_body())?.refusal(503, "unavailable")?;
    assert_eq!(server.delivered("warm", &warm)?, secret);
    let beat = server.heartbeat("empty", &empty)?;
    assert_eq!((beat.status, beat.text.as_str()), (200, r#"{"secret_error":"unavailable","status":"ok"}"#));
    assert_eq!(server.get("/readyz")?.status, 200, "it can be read");
    holder.release("ROLLBACK")?;
    assert_ne!(server.rotate("warm")?, secret);
    server.delivered("empty", &empty)?;
    server.stop()?;
    Ok(())
}

#[tokio::test]
async fn twelve_issues_that_wait_for_the_lock_do_not_keep_a_read_waiting() -> Result<()> {
    let bench = bench().await?;
    let holder = Holder::start(&bench.file(), "BEGIN IMMEDIATE", WRITE)?;
    let issues: Vec<_> = (0..12)
        .map(|number| {
            let cache = bench.cache.clone();
            tokio::spawn(async move { cache.issue(&super::id(&format!("w{number}"))).await })
        })
        .collect();
    while bench.cache.stats().in_flight < 12 {
        tokio::task::yield_now().await;
    }
    let read = bench.read("cold").await;
    for issue in issues {
        let refused = issue.await?;
        // Its turn did not come, or the lock did not.
        assert!(matches!(refused, Err(Error::Overloaded | Error::Unavailable(_))), "{refused:?}");
    }
    holder.release("ROLLBACK")?;
    assert_eq!(read, Ok(("cold one".to_owned(), Status::Miss)));
    Ok(())
}
