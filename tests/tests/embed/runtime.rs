//! Runtimes that a cache cannot run on, and runtimes that end before it.

use leasehold::{BuildError, Error, SecretCache, Status};
use leasehold_tests::scripted::{Gate, Scripted};
use tokio::runtime::{Builder, Runtime};

use super::id;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads can be had")
}

/// Returns a database with a secret, and a cache on the runtime that has read it.
fn warm_cache(runtime: &Runtime) -> (Scripted, SecretCache) {
    let database = Scripted::new();
    database.store("w", Some("a"));
    let cache = runtime.block_on(async {
        let cache = super::cache(database.clone()).await;
        cache.read(&id("w")).await.expect("it is stored");
        cache
    });
    (database, cache)
}

#[test]
fn a_runtime_without_time_is_refused_and_told_what_it_lacks() {
    let runtime = Builder::new_current_thread().build().expect("a thread can be had");
    runtime.block_on(async {
        let refused = SecretCache::builder().database(Scripted::new()).build().await;
        let error = refused.expect_err("each read would panic");
        assert_eq!(error, BuildError::NoTime);
        assert!(error.to_string().contains("enable_time"), "{error}");
        assert_eq!(SecretCache::builder().rehearse().await.err(), Some(BuildError::NoTime));
    });
}

#[test]
fn after_the_end_of_its_runtime_a_cache_says_so_and_nothing_is_sent() {
    let (first, second) = (runtime(), runtime());
    let (database, cache) = warm_cache(&first);
    drop(first);
    second.block_on(async {
        let unread = cache.read(&id("other")).await.expect_err("nobody can read it");
        let unissued = cache.issue(&id("w")).await.expect_err("nobody can issue it");
        for error in [unread, unissued] {
            assert_eq!(error, Error::RuntimeEnded);
            assert!(!error.is_transient() && error.to_string().contains("runtime"), "{error}");
        }
        assert_eq!((database.selects(), database.issues()), (1, 0));
        // Nothing has changed, and the lease goes on.
        assert_eq!(cache.read(&id("w")).await.expect("a hit").status, Status::Hit);
    });
}

#[test]
fn an_issue_under_way_at_the_end_of_its_runtime_is_unknown_and_voids_the_entry() {
    let (first, second) = (runtime(), runtime());
    let (database, cache) = warm_cache(&first);
    for gate in [Gate::BeforeIssue, Gate::AfterIssue] {
        database.close(gate);
    }
    let issue = {
        let cache = cache.clone();
        second.spawn(async move { cache.issue(&id("w")).await })
    };
    second.block_on(database.arrivals(1));
    drop(first);
    let error =
        second.block_on(issue).expect("no panic").expect_err("nobody waits for the database any more");
    assert!(matches!(error, Error::OutcomeUnknown(_)) && error.to_string().contains("runtime"), "{error}");
    assert!(cache.get(&id("w")).is_none(), "it may have been replaced");
    let unhealed = second.block_on(cache.read_or_issue(&id("w"))).expect_err("nobody can read it");
    assert_eq!(unhealed, Error::RuntimeEnded);
}

#[test]
fn a_read_under_way_at_the_end_of_its_runtime_is_told_so() {
    let (first, second) = (runtime(), runtime());
    let (database, cache) = warm_cache(&first);
    database.close(Gate::BeforeSelect);
    let reads: Vec<_> = (0..20)
        .map(|n| {
            let cache = cache.clone();
            second.spawn(async move { cache.read(&id(&format!("w{n}"))).await })
        })
        .collect();
    second.block_on(database.arrivals(12));
    drop(first);
    for read in reads {
        let error = second.block_on(read).expect("no panic").expect_err("nobody waits for the database");
        assert_eq!(error, Error::RuntimeEnded);
    }
}
