//! Connections that the network forgets without a word to either side.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{Error, WorkspaceId};
use leasehold_tests::proxy::{Fate, Statement};

use super::line;
use crate::faults::{Limits, TestBed, within};

/// Number of connections for loads: three quarters of the ten connections of the pool that the library makes.
const LOADS: usize = 7;

/// Rounds until as many reads wait at once: each leaves its connections to the next one.
const MAX_ROUNDS: usize = 100;

/// Checks that service is back soon, as new connections work at once: not only after each connection that is
/// dead has cost a read. (Counted in reads, for on a busy machine a login takes long.)
async fn is_served_soon(bench: &TestBed, cold: &[WorkspaceId]) -> Result<()> {
    for key in cold.iter().take(LOADS - 1) {
        match bench.read(key).await {
            Ok(_) => return Ok(()),
            Err(Error::Timeout | Error::Unavailable(_)) => {}
            Err(error) => anyhow::bail!("a read over a line that is dead: {error}"),
        }
    }
    anyhow::bail!("none of {} reads was served", LOADS - 1)
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
        let answer = within("a reader at a connection that is dead", reader).await??;
        // Where its connection had been used before, the read has been sent once more, over another one.
        let is_expected = matches!(answer, Ok(()) | Err(Error::Timeout | Error::Unavailable(_)));
        ensure!(is_expected, "{answer:?}");
    }
    is_served_soon(bench, cold).await
}

#[tokio::test]
async fn idle_connections_that_the_network_has_forgotten_are_no_miss_at_all() -> Result<()> {
    let line = line(Limits::default_ones()).await?;
    let bench = &line.bench;
    let cold = bench.rows("cold", 100).await?;
    let (busy, cold) = cold.split_at(LOADS);
    let mut rounds = 0..MAX_ROUNDS;
    loop {
        ensure!(rounds.next().is_some(), "a read was late in each of {MAX_ROUNDS} rounds");
        let (readers, holder) = readers_at_a_lock(bench, busy).await?;
        holder.rollback().await?;
        let mut are_served = true;
        for reader in readers {
            are_served &= within("a reader", reader).await??.is_ok();
        }
        bench.server_is_idle().await?;
        if are_served {
            break;
        }
        // On a busy machine the lock may be held for nearly as long as a read waits.
    }
    line.proxy.forget();
    let (started, key) = (tokio::time::Instant::now(), cold.first().context("there are more")?);
    assert_eq!(bench.read(key).await, Ok(format!("old-{key}")), "after {:?}", started.elapsed());
    is_served_soon(bench, cold).await
}

#[tokio::test]
async fn connections_that_the_network_forgets_on_their_way_back_to_the_pool_are_replaced() -> Result<()> {
    // Of so few connections none is kept for the next SELECT: each goes back at once.
    let few = Limits { pool: Some((3, Duration::from_secs(1))), ..Limits::default_ones() };
    let line = line(few).await?;
    let bench = &line.bench;
    let cold = bench.rows("cold", 100).await?;
    let (busy, cold) = cold.split_at(8);
    // There are more than twice as many as there are connections.
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

/// Reads each workspace, each with a connection of its own, behind a lock that the transaction holds.
async fn readers_at_a_lock(
    bench: &TestBed,
    keys: &[WorkspaceId],
) -> Result<(Vec<Reader>, sqlx::Transaction<'static, sqlx::Postgres>)> {
    let read = |key: &WorkspaceId| {
        let (cache, key) = (bench.cache.clone(), key.clone());
        tokio::spawn(async move { cache.read(&key).await.map(drop) })
    };
    for _ in 0..MAX_ROUNDS {
        // What an earlier round has read would be hits, which wait for nothing.
        bench.cache.reset();
        let mut holder = bench.outside.begin().await?;
        sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
        let mut readers: Vec<Reader> = Vec::new();
        let one_by_one = async {
            for key in keys {
                readers.push(read(key));
                // Reads that wait together would share a connection.
                bench.blocked(readers.len() as i64).await?;
            }
            anyhow::Ok(())
        };
        // All of them have to arrive before the first has waited for too long. On a busy machine the logins
        // take longer: then the lock is released while all connections still have their answers, which go
        // back to the pool for the next round.
        if tokio::time::timeout(Limits::default_ones().answer / 2, one_by_one).await.is_ok() {
            return Ok((readers, holder));
        }
        holder.rollback().await?;
        for reader in readers {
            let _too_late = within("a reader", reader).await?;
        }
        bench.server_is_idle().await?;
    }
    anyhow::bail!("{LOADS} reads did not come to wait at once in {MAX_ROUNDS} rounds")
}
