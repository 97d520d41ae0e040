//! Observers of changes of the policy may do anything: look at the cache, change the policy, panic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use leasehold::{Builder, Cause, Policy, Probation, SecretCache, WorkspaceId};
use leasehold_tests::scripted::Scripted;

use super::W;

fn ttl(setting: &str) -> Policy {
    Policy::from_bytes(leasehold_policies::TTL).setting("ttl", setting)
}

fn builder() -> Builder {
    let database = Scripted::new();
    database.store(W, Some("stored"));
    SecretCache::builder().database(database).policy(ttl("1m"))
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_a_probation_that_failed_ends_neither_the_housekeeping_nor_what_comes_after() {
    let notified = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&notified);
    let cache = builder()
        .probation(Probation { call_time: Duration::from_nanos(1), ..Probation::default() })
        .on_policy_change(move |change| {
            seen.lock().unwrap().push(change.record.cause);
            assert_ne!(change.record.cause, Cause::Probation, "the observer's own panic");
        })
        .build()
        .await
        .expect("a cache");
    let id = WorkspaceId::new(W).expect("a usable id");
    for failed in [1, 2] {
        cache.swap(ttl("0s")).await.expect("the settings are good");
        for _ in 0..100 {
            cache.read(&id).await.expect("the row is there");
        }
        // The cache looks once a second.
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        assert_eq!(cache.stats().probations_failed, failed);
    }
    let expected = [Cause::Start, Cause::Swap, Cause::Probation, Cause::Swap, Cause::Probation];
    assert_eq!(*notified.lock().unwrap(), expected);
}

#[tokio::test]
async fn it_may_look_at_the_cache_and_have_the_policy_changed() {
    let (cell, notified) = (Arc::new(OnceLock::<SecretCache>::new()), Arc::new(Mutex::new(Vec::new())));
    let (known, seen) = (Arc::clone(&cell), Arc::clone(&notified));
    let cache = builder().on_policy_change(move |change| {
        let Some(cache) = known.get() else { return };
        let status = cache.policy();
        assert!(cache.stats().swaps <= status.generation);
        seen.lock().unwrap().push((change.record.outcome.clone().ok(), Some(status.generation)));
        if change.record.by == "an operator" {
            let cache = cache.clone();
            tokio::spawn(async move { cache.on_behalf_of("the observer").swap(ttl("3m")).await });
        }
    });
    let cache = cell.get_or_init({
        let cache = cache.build().await.expect("a cache");
        || cache
    });
    cache.on_behalf_of("an operator").swap(ttl("2m")).await.expect("the settings are good");
    assert_eq!(*notified.lock().unwrap(), [(Some(2), Some(2))], "a swap returns once it was notified of");
    while cache.policy().generation < 3 {
        tokio::task::yield_now().await;
    }
    cache.rollback().await.expect("there is an earlier one");
    assert_eq!(*notified.lock().unwrap(), [(Some(2), Some(2)), (Some(3), Some(3)), (Some(4), Some(4))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_once_are_told_one_by_one_in_their_order_and_each_before_it_returns() {
    let (notified, is_notified) = (Arc::new(Mutex::new(Vec::new())), AtomicBool::new(false));
    let seen = Arc::clone(&notified);
    let cache = builder()
        .rehearsal(false)
        .on_policy_change(move |change| {
            let generation = change.record.outcome.clone().unwrap_or_default();
            assert!(!is_notified.swap(true, Ordering::SeqCst), "two are notified at once");
            // This is long enough for others to come meanwhile.
            for _ in 0..1_000 {
                std::thread::yield_now();
            }
            seen.lock().unwrap().push(generation);
            is_notified.store(false, Ordering::SeqCst);
        })
        .build()
        .await
        .expect("a cache");
    let operators: Vec<_> = (0..4)
        .map(|number| {
            let (cache, notified) = (cache.clone(), Arc::clone(&notified));
            tokio::spawn(async move {
                for turn in 0..8 {
                    let changed = if turn % 4 == 3 {
                        cache.rollback().await
                    } else {
                        cache.swap(ttl(&format!("{}s", 60 + number * 8 + turn))).await
                    };
                    if let Ok(report) = changed {
                        let is_notified = notified.lock().unwrap().contains(&report.generation);
                        assert!(is_notified, "{} was not notified", report.generation);
                    }
                }
            })
        })
        .collect();
    for operator in operators {
        operator.await.expect("none panics");
    }
    let notified = notified.lock().unwrap();
    let expected: Vec<u64> = (1..=cache.policy().generation).collect();
    assert_eq!(*notified, expected);
}
