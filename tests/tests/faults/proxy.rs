//! The network between the cache and its database: late answers, lost answers, connections cut at any moment.
//!
//! The caller's answer may be "unknown", and has to be wherever the outcome is unknown; what is read
//! afterwards has to be what the database holds. The statements are real ones; only the moment at which the
//! network fails is chosen.

mod forgotten;
mod storm;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{DatabaseError, Error, Status, WorkspaceId};
use leasehold_tests::Tier;
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::proxy::{Fate, Proxy, Statement};
use leasehold_tests::scripted::{Fault, Scripted};
use sqlx::postgres::PgConnectOptions;

use super::{Limits, TestBed, builder, id, text, within};

/// Time for which an answer is waited for where the test makes it late.
const ANSWER: Duration = Duration::from_secs(2);

struct Line {
    proxy: Proxy,
    bench: TestBed,
}

async fn line(limits: Limits) -> Result<Line> {
    line_to(TestDatabase::create().await?.options(), limits).await
}

async fn line_to(server: PgConnectOptions, limits: Limits) -> Result<Line> {
    let (proxy, inside) = Proxy::start(&server).await?;
    let bench = TestBed::new(server, inside, limits).await?;
    Ok(Line { proxy, bench })
}

fn impatient() -> Limits {
    Limits { answer: ANSWER, ..Limits::patient(4) }
}

impl Line {
    /// Returns a workspace that the cache has read, and answers without asking.
    async fn warm(&self, name: &str) -> Result<WorkspaceId> {
        let workspace = self.bench.rows(name, 1).await?.remove(0);
        self.bench.read(&workspace).await?;
        Ok(workspace)
    }

    async fn status(&self, workspace: &WorkspaceId) -> Result<(String, Status)> {
        let lookup = within("a read", self.bench.cache.read(workspace)).await??;
        Ok((text(&lookup.secret), lookup.status))
    }

    /// Checks that the cache answers with what the database holds, and with nothing that it kept from before.
    async fn agrees(&self, workspace: &WorkspaceId) -> Result<String> {
        let (read, status) = self.status(workspace).await?;
        ensure!(status == Status::Miss, "the entry outlived an unknown outcome: {status:?}");
        ensure!(self.bench.stored(workspace).await? == Some(read.clone()), "not what the database holds");
        Ok(read)
    }
}

#[tokio::test]
async fn an_issue_whose_answer_is_late_is_unknown_and_stored_by_nobody_until_it_arrives() -> Result<()> {
    let line = line(impatient()).await?;
    let workspace = line.warm("w").await?;
    line.proxy.next(Statement::Update, Fate::Held);
    let started = tokio::time::Instant::now();
    let error = line.bench.cache.issue(&workspace).await.err().context("no answer, and a secret")?;
    ensure!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    ensure!(started.elapsed() >= ANSWER, "it was not waited for");
    line.proxy.met(1).await?;
    let issued = line.agrees(&workspace).await?;
    assert_ne!(issued, "old-w0", "the server has carried it out");
    for _ in 0..3 {
        assert_eq!(line.agrees(&workspace).await?, issued);
    }
    line.proxy.release();
    let settled = async {
        while line.status(&workspace).await?.1 != Status::Hit {}
        anyhow::Ok(())
    };
    within("the answer that was held", settled).await??;
    assert_eq!(line.status(&workspace).await?, (issued, Status::Hit));
    Ok(())
}

#[tokio::test]
async fn a_read_whose_answer_is_late_fails_in_time_and_is_nobodys_answer_when_it_comes() -> Result<()> {
    // Of so few connections none is kept: over a kept one a SELECT is sent once more, and answered in time.
    let line = line(Limits { answer: ANSWER, ..Limits::patient(2) }).await?;
    let workspace = line.bench.rows("w", 1).await?.remove(0);
    line.proxy.next(Statement::Select, Fate::Held);
    let answers = tokio::join!(line.bench.read(&workspace), line.bench.read(&workspace));
    assert_eq!(answers, (Err(Error::Timeout), Err(Error::Timeout)));
    line.proxy.met(1).await?;
    // The row changes after it was read for the answer that is still in flight.
    let issued = line.bench.issue(&workspace).await?;
    line.proxy.release();
    line.bench.server_is_idle().await?;
    assert_eq!(line.status(&workspace).await?, (issued, Status::Hit));
    Ok(())
}

#[tokio::test]
async fn an_issue_whose_connection_is_cut_is_believed_to_have_changed_nothing_only_where_that_is_certain()
-> Result<()> {
    for fate in [Fate::CutBefore, Fate::CutAfter, Fate::CutDuring] {
        let line = line(Limits::patient(2)).await?;
        for round in 0..Tier::current().pick(5, 100) {
            let workspace = line.warm(&format!("w{round}-")).await?;
            let old = format!("old-{workspace}");
            line.proxy.next(Statement::Update, fate);
            let error = line.bench.cache.issue(&workspace).await.err().context("no answer, and a secret")?;
            line.proxy.met(round + 1).await?;
            line.proxy.settled().await?;
            ensure!(matches!(error, Error::OutcomeUnknown(_)), "{fate:?}: {error}");
            let read = line.agrees(&workspace).await?;
            match fate {
                Fate::CutBefore => assert_eq!(read, old, "{fate:?}"),
                Fate::CutAfter => assert_ne!(read, old, "{fate:?}"),
                _ => {}
            }
            let next = line.bench.issue(&workspace).await?;
            assert_eq!(line.bench.read(&workspace).await, Ok(next), "{fate:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_read_whose_connection_is_cut_is_unavailable_for_all_who_wait_and_the_next_one_works() -> Result<()>
{
    let line = line(Limits::patient(2)).await?;
    for (round, fate) in [Fate::CutBefore, Fate::CutAfter, Fate::CutDuring].into_iter().enumerate() {
        let workspace = line.bench.rows(&format!("w{round}-"), 1).await?.remove(0);
        line.proxy.next(Statement::Select, fate);
        let answers = tokio::join!(line.bench.read(&workspace), line.bench.cache.read_or_issue(&workspace));
        ensure!(matches!(answers.0, Err(Error::Unavailable(_))), "{fate:?}: {:?}", answers.0);
        ensure!(matches!(answers.1, Err(Error::Unavailable(_))), "a heal was begun: {fate:?}");
        line.proxy.met(round as u64 + 1).await?;
        assert_eq!(line.bench.read(&workspace).await, Ok(format!("old-{workspace}")), "{fate:?}");
    }
    Ok(())
}

/// The statement goes on in the server, behind a lock, when its client is long gone: nothing that is read
/// meanwhile may be kept, or it would be served after the commit.
#[tokio::test]
async fn an_update_that_outlives_its_connection_is_not_hidden_by_what_was_read_before_it() -> Result<()> {
    let line = line(Limits::patient(2)).await?;
    let workspace = line.warm("w").await?;
    let mut holder = line.bench.outside.begin().await?;
    sqlx::raw_sql("SELECT 1 FROM workspaces FOR UPDATE").execute(&mut *holder).await?;
    let (cache, key) = (line.bench.cache.clone(), workspace.clone());
    let issuer = tokio::spawn(async move { cache.issue(&key).await.map(drop) });
    line.bench.blocked(1).await?;
    line.proxy.cut();
    let outcome = within("the issue", issuer).await??;
    ensure!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
    for _ in 0..3 {
        assert_eq!(line.agrees(&workspace).await?, "old-w0");
    }
    holder.commit().await?;
    line.proxy.settled().await?;
    assert_ne!(line.agrees(&workspace).await?, "old-w0", "the server has committed it");
    Ok(())
}

#[tokio::test]
async fn a_silent_network_costs_misses_their_deadline_and_hits_nothing() -> Result<()> {
    let line = line(Limits { pool: Some((4, ANSWER / 2)), answer: ANSWER }).await?;
    let warm = line.warm("warm").await?;
    let cold = line.bench.rows("cold", 3).await?;
    line.proxy.silence(true);
    for workspace in &cold {
        let started = tokio::time::Instant::now();
        let error = line.bench.read(workspace).await.err().context("nothing moves, and a secret")?;
        ensure!(matches!(error, Error::Unavailable(_) | Error::Timeout), "{error}");
        ensure!(started.elapsed() < 2 * ANSWER, "{:?}", started.elapsed());
        assert_eq!(line.status(&warm).await?, ("old-warm0".into(), Status::Hit));
    }
    line.proxy.silence(false);
    line.bench.server_is_idle().await?;
    // The connections of the reads that were given up are closed, and the first new one takes its time to log
    // in.
    let served = async { while line.bench.read(&cold[0]).await.is_err() {} };
    within("the first read when the network is back", served).await?;
    for workspace in &cold {
        assert_eq!(line.bench.read(workspace).await, Ok(format!("old-{workspace}")));
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_closes_new_connections_is_unavailable_until_it_does_not() -> Result<()> {
    let line = line(Limits { pool: Some((4, ANSWER / 2)), answer: ANSWER }).await?;
    let cold = line.bench.rows("cold", 2).await?;
    line.proxy.refuse(true);
    line.proxy.cut();
    for workspace in &cold {
        let error = line.bench.read(workspace).await.err().context("no connection, and a secret")?;
        ensure!(matches!(error, Error::Unavailable(_)), "{error}");
        let error = line.bench.cache.issue(workspace).await.err().context("no connection, and a secret")?;
        ensure!(matches!(error, Error::Unavailable(_)), "it was certainly not sent: {error}");
    }
    line.proxy.refuse(false);
    for workspace in &cold {
        assert_eq!(line.bench.read(workspace).await, Ok(format!("old-{workspace}")));
    }
    Ok(())
}

/// A lost packet is sent again, for minutes, by a client that has given the connection up: so the server may
/// get an UPDATE after the next one, which was acknowledged to its caller as committed.
#[tokio::test]
async fn an_issue_that_is_carried_out_after_the_next_one_is_not_hidden_by_it() -> Result<()> {
    let (database, workspace) = (Scripted::new(), id("w"));
    database.store("w", Some("old"));
    let cache = builder().database(database.clone()).build().await?;
    database.fault(Some(Fault::Fails(DatabaseError::Lost("reset".into()))));
    let lost = cache.issue(&workspace).await.err().context("no answer, and a secret")?;
    ensure!(matches!(lost, Error::OutcomeUnknown(_)), "{lost}");
    database.fault(None);
    cache.issue(&workspace).await?;
    database.store("w", Some("late"));
    assert_eq!(
        text(&cache.read(&workspace).await?.secret),
        "late",
        "the database holds it, and was in doubt"
    );
    Ok(())
}
