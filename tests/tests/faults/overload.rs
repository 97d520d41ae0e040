//! More callers than there is room for: how many statements they cost, and how many of those at once.
//!
//! The counts are those of the database, not of the cache. A caller that is rejected because there is no room
//! tries again, as a real one would; no caller may get any other error.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use leasehold::{Error, ManualClock, SecretCache, WorkspaceId};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::Tier;
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::proxy::Proxy;
use leasehold_tests::scripted::{Gate, Scripted};

use super::{Dice, Limits, MAX_SELECTS, TestBed, builder, id, text, within};

const CALLERS: u64 = 1000;
const LEASE: Duration = Duration::from_secs(301);

/// Reads until there is room for it, and checks that the secret is the workspace's.
async fn read(cache: &SecretCache, workspace: &WorkspaceId) -> Result<()> {
    loop {
        match cache.read(workspace).await {
            Ok(found) => {
                ensure!(text(&found.secret) == format!("old-{workspace}"), "another workspace's secret");
                return Ok(());
            }
            Err(Error::Overloaded) => tokio::task::yield_now().await,
            Err(error) => anyhow::bail!("{workspace}: {error}"),
        }
    }
}

/// Starts as many callers as there are, each with its share of the keys in an order of its own; every key has
/// several callers.
async fn crowd(cache: &SecretCache, keys: &Arc<[WorkspaceId]>, shares: u64, seed: u64) -> Result<()> {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (cache, keys) = (cache.clone(), Arc::clone(keys));
            tokio::spawn(async move {
                let mut dice = Dice(seed + caller);
                let count = keys.len() as u64;
                let share = count * shares / CALLERS;
                // The first share is the caller's own, so that none is left out; the others are of any keys.
                for n in 0..share {
                    let own = caller * count / CALLERS + n;
                    let key = if n < count / CALLERS { own } else { dice.below(count) };
                    read(&cache, &keys[key as usize]).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for caller in callers {
        within("a caller among many", caller).await???;
    }
    Ok(())
}

async fn scripted() -> Result<(Scripted, Arc<ManualClock>, SecretCache)> {
    let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
    let cache = builder()
        .database(database.clone())
        .clock(Arc::clone(&clock))
        .database_timeout(MAX_WAIT)
        .max_selects(MAX_SELECTS as usize)
        .build()
        .await?;
    Ok((database, clock, cache))
}

#[tokio::test]
async fn a_thousand_callers_of_one_cold_key_cost_one_select() -> Result<()> {
    let (database, _clock, cache) = scripted().await?;
    database.store("w", Some("old-w"));
    database.close(Gate::BeforeSelect);
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { read(&cache, &id("w")).await })
        })
        .collect();
    database.arrivals(1).await;
    database.open(Gate::BeforeSelect);
    for caller in callers {
        within("a caller", caller).await???;
    }
    assert_eq!((database.selects(), database.peak()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_keys_that_expire_together_are_each_loaded_once_never_too_many_at_once() -> Result<()> {
    let (database, clock, cache) = scripted().await?;
    let keys: Arc<[WorkspaceId]> = (0..10_000).map(|n| id(&format!("w{n}"))).collect();
    for key in &*keys {
        database.store(key.as_str(), Some(&format!("old-{key}")));
    }
    database.take_turns(3);
    for round in 1..=Tier::current().pick(2, 20) {
        crowd(&cache, &keys, 4, round).await?;
        assert_eq!(database.selects(), round * 10_000, "each expiry is one load of each key");
        // A caller that reads again does so under the leases.
        crowd(&cache, &keys, 2, round).await?;
        assert_eq!(database.selects(), round * 10_000);
        clock.advance(LEASE);
    }
    let peak = database.peak();
    ensure!(peak <= MAX_SELECTS, "{peak} statements at once");
    ensure!(peak > MAX_SELECTS / 2, "only {peak} statements at once: the bound was not tried");
    Ok(())
}

#[tokio::test]
async fn who_finds_the_queue_full_is_told_at_once_and_costs_nothing() -> Result<()> {
    let database = Scripted::new();
    let cache = builder().database(database.clone()).max_selects(2).max_queue(3).build().await?;
    database.close(Gate::BeforeSelect);
    let read = |n: u64| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.read(&id(&format!("w{n}"))).await.map(drop) })
    };
    let waiting: Vec<_> = (0..5).map(read).collect();
    database.arrivals(2).await;
    for n in 5..20 {
        ensure!(within("a read that is turned away", read(n)).await?? == Err(Error::Overloaded));
    }
    let stats = cache.stats();
    ensure!((database.selects(), stats.overloaded, stats.in_flight) == (2, 15, 5), "{stats:?}");
    database.open(Gate::BeforeSelect);
    for read in waiting {
        ensure!(within("a read that was let in", read).await?? == Err(Error::Absent));
    }
    ensure!((database.selects(), database.peak(), cache.stats().in_flight) == (5, 2, 0));
    Ok(())
}

#[tokio::test]
async fn loads_leave_connections_for_others() -> Result<()> {
    let database = TestDatabase::create().await?;
    let bench = TestBed::new(database.options(), database.options(), Limits::patient(4)).await?;
    let keys = bench.rows("w", 50).await?;
    let mut lock = bench.outside.begin().await?;
    sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await?;
    let mut readers = Vec::new();
    for (number, key) in keys.into_iter().enumerate() {
        let cache = bench.cache.clone();
        readers.push(tokio::spawn(async move { read(&cache, &key).await }));
        // Loads that wait together would share a connection.
        if number < 3 {
            bench.blocked(number as i64 + 1).await?;
        }
    }
    // The others have given up by then.
    ensure!(tokio::time::timeout(Duration::from_millis(100), bench.blocked(4)).await.is_err(), "too many");
    let free = within("the connection that is left", bench.pool.acquire()).await??;
    ensure!(bench.sessions_in("active").await? == 3, "three quarters of the connections are for loads");
    drop(free);
    lock.commit().await?;
    for reader in readers {
        within("a reader", reader).await???;
    }
    Ok(())
}

/// The same crowd over real connections, counted by a proxy that reads what is sent. Many loads travel in one
/// statement there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_costs_a_real_database_one_load_for_each_key_and_far_fewer_statements() -> Result<()> {
    let database = TestDatabase::create().await?;
    let (proxy, inside) = Proxy::start(&database.options()).await?;
    let bench = TestBed::new(database.options(), inside, Limits::patient(8)).await?;
    let one: Arc<[WorkspaceId]> = bench.rows("w", 1).await?.into();
    let checked = proxy.selects();
    // Two connections were no pool's: they looked at what is there, and were closed.
    let looks = proxy.accepted() - u64::from(bench.pool.size());
    ensure!(looks == 2, "{looks} connections for the look");
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (cache, key) = (bench.cache.clone(), one[0].clone());
            tokio::spawn(async move { read(&cache, &key).await })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await???;
    }
    assert_eq!(proxy.selects() - checked, 1);
    let many: Arc<[WorkspaceId]> = bench.rows("m", 1000).await?.into();
    for round in 1..=2 {
        crowd(&bench.cache, &many, 5, round).await?;
        assert_eq!(bench.cache.stats().selects, 1 + round * 1000, "each expiry is one load of each key");
        let statements = proxy.selects() - checked;
        assert!(statements < 1 + round * 500, "{statements} statements for {} loads", round * 1000);
        bench.clock.advance(LEASE);
    }
    let pooled = proxy.accepted() - looks;
    ensure!(pooled <= 8, "{pooled} connections for a pool of 8");
    Ok(())
}
