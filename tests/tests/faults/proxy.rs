//! The network between the cache and its database: late answers, lost answers, connections cut at any moment.
//!
//! What the caller is told may be "unknown", and has to be wherever it is; what is read afterwards has to be what the
//! database holds. The statements are real ones; only the moment at which the network fails is chosen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{DatabaseError, Error, Status, WorkspaceId};
use leasehold_tests::Lane;
use leasehold_tests::cluster::Cluster;
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::proxy::{Fate, Proxy, Statement};
use leasehold_tests::scripted::{Fault, Scripted};
use sqlx::postgres::PgConnectOptions;

use super::{Bench, Dice, Limits, builder, id, text, within};

/// How long an answer is waited for where the test makes it late.
const ANSWER: Duration = Duration::from_secs(2);

struct Line {
    proxy: Proxy,
    bench: Bench,
}

async fn line(limits: Limits) -> Result<Line> {
    line_to(TestDatabase::create().await?.options(), limits).await
}

async fn line_to(server: PgConnectOptions, limits: Limits) -> Result<Line> {
    let (proxy, inside) = Proxy::start(&server).await?;
    let bench = Bench::new(server, inside, limits).await?;
    Ok(Line { proxy, bench })
}

fn impatient() -> Limits {
    Limits { answer: ANSWER, ..Limits::patient(4) }
}

impl Line {
    /// A workspace that the cache has read, and answers without asking.
    async fn warm(&self, name: &str) -> Result<WorkspaceId> {
        let workspace = self.bench.rows(name, 1).await?.remove(0);
        self.bench.read(&workspace).await?;
        Ok(workspace)
    }

    async fn status(&self, workspace: &WorkspaceId) -> Result<(String, Status)> {
        let lookup = within("a read", self.bench.cache.read(workspace)).await??;
        Ok((text(&lookup.secret), lookup.status))
    }

    /// That the cache answers with what the database holds, and with nothing that it kept from before.
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
    let line = line(impatient()).await?;
    let workspace = line.bench.rows("w", 1).await?.remove(0);
    line.proxy.next(Statement::Select, Fate::Held);
    let answers = tokio::join!(line.bench.read(&workspace), line.bench.read(&workspace));
    assert_eq!(answers, (Err(Error::Timeout), Err(Error::Timeout)));
    line.proxy.met(1).await?;
    // The row changes after it was read for the answer that is still under way.
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
        for round in 0..Lane::current().pick(5, 100) {
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

/// The statement goes on in the server, behind a lock, when its client is long gone: nothing that is read meanwhile may
/// be kept, or it would be served after the commit.
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
    // The connections of the reads that were given up are closed, and the first new one takes its time to log in.
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

/// What was seen of one workspace during a round.
#[derive(Default)]
struct Seen {
    acknowledged: Vec<String>,
    /// What was read, and how many issues had been acknowledged before the read began.
    read: Vec<(usize, String)>,
    unknown: u32,
}

type Log = Arc<Mutex<HashMap<WorkspaceId, Seen>>>;

async fn issues(bench: &Bench, workspace: WorkspaceId, log: Log, count: u32) -> Result<()> {
    for _ in 0..count {
        let outcome = within("an issue", bench.cache.issue(&workspace)).await?;
        let mut log = log.lock().unwrap();
        let seen = log.entry(workspace.clone()).or_default();
        match outcome {
            Ok(secret) => seen.acknowledged.push(text(&secret)),
            Err(Error::OutcomeUnknown(_)) => seen.unknown += 1,
            Err(Error::Unavailable(_)) => {}
            Err(error) => anyhow::bail!("an issue over a bad line: {error}"),
        }
    }
    Ok(())
}

async fn reads(bench: &Bench, workspace: WorkspaceId, log: Log, count: u32) -> Result<()> {
    for _ in 0..count {
        let before = log.lock().unwrap().entry(workspace.clone()).or_default().acknowledged.len();
        match within("a read", bench.read(&workspace)).await? {
            Ok(secret) => {
                log.lock().unwrap().entry(workspace.clone()).or_default().read.push((before, secret))
            }
            Err(Error::Unavailable(_)) => {}
            Err(error) => anyhow::bail!("a read over a bad line: {error}"),
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Holds what was seen against all that the database ever held.
async fn hold(bench: &Bench, workspace: &WorkspaceId, seen: &Seen) -> Result<()> {
    let history = bench.history(workspace).await?;
    let place = |secret: &String| history.get(secret).copied();
    let mut newest = vec![0];
    for secret in &seen.acknowledged {
        let place = place(secret).context("an acknowledged issue is not in the database")?;
        newest.push(place.max(newest.last().copied().unwrap_or_default()));
    }
    for (before, secret) in &seen.read {
        let place = place(secret).context("the database never held what was read")?;
        ensure!(
            newest.get(*before).is_some_and(|newest| place >= *newest),
            "older than an acknowledged issue"
        );
    }
    let most = 1 + seen.acknowledged.len() + seen.unknown as usize;
    ensure!(history.len() <= most, "an issue that was refused is in the database");
    let now = bench.stored(workspace).await?.context("the row is gone")?;
    ensure!(bench.read(workspace).await? == now, "the cache does not hold what the database holds");
    Ok(())
}

#[tokio::test]
async fn no_acknowledged_issue_is_lost_and_no_read_goes_back_however_the_network_fails() -> Result<()> {
    // A server of its own: hundreds of logins and thousands of commits are the test, not what they cost.
    let cluster = Cluster::create(&[])?;
    let line = line_to(cluster.options(), Limits::patient(4)).await?;
    let mut dice = Dice(0x1ea5_e401d);
    let rounds = Lane::current().pick(200, 5000);
    let (mut acknowledged, mut unknown) = (0, 0);
    for round in 0..rounds {
        let workspaces = line.bench.rows(&format!("r{round}-"), 2).await?;
        let log = Log::default();
        match dice.below(4) {
            0 => line.proxy.cut(),
            1 => line.proxy.next(Statement::Update, Fate::CutDuring),
            _ => {}
        }
        line.proxy.cut_after(dice.below(60) as u32);
        let (bench, one, two) = (&line.bench, &workspaces[0], &workspaces[1]);
        tokio::try_join!(
            issues(bench, one.clone(), Arc::clone(&log), 3),
            issues(bench, one.clone(), Arc::clone(&log), 2),
            issues(bench, two.clone(), Arc::clone(&log), 4),
            reads(bench, one.clone(), Arc::clone(&log), 12),
            reads(bench, two.clone(), Arc::clone(&log), 12),
        )?;
        line.proxy.calm();
        line.proxy.settled().await?;
        let log = std::mem::take(&mut *log.lock().unwrap());
        for (workspace, seen) in log {
            hold(&line.bench, &workspace, &seen)
                .await
                .with_context(|| format!("round {round}: {workspace}"))?;
            acknowledged += seen.acknowledged.len();
            unknown += seen.unknown;
        }
    }
    let accepted = line.proxy.accepted();
    println!(
        "{rounds} rounds: {acknowledged} issues acknowledged, {unknown} unknown, {accepted} connections"
    );
    ensure!(unknown >= 20 && acknowledged >= 500, "the network was too good, or too bad, to show anything");
    Ok(())
}

/// Of the ten connections of the pool that the library makes, three quarters are for loads.
const LOADS: usize = 7;

/// New connections work at once, so service has to be back as fast as after any other outage: within a second of the
/// deadline of those who met the silence.
async fn is_served_soon(bench: &Bench, cold: &[WorkspaceId]) -> Result<()> {
    let forgotten_at = tokio::time::Instant::now();
    for key in cold {
        match bench.read(key).await {
            Ok(_) => return Ok(()),
            Err(Error::Timeout | Error::Unavailable(_)) => {}
            Err(error) => anyhow::bail!("a read over a line that is dead: {error}"),
        }
        let since = forgotten_at.elapsed();
        ensure!(since < Duration::from_secs(3), "no read was served for {since:?}");
    }
    anyhow::bail!("none of {} reads was served", cold.len())
}

#[tokio::test]
async fn busy_connections_that_the_network_has_forgotten_cost_a_second_of_misses_and_no_more() -> Result<()> {
    let line = line(Limits::default_ones()).await?;
    let bench = &line.bench;
    let cold = bench.rows("cold", 100).await?;
    let (busy, cold) = cold.split_at(LOADS);
    let (readers, holder) = readers_at_a_lock(bench, busy).await?;
    line.proxy.forget();
    holder.rollback().await?;
    for reader in readers {
        let answer = within("a reader that nobody answers", reader).await??;
        ensure!(matches!(answer, Err(Error::Timeout | Error::Unavailable(_))), "{answer:?}");
    }
    is_served_soon(bench, cold).await
}

#[tokio::test]
async fn idle_connections_that_the_network_has_forgotten_are_no_miss_at_all() -> Result<()> {
    let line = line(Limits::default_ones()).await?;
    let bench = &line.bench;
    let cold = bench.rows("cold", 100).await?;
    let (busy, cold) = cold.split_at(LOADS);
    let (readers, holder) = readers_at_a_lock(bench, busy).await?;
    holder.rollback().await?;
    for reader in readers {
        within("a reader", reader).await???;
    }
    bench.server_is_idle().await?;
    line.proxy.forget();
    let (started, key) = (tokio::time::Instant::now(), cold.first().context("there are more")?);
    assert_eq!(bench.read(key).await, Ok(format!("old-{key}")), "after {:?}", started.elapsed());
    is_served_soon(bench, cold).await
}

#[tokio::test]
async fn connections_that_the_network_forgets_on_their_way_back_to_the_pool_are_replaced() -> Result<()> {
    let line = line(Limits::default_ones()).await?;
    let bench = &line.bench;
    let cold = bench.rows("cold", 100).await?;
    let (busy, cold) = cold.split_at(20);
    // Twice as many as there are connections.
    for (round, key) in busy.iter().enumerate() {
        line.proxy.next(Statement::Select, Fate::ForgottenAfter);
        let asked_at = tokio::time::Instant::now();
        while let Err(error) = bench.read(key).await {
            ensure!(matches!(error, Error::Timeout | Error::Unavailable(_)), "{error}");
            ensure!(asked_at.elapsed() < Duration::from_secs(10), "read {round} has no connection any more");
        }
        line.proxy.met(round as u64 + 1).await?;
    }
    is_served_soon(bench, cold).await
}

type Reader = tokio::task::JoinHandle<Result<(), Error>>;

/// A read of each workspace, each with a connection of its own, behind a lock that the transaction holds.
async fn readers_at_a_lock(
    bench: &Bench,
    keys: &[WorkspaceId],
) -> Result<(Vec<Reader>, sqlx::Transaction<'static, sqlx::Postgres>)> {
    let read = |key: &WorkspaceId| {
        let (cache, key) = (bench.cache.clone(), key.clone());
        tokio::spawn(async move { cache.read(&key).await.map(drop) })
    };
    loop {
        let mut holder = bench.outside.begin().await?;
        sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
        let readers: Vec<Reader> = keys.iter().map(read).collect();
        // All of them at once, before the first has waited for too long. On a busy machine the logins take longer.
        if tokio::time::timeout(ANSWER / 4, bench.blocked(keys.len() as i64)).await.is_ok() {
            return Ok((readers, holder));
        }
        holder.rollback().await?;
        for reader in readers {
            let _too_late = within("a reader", reader).await?;
        }
        bench.server_is_idle().await?;
    }
}

/// A packet that was lost is sent again, for minutes, by a client that has given the connection up: so the server may
/// get an UPDATE after the next one, of which the caller was told that it is committed.
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
