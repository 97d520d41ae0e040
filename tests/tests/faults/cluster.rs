//! A PostgreSQL that is stopped, crashes and ends its sessions, between statements and in the middle of one.
//!
//! The server is real and the test's own. Each test checks that the error is of the right kind, that the
//! entry is gone where the outcome is unknown, and that what is read afterwards is what the database holds.
//! Service under load while it is down is the business of `outage`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{Error, Secret, Status, WorkspaceId};
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::{MAX_WAIT, Tier};
use tokio::task::JoinHandle;

use super::{Dice, Limits, TestBed, text, within};

/// Limits with which a server that is down is noticed soon, and a slow one is waited for.
const SHORT_WAIT: Limits = Limits { pool: Some((10, Duration::from_secs(2))), answer: MAX_WAIT };

struct Machine {
    cluster: Arc<Cluster>,
    bench: Arc<TestBed>,
}

async fn machine(limits: Limits) -> Result<Machine> {
    let cluster = Arc::new(Cluster::create(&[])?);
    let bench = Arc::new(TestBed::new(cluster.options(), cluster.options(), limits).await?);
    Ok(Machine { cluster, bench })
}

/// The result of an issue in a task of its own.
type Issuing = JoinHandle<Result<Secret, Error>>;

impl Machine {
    async fn stop(&self, how: Stop) -> Result<()> {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || cluster.stop(how)).await?
    }

    async fn start(&self) -> Result<()> {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || cluster.start()).await?
    }

    fn issue_in_background(&self, workspace: &WorkspaceId) -> Issuing {
        let (bench, workspace) = (Arc::clone(&self.bench), workspace.clone());
        tokio::spawn(async move { bench.cache.issue(&workspace).await })
    }

    /// Sends an UPDATE that is in flight in the server. It waits for no lock: a lock would be released where
    /// the server ends the session that holds it first, and the UPDATE be committed after all.
    async fn lasting_issue(&self, workspace: &WorkspaceId) -> Result<Issuing> {
        let outside = &self.bench.outside;
        sqlx::raw_sql(
            "CREATE OR REPLACE FUNCTION last() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN PERFORM pg_sleep(3600); RETURN NEW; END$$; \
             CREATE TRIGGER last BEFORE UPDATE ON workspaces FOR EACH ROW EXECUTE FUNCTION last()",
        )
        .execute(outside)
        .await?;
        let issuing = self.issue_in_background(workspace);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'leasehold' AND wait_event = 'PgSleep'";
        let in_flight = async {
            while sqlx::query_scalar::<_, i64>(sql).fetch_one(outside).await? < 1 {}
            anyhow::Ok(())
        };
        within("a statement under way", in_flight).await??;
        Ok(issuing)
    }

    /// Has the next issues take no longer than any.
    async fn let_issues_be_quick(&self) -> Result<()> {
        sqlx::raw_sql("DROP TRIGGER last ON workspaces").execute(&self.bench.outside).await?;
        Ok(())
    }

    /// Checks that an issue ended with an unknown outcome.
    async fn is_unknown(&self, issuing: Issuing) -> Result<()> {
        let outcome = within("the issue", issuing).await??;
        ensure!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
        Ok(())
    }

    /// Checks that a read asks the database, and answers with what it holds.
    async fn agrees(&self, workspace: &WorkspaceId) -> Result<String> {
        let lookup = within("a read", self.bench.cache.read(workspace)).await??;
        ensure!(lookup.status == Status::Miss, "the entry outlived an unknown outcome: {:?}", lookup.status);
        let read = text(&lookup.secret);
        ensure!(self.bench.stored(workspace).await? == Some(read.clone()), "not what the database holds");
        Ok(read)
    }
}

#[tokio::test]
async fn a_server_that_was_stopped_answers_again_and_nothing_acknowledged_is_lost() -> Result<()> {
    let machine = machine(SHORT_WAIT).await?;
    let bench = &machine.bench;
    for how in [Stop::Fast, Stop::Immediate] {
        let workspaces = bench.rows(&format!("{how:?}-"), 3).await?;
        let [warm, issued, cold] = workspaces.as_slice() else { anyhow::bail!("three were asked for") };
        bench.read(warm).await?;
        let secret = bench.issue(issued).await?;
        machine.stop(how).await?;
        assert_eq!(bench.read(warm).await, Ok(format!("old-{warm}")), "{how:?}");
        assert_eq!(bench.read(issued).await, Ok(secret.clone()), "{how:?}");
        let (read, refused, healed, rotated) = tokio::join!(
            bench.read(cold),
            bench.cache.issue(cold),
            bench.cache.read_or_issue(cold),
            bench.cache.issue(warm),
        );
        for error in [read.err(), refused.err(), healed.err(), rotated.err()] {
            ensure!(matches!(error, Some(Error::Unavailable(_))), "{how:?}: {error:?}");
        }
        assert_eq!(bench.read(warm).await, Ok(format!("old-{warm}")), "nothing was sent: {how:?}");
        machine.start().await?;
        assert_eq!(bench.read(cold).await, Ok(format!("old-{cold}")), "{how:?}");
        assert_eq!(bench.stored(issued).await?, Some(secret), "an acknowledged issue is lost: {how:?}");
        bench.issue(warm).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_statement_that_the_server_takes_down_with_it_has_an_unknown_outcome() -> Result<()> {
    let machine = machine(Limits::patient(2)).await?;
    let bench = &machine.bench;
    let workspaces = bench.rows("w", 3).await?;
    for (workspace, how) in workspaces.iter().zip([Some(Stop::Fast), Some(Stop::Immediate), None]) {
        bench.read(workspace).await?;
        let issuing = machine.lasting_issue(workspace).await?;
        match how {
            Some(how) => machine.stop(how).await?,
            // The server lives on; the session does not.
            None => ensure!(bench.terminate().await? >= 1, "no session to end"),
        }
        machine.is_unknown(issuing).await?;
        if how.is_some() {
            machine.start().await?;
        }
        machine.let_issues_be_quick().await?;
        let read = machine.agrees(workspace).await?;
        assert_eq!(read, format!("old-{workspace}"), "the update was rolled back: {how:?}");
        bench.issue(workspace).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_read_whose_session_is_ended_is_unavailable_for_all_who_wait_and_never_absent() -> Result<()> {
    let machine = machine(Limits::patient(2)).await?;
    let bench = &machine.bench;
    let workspace = bench.rows("w", 1).await?.remove(0);
    let mut holder = bench.outside.begin().await?;
    sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let (bench, workspace) = (Arc::clone(bench), workspace.clone());
            tokio::spawn(async move { bench.cache.read_or_issue(&workspace).await.map(drop) })
        })
        .collect();
    bench.blocked(1).await?;
    ensure!(bench.terminate().await? >= 1, "nobody was connected");
    for reader in readers {
        let answer = within("a reader", reader).await??;
        ensure!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    holder.rollback().await?;
    assert_eq!(bench.read(&workspace).await, Ok(format!("old-{workspace}")));
    assert_eq!(bench.cache.stats().issues, 0, "an error is no absence, and nothing is healed");
    Ok(())
}

/// The next borrower of a connection that the server has ended meanwhile must not pay for it.
#[tokio::test]
async fn sessions_that_end_between_statements_cost_nobody_an_error() -> Result<()> {
    let machine = machine(Limits::patient(2)).await?;
    let bench = &machine.bench;
    let rounds = i32::try_from(Tier::current().pick(25, 1000))?;
    let workspaces = bench.rows("w", rounds).await?;
    let mut dice = Dice(25);
    for workspace in &workspaces {
        assert_eq!(bench.read(workspace).await, Ok(format!("old-{workspace}")));
        ensure!(bench.terminate().await? >= 1, "nobody was connected");
        if dice.below(2) == 0 {
            bench.issue(workspace).await?;
        } else {
            bench.cache.remove(workspace);
            assert_eq!(bench.read(workspace).await, Ok(format!("old-{workspace}")));
        }
    }
    Ok(())
}

/// Issues for one workspace, one issue after the other, until it is stopped. Returns the issues that were
/// acknowledged.
async fn issue_until(
    bench: Arc<TestBed>,
    workspace: WorkspaceId,
    stop: Arc<tokio::sync::Notify>,
) -> Result<Vec<String>> {
    let mut acknowledged = Vec::new();
    let stopped = stop.notified();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(acknowledged),
            outcome = bench.cache.issue(&workspace) => match outcome {
                Ok(secret) => {
                    let secret = text(&secret);
                    let read = bench.cache.get(&workspace).map(|secret| text(&secret));
                    ensure!(read.is_none_or(|read| read == secret), "a read after an issue goes back");
                    acknowledged.push(secret);
                }
                Err(Error::OutcomeUnknown(_) | Error::Unavailable(_)) => {}
                Err(error) => anyhow::bail!("an issue against a server that fails: {error}"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_between_crashes_and_ended_sessions_is_in_the_database() -> Result<()> {
    let machine = machine(SHORT_WAIT).await?;
    let bench = &machine.bench;
    let workspaces = bench.rows("w", 6).await?;
    let stop = Arc::new(tokio::sync::Notify::new());
    let issuers: Vec<_> = workspaces
        .iter()
        .map(|workspace| tokio::spawn(issue_until(Arc::clone(bench), workspace.clone(), Arc::clone(&stop))))
        .collect();
    let mut dice = Dice(6);
    for _ in 0..Tier::current().pick(3, 100) {
        for _ in 0..=dice.below(4) {
            bench.terminate().await?;
        }
        let how = if dice.below(2) == 0 { Stop::Fast } else { Stop::Immediate };
        machine.stop(how).await?;
        machine.start().await?;
        // Some work gets done between two faults.
        let issues = bench.cache.stats().issues;
        let going = async {
            while bench.cache.stats().issues < issues + 30 {
                tokio::task::yield_now().await;
            }
        };
        within("issues after a restart", going).await?;
    }
    stop.notify_waiters();
    let mut total = 0;
    for (issuer, workspace) in issuers.into_iter().zip(&workspaces) {
        let acknowledged = within("an issuer", issuer).await??.with_context(|| workspace.to_string())?;
        let history = bench.history(workspace).await?;
        let places: Option<Vec<_>> = acknowledged.iter().map(|secret| history.get(secret)).collect();
        let places = places.with_context(|| format!("an acknowledged issue of {workspace} is lost"))?;
        ensure!(places.is_sorted(), "issues one after the other were committed in another order");
        total += places.len();
    }
    bench.server_is_idle().await?;
    for workspace in &workspaces {
        let stored = bench.stored(workspace).await?;
        assert_eq!(bench.read(workspace).await.ok(), stored, "{workspace}");
    }
    ensure!(total >= 100, "only {total} issues were acknowledged: too few to show anything");
    Ok(())
}
