//! The breaker (G7): a policy that keeps failing is replaced by the last good one, and then by the built-in
//! one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::{Cause, Policy, Probation, RetainedPolicy, Status};
use leasehold_tests::scripted::{Gate, Scripted};

use super::{TestBed, W, hostile};

/// Maximum number of faults in ten seconds, as by default.
const LIMIT: u32 = 8;

fn ttl(setting: &str) -> Policy {
    Policy::from_bytes(leasehold_policies::TTL).setting("ttl", setting)
}

/// Reads until the policy of this generation is no longer active, and returns how many reads that took.
async fn reads_until_replaced(bench: &TestBed) -> u32 {
    let failing = bench.cache.policy().generation;
    for count in 0..=LIMIT {
        if bench.cache.policy().generation != failing {
            return count;
        }
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Bypassed)));
    }
    panic!("{:?} is still active", bench.cache.policy());
}

#[tokio::test]
async fn a_policy_that_keeps_failing_is_replaced_by_the_last_good_one() {
    let bench = TestBed::new(ttl("1m")).await;
    bench.cache.swap(hostile("traps")).await.expect("it can be configured");
    let (failing, digest) = (bench.cache.policy().generation, bench.cache.policy().digest);
    assert_eq!(reads_until_replaced(&bench).await, LIMIT);
    let status = bench.cache.policy();
    assert_eq!((status.name.as_str(), status.generation), ("ttl", failing + 1));
    assert!(status.settings.contains(&("ttl".into(), "1m".into())), "{:?}", status.settings);
    let trip = status.breaker.trip.expect("it tripped");
    assert_eq!((trip.generation, trip.digest, trip.policy.as_str()), (failing, digest, "hostile 0.0.0"));
    assert!(trip.reason.contains("read failed"), "{}", trip.reason);
    assert_eq!((status.breaker.faults, status.breaker.limit), (0, LIMIT));
    assert_eq!(status.recent.first().map(|record| record.cause), Some(Cause::Breaker));
    assert_eq!(bench.cache.stats().breaker_trips, 1);
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Hit)));
    // The failed policy is not forgotten, and comes after all others.
    let back = bench.cache.rollback().await.expect("an operator may");
    assert_eq!((back.name.as_str(), back.digest), ("hostile", hostile("traps").digest().to_owned()));
}

#[tokio::test]
async fn where_no_good_one_is_left_the_built_in_one_serves() {
    let bench = TestBed::new(hostile("traps")).await;
    bench.cache.swap(hostile("leaks-a-handle")).await.expect("it can be configured");
    assert_eq!(reads_until_replaced(&bench).await, LIMIT);
    assert!(bench.cache.policy().settings.contains(&("does".into(), "traps".into())));
    assert_eq!(reads_until_replaced(&bench).await, LIMIT);
    let status = bench.cache.policy();
    assert_eq!((status.name.as_str(), bench.cache.stats().breaker_trips), ("ttl", 2));
    assert!(status.settings.contains(&("ttl".into(), "5m".into())), "{:?}", status.settings);
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    // The operator's next command is final.
    bench.cache.swap(ttl("10s")).await.expect("the settings are good");
    assert_eq!(bench.cache.policy().breaker.trip, None);
}

#[tokio::test]
async fn faults_that_are_far_apart_do_not_trip() {
    let bench = TestBed::new(hostile("traps")).await;
    for _ in 0..3 * LIMIT {
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Bypassed)));
        bench.clock.advance(Duration::from_millis(1_500));
    }
    assert_eq!((bench.cache.stats().breaker_trips, bench.cache.policy().name.as_str()), (0, "hostile"));
    assert_eq!(bench.cache.policy().breaker.faults, 6, "those of the last ten seconds");
}

#[tokio::test]
async fn faults_of_a_policy_that_is_gone_are_not_held_against_the_next_one() {
    let bench = TestBed::new(hostile("traps-after-select")).await;
    bench.database.close(Gate::AfterSelect);
    let late: Vec<_> = (0..u64::from(LIMIT))
        .map(|n| {
            let id = leasehold::WorkspaceId::new(format!("{W}{n}")).expect("a usable id");
            let cache = bench.cache.clone();
            tokio::spawn(async move { cache.read(&id).await.map(|lookup| lookup.status) })
        })
        .collect();
    bench.database.arrivals(u64::from(LIMIT)).await;
    bench.cache.swap(ttl("1m")).await.expect("the settings are good");
    bench.database.open(Gate::AfterSelect);
    for read in late {
        let _absent = read.await.expect("it ends");
    }
    let stats = bench.cache.stats();
    assert_eq!((stats.policy_faults, stats.breaker_trips), (u64::from(LIMIT), 0));
    assert_eq!((bench.cache.policy().name.as_str(), bench.cache.policy().breaker.faults), ("ttl", 0));
}

#[tokio::test]
async fn entries_stay_when_the_breaker_trips() {
    let bench = TestBed::new(ttl("1m")).await;
    bench.read().await.expect("the row is there");
    bench.cache.swap(hostile("traps")).await.expect("it can be configured");
    reads_until_replaced(&bench).await;
    let selects = bench.database.selects();
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Renewed)));
    assert_eq!(bench.database.selects(), selects);
}

#[tokio::test]
async fn an_operator_s_choice_that_failed_is_kept_behind_all_others_and_never_gone_back_to_by_itself() {
    let database = Scripted::new();
    database.store(W, Some("stored"));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kept);
    let builder = leasehold_tests::hostile::builder().probation(Probation::default()).database(database);
    let cache = builder
        .policy(ttl("1m"))
        .on_policy_change(move |change| {
            let retained = |of: &RetainedPolicy| (of.policy.settings()[0].1.clone(), of.proven);
            *seen.lock().unwrap() = change.previous.iter().map(retained).collect();
        })
        .build()
        .await
        .expect("a cache");
    let id = leasehold::WorkspaceId::new(W).expect("a usable id");
    let kept = || kept.lock().unwrap().clone();
    cache.swap(hostile("traps")).await.expect("it can be configured");
    cache.read(&id).await.expect("the host asks the database itself");
    assert_eq!((cache.policy().name.as_str(), kept()), ("ttl", vec![("traps".into(), false)]));
    cache.swap(ttl("2m")).await.expect("the settings are good");
    assert_eq!(kept(), [("traps".into(), false), ("1m".into(), true)]);
    for expected in ["1m", "traps"] {
        let back = cache.rollback().await.expect("an operator may");
        assert!(back.settings.iter().any(|(_, value)| value == expected), "{:?}", back.settings);
    }
    // The policy has to prove itself once more, and fails once more.
    assert!(cache.policy().probation.is_some());
    cache.reset();
    cache.read(&id).await.expect("the host asks the database itself");
    assert_eq!(cache.policy().name, "ttl");
}
