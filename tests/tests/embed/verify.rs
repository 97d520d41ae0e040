//! Secrets that another process has issued a moment ago, and the cost of wrong ones.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use leasehold::{DatabaseError, Error, ManualClock, Policy, SecretCache, Status};
use leasehold_tests::scripted::{Fault, Gate, Scripted};
use leasehold_tests::{Engine, MAX_WAIT};

use super::id;
use crate::database::on_both;

on_both! {
    a_secret_that_another_process_has_just_issued_is_verified,
    wrong_secrets_cost_one_select_a_second_for_each_workspace,
}

fn builder(clock: &Arc<ManualClock>) -> leasehold::Builder {
    let policy = Policy::from_bytes(leasehold_policies::TTL);
    SecretCache::builder().clock(Arc::clone(clock)).policy(policy).database_timeout(MAX_WAIT)
}

async fn a_secret_that_another_process_has_just_issued_is_verified(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let (clock, id) = (Arc::new(ManualClock::new()), id("w"));
    let here = builder(&clock).database(fixture.secrets().await?).build().await?;
    let elsewhere = builder(&clock).database(fixture.secrets().await?).build().await?;
    assert!(here.verify(&id, b"old").await?);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        let issued = elsewhere.issue(&id).await?;
        assert!(here.verify(&id, issued.expose()).await?, "it was issued a moment ago");
        assert_eq!(here.read(&id).await?.status, Status::Hit, "what was read is stored");
        assert!(here.get(&id).is_some_and(|stored| stored.verify(issued.expose())));
        assert!(!here.verify(&id, b"old").await?);
    }
    Ok(())
}

async fn wrong_secrets_cost_one_select_a_second_for_each_workspace(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let ids = [id("one"), id("two")];
    for id in &ids {
        fixture.insert(id.as_str(), Some("right")).await?;
    }
    let clock = Arc::new(ManualClock::new());
    let cache = builder(&clock).database(fixture.secrets().await?).build().await?;
    for id in &ids {
        assert!(cache.verify(id, b"right").await?);
    }
    for second in 1..=3 {
        for id in ids.iter().cycle().take(200) {
            assert!(!cache.verify(id, b"wrong").await?);
            assert!(cache.verify(id, b"right").await?);
        }
        let stats = cache.stats();
        assert_eq!((stats.selects, stats.rereads, stats.errors), (2 + 2 * second, 2 * second, 0));
        clock.advance(Duration::from_secs(1));
    }
    Ok(())
}

struct TestBed {
    database: Scripted,
    cache: SecretCache,
    clock: Arc<ManualClock>,
}

/// Returns a cache that has read the secret `old`, where the database has the secret `new` by now.
async fn bench() -> TestBed {
    let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
    database.store("w", Some("old"));
    let cache = builder(&clock).database(database.clone()).build().await.expect("it is good");
    assert_eq!(cache.verify(&id("w"), b"old").await, Ok(true));
    database.store("w", Some("new"));
    clock.advance(Duration::from_millis(10));
    TestBed { database, cache, clock }
}

impl TestBed {
    fn verify(&self, presented: &'static str) -> tokio::task::JoinHandle<Result<bool, Error>> {
        let cache = self.cache.clone();
        tokio::spawn(async move { cache.verify(&id("w"), presented.as_bytes()).await })
    }
}

#[tokio::test]
async fn all_who_present_it_meanwhile_wait_for_the_same_select() {
    let bench = bench().await;
    bench.database.close(Gate::BeforeSelect);
    let callers: Vec<_> = (0..100).map(|_| bench.verify("new")).collect();
    bench.database.arrivals(1).await;
    // A hit waits for no other task.
    assert_eq!(bench.cache.verify(&id("w"), b"old").await, Ok(true));
    bench.database.open(Gate::BeforeSelect);
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), Ok(true));
    }
    assert_eq!(bench.database.selects(), 2);
}

#[tokio::test]
async fn a_load_that_began_before_the_call_does_not_refuse_what_it_has_not_seen() {
    let bench = bench().await;
    bench.cache.remove(&id("w"));
    bench.database.close(Gate::AfterSelect);
    let cache = bench.cache.clone();
    let reader = tokio::spawn(async move { cache.read(&id("w")).await });
    bench.database.arrivals(1).await;
    // The load has seen `new`. It has not seen what is committed now, and the caller joins it.
    bench.database.store("w", Some("newest"));
    bench.clock.advance(Duration::from_millis(10));
    let caller = bench.verify("newest");
    tokio::task::yield_now().await;
    bench.database.open(Gate::AfterSelect);
    assert_eq!(caller.await.expect("no panic"), Ok(true));
    assert!(reader.await.expect("no panic").is_ok_and(|found| found.secret.verify(b"new")));
}

#[tokio::test]
async fn a_refresh_that_began_before_the_call_does_not_refuse_what_it_has_not_seen_either() {
    let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
    database.store("w", Some("old"));
    let policy = Policy::from_bytes(leasehold_policies::RESILIENT).setting("jitter", "0s");
    let policy = policy.setting("ttl", "5m").setting("refresh-ahead", "30s");
    let cache = builder(&clock).policy(policy).database(database.clone()).build().await.expect("it is good");
    assert_eq!(cache.verify(&id("w"), b"old").await, Ok(true));
    clock.advance(Duration::from_secs(280));
    database.close(Gate::AfterSelect);
    assert_eq!(cache.verify(&id("w"), b"old").await, Ok(true), "a hit that begins a refresh");
    database.arrivals(1).await;
    // A commit that the refresh has not seen.
    database.store("w", Some("newest"));
    clock.advance(Duration::from_millis(10));
    let caller = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.verify(&id("w"), b"newest").await })
    };
    tokio::task::yield_now().await;
    database.open(Gate::AfterSelect);
    assert_eq!(caller.await.expect("no panic"), Ok(true));
    assert_eq!(database.selects(), 3);
}

#[tokio::test]
async fn what_was_read_again_before_an_issue_is_not_stored_after_it() {
    let bench = bench().await;
    bench.database.close(Gate::AfterSelect);
    let caller = bench.verify("new");
    bench.database.arrivals(1).await;
    let issued = bench.cache.issue(&id("w")).await.expect("it is there");
    bench.database.open(Gate::AfterSelect);
    assert_eq!(caller.await.expect("no panic"), Ok(true), "it was the secret when the call began");
    assert_eq!(bench.cache.verify(&id("w"), issued.expose()).await, Ok(true));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.cache.verify(&id("w"), b"new").await, Ok(false));
    let found = bench.cache.read(&id("w")).await.expect("it is there");
    assert!(found.secret.verify(issued.expose()));
}

#[tokio::test]
async fn while_the_database_is_down_what_is_cached_decides() {
    let bench = bench().await;
    bench.database.fault(Some(Fault::Fails(DatabaseError::Unavailable("down".into()))));
    for second in 1..=3 {
        for _ in 0..100 {
            assert_eq!(bench.cache.verify(&id("w"), b"new").await, Ok(false));
            assert_eq!(bench.cache.verify(&id("w"), b"old").await, Ok(true));
        }
        assert_eq!(bench.database.selects(), 1 + second, "one attempt a second");
        bench.clock.advance(Duration::from_secs(1));
    }
    bench.database.fault(None);
    assert_eq!(bench.cache.verify(&id("w"), b"new").await, Ok(true));
}

#[tokio::test]
async fn a_read_that_joins_the_doubt_of_somebody_else_is_answered_with_what_is_kept() {
    let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
    database.store("w", Some("old"));
    let policy = Policy::from_bytes(leasehold_policies::RESILIENT).setting("jitter", "0s");
    let policy = policy.setting("stale", "30m").setting("ttl", "5m");
    let cache = builder(&clock).policy(policy).database(database.clone()).build().await.expect("it is good");
    assert_eq!(cache.verify(&id("w"), b"old").await, Ok(true));
    database.fault(Some(Fault::Fails(DatabaseError::Unavailable("down".into()))));
    database.close(Gate::BeforeSelect);
    let doubt = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.verify(&id("w"), b"wrong").await })
    };
    database.arrivals(1).await;
    clock.advance(Duration::from_secs(301));
    let reader = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.read(&id("w")).await.map(|found| found.status) })
    };
    tokio::task::yield_now().await;
    database.open(Gate::BeforeSelect);
    assert_eq!(doubt.await.expect("no panic"), Ok(false));
    assert_eq!(reader.await.expect("no panic"), Ok(Status::Stale), "an outage is no error for it");
}
