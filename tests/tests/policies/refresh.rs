//! Refreshes ahead in the real host: that they read, and the fate of those that do not.

use std::time::Duration;

use leasehold::{BuildError, SecretCache, Stage, Status};
use leasehold_tests::scripted::Scripted;

use super::{TestBed, W, hostile};

const SECOND: Duration = Duration::from_secs(1);

impl TestBed {
    /// Reads, and waits for whatever the read has started.
    async fn read_and_settle(&self) -> (String, Status) {
        let read = self.read().await.expect("a lease covers it");
        while self.cache.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        read
    }
}

#[tokio::test]
async fn a_refresh_by_the_sdk_reads_the_database_once() {
    let bench = TestBed::new(hostile("reads-through-and-refreshes")).await;
    bench.read().await.expect("the row is there");
    bench.database.store(W, Some("new"));
    bench.clock.advance(61 * SECOND);
    assert_eq!(bench.read_and_settle().await, ("stored".into(), Status::Hit));
    for _ in 0..100 {
        assert_eq!(bench.read_and_settle().await, ("new".into(), Status::Hit));
    }
    let stats = bench.cache.stats();
    assert_eq!((bench.database.selects(), stats.policy_calls, stats.refreshes), (2, 2, 1));
}

#[tokio::test]
async fn a_refresh_that_reads_nothing_is_not_asked_for_by_each_hit() {
    let bench = TestBed::new(hostile("refreshes-without-reading")).await;
    bench.read().await.expect("the row is there");
    bench.clock.advance(60 * SECOND);
    for _ in 0..239 {
        bench.clock.advance(SECOND);
        assert_eq!(bench.read_and_settle().await, ("stored".into(), Status::Hit));
    }
    let stats = bench.cache.stats();
    // Refreshes come after 1 s, and then after as long again as one has been due: 5 s at least, a minute at
    // most.
    assert_eq!((bench.database.selects(), stats.refreshes), (1, 7), "{} calls", stats.policy_calls);
}

#[tokio::test]
async fn a_policy_whose_refreshes_read_nothing_gets_no_card() {
    let policy = hostile("refreshes-without-reading");
    let refused =
        SecretCache::builder().policy(policy.clone()).rehearse().await.expect_err("it reads nothing");
    let BuildError::Policy(error) = refused else { panic!("{refused}") };
    assert_eq!(error.stage, Stage::Rehearsal);
    for words in [
        "a refresh in the background: it read nothing",
        "sent no SELECT",
        "call `database.select`",
        "no `refresh-after` before `fresh-until`",
    ] {
        assert!(error.reason.contains(words), "no {words:?} in: {}", error.reason);
    }
    let cache = SecretCache::builder().database(Scripted::new()).build().await.expect("the default policy");
    let error = cache.swap(policy).await.expect_err("it reads nothing");
    assert!(error.reason.contains("it read nothing"), "{error}");
    let card = SecretCache::builder().policy(hostile("reads-through-and-refreshes")).rehearse().await;
    assert_eq!(card.expect("it reads").refresh_ahead.max, 240 * SECOND);
}
