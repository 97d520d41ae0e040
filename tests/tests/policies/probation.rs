//! The probation of a new policy: whatever budget it exceeds, the last good one serves again, and no read
//! fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::{Cause, ManualClock, Policy, Probation, RetainedPolicy, Status, WorkspaceId};
use leasehold_tests::scripted::Scripted;

use super::{TestBed, W, hostile};

fn ttl(setting: &str) -> Policy {
    Policy::from_bytes(leasehold_policies::TTL).setting("ttl", setting).setting("jitter", "0s")
}

/// Returns a cache whose first policy is `ttl`.
async fn bench(probation: Probation) -> TestBed {
    let database = Scripted::new();
    database.store(W, Some("stored"));
    let clock = Arc::new(ManualClock::new());
    let builder = leasehold_tests::hostile::builder().database(database.clone()).clock(Arc::clone(&clock));
    let cache = builder.policy(ttl("1m")).probation(probation).build().await.expect("a cache");
    TestBed { cache, database, clock, id: WorkspaceId::new(W).expect("a usable id") }
}

#[tokio::test]
async fn a_policy_that_fails_at_its_thousandth_call_is_gone_with_that_call_and_no_read_fails() {
    let bench = bench(Probation::default()).await;
    bench.read().await.expect("the row is there");
    bench.cache.swap(hostile("traps-at-its-thousandth-call")).await.expect("it can be configured");
    assert_eq!(bench.cache.policy().probation, Some(Duration::from_secs(300)));
    for _ in 1..1_000 {
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    }
    assert_eq!(bench.cache.policy().name, "hostile");
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Bypassed)));
    let status = bench.cache.policy();
    assert_eq!((status.name.as_str(), status.probation), ("ttl", None));
    let trip = status.breaker.trip.expect("the reason is kept");
    assert_eq!((trip.cause, trip.policy.as_str()), (Cause::Probation, "hostile 0.0.0"));
    assert!(trip.reason.starts_with("it failed 1 time in its probation: read failed"), "{}", trip.reason);
    let record = status.recent.first().expect("it is the latest");
    assert_eq!((record.cause, record.reason.as_ref()), (Cause::Probation, Some(&trip.reason)));
    let stats = bench.cache.stats();
    assert_eq!((stats.probations_failed, stats.breaker_trips, stats.errors), (1, 0, 0));
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Renewed)), "its entry was kept");
}

#[tokio::test]
async fn after_its_probation_a_policy_has_the_breaker_alone_to_fear() {
    let bench = bench(Probation::default()).await;
    bench.cache.swap(hostile("traps")).await.expect("it can be configured");
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(bench.cache.policy().probation, None);
    for _ in 0..7 {
        bench.read().await.expect("the host asks the database itself");
        assert_eq!(bench.cache.policy().name, "hostile");
    }
    bench.read().await.expect("the host asks the database itself");
    assert_eq!((bench.cache.policy().name.as_str(), bench.cache.stats().breaker_trips), ("ttl", 1));
}

#[tokio::test]
async fn a_proven_policy_that_is_applied_again_has_nothing_to_prove() {
    let bench = bench(Probation::default()).await;
    bench.cache.swap(ttl("1m")).await.expect("the settings are good");
    assert_eq!(bench.cache.policy().probation, None);
    bench.cache.swap(ttl("2m")).await.expect("the settings are good");
    assert_eq!(bench.cache.policy().probation, Some(Duration::from_secs(300)), "another one has");
    bench.cache.swap(ttl("2m")).await.expect("the settings are good");
    assert_eq!(bench.cache.policy().probation, Some(Duration::from_secs(300)), "and begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_asks_the_database_too_often_is_replaced_within_a_second_of_ten() {
    let bench = bench(Probation { loads: Some(3.0), ..Probation::default() }).await;
    for second in 0..60 {
        bench.read().await.expect("the row is there");
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.cache.stats().selects, 1, "in second {second}");
    }
    bench.cache.swap(ttl("0s")).await.expect("the settings are good");
    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
        }
        bench.clock.advance(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(
            bench.cache.policy().settings.contains(&("ttl".into(), "0s".into())),
            "it is too early to say"
        );
    }
    // The cache looks once a second.
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    let status = bench.cache.policy();
    assert!(status.settings.contains(&("ttl".into(), "1m".into())), "{:?}", status.settings);
    let reason = status.breaker.trip.expect("the reason is kept").reason;
    assert!(reason.contains("4.0 SELECTs per second, with 1.0 before it"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_whose_calls_take_too_long_in_the_mean_is_replaced() {
    let bench = bench(Probation { call_time: Duration::from_nanos(1), ..Probation::default() }).await;
    bench.cache.swap(ttl("0s")).await.expect("the settings are good");
    // A call that the machine holds up is counted a little after its answer.
    let mut calls = 0;
    while bench.cache.stats().probations_failed == 0 {
        calls += 1;
        assert!(calls < 110, "it is still there after {calls} calls");
        bench.read().await.expect("the row is there");
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert!(calls >= 100, "it was judged after {calls} calls");
    let reason = bench.cache.policy().breaker.trip.expect("the reason is kept").reason;
    assert!(reason.contains("of processor time in the mean"), "{reason}");
}

#[tokio::test]
async fn one_that_was_only_tuned_on_probation_is_nothing_to_go_back_to_by_itself() {
    let bench = bench(Probation::default()).await;
    bench.cache.swap(hostile("traps")).await.expect("it can be configured");
    bench
        .cache
        .on_behalf_of("")
        .reconfigure(vec![("mark".into(), String::new())])
        .await
        .expect("it is taken");
    bench.cache.swap(ttl("2m")).await.expect("the settings are good");
    bench.cache.swap(hostile("traps-after-put")).await.expect("it can be configured");
    bench.read().await.expect("the host asks the database itself");
    let status = bench.cache.policy();
    assert!(
        status.settings.contains(&("ttl".into(), "1m".into())),
        "the last proven one: {:?}",
        status.settings
    );
    let back = bench.cache.rollback().await.expect("an operator may go back to those after it");
    assert!(
        back.settings.contains(&("ttl".into(), "2m".into())),
        "the one before that failed: {:?}",
        back.settings
    );
    bench.cache.swap(hostile("traps")).await.expect("it can be configured");
    bench.read().await.expect("the host asks the database itself");
    let settings = bench.cache.policy().settings;
    assert!(settings.contains(&("ttl".into(), "1m".into())), "the proven one is not lost: {settings:?}");
}

#[tokio::test]
async fn a_policy_that_an_earlier_process_had_on_probation_is_on_probation_again() {
    let previous = vec![RetainedPolicy { policy: ttl("1m"), proven: true }];
    let builder = leasehold_tests::hostile::builder().database(Scripted::new()).policy(hostile("traps"));
    let builder = builder.probation(Probation::default()).previous(previous).first_on_probation(true);
    let cache = builder.build().await.expect("a cache");
    assert!(cache.policy().probation.is_some());
    cache.read(&WorkspaceId::new(W).expect("a usable id")).await.expect_err("it has no row");
    assert_eq!((cache.policy().name.as_str(), cache.stats().probations_failed), ("ttl", 1));
}

#[tokio::test]
async fn what_has_served_before_is_not_on_probation() {
    let bench = bench(Probation::default()).await;
    assert_eq!(bench.cache.policy().probation, None);
    bench.cache.swap(ttl("2m")).await.expect("the settings are good");
    assert!(bench.cache.policy().probation.is_some());
    bench.cache.rollback().await.expect("there is an earlier one");
    assert_eq!(bench.cache.policy().probation, None);
}

#[tokio::test]
async fn a_cache_goes_back_to_the_policies_that_an_earlier_process_kept() {
    let builder = leasehold_tests::hostile::builder().database(Scripted::new()).policy(ttl("3m"));
    let broken = Policy::from_bytes(b"not a component".as_slice());
    let previous = [ttl("1m"), broken, ttl("2m")].map(|policy| RetainedPolicy { policy, proven: true });
    let cache = builder.previous(previous.into()).build().await.expect("a cache");
    for expected in ["2m", "1m"] {
        let report = cache.rollback().await.expect("there is one");
        assert_eq!(report.settings.first(), Some(&("ttl".into(), expected.into())));
    }
    assert!(cache.rollback().await.is_err());
}

#[tokio::test]
async fn every_change_and_refusal_is_told_in_order_with_who_asked_and_what_is_left_to_go_back_to() {
    let notified = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&notified);
    let builder = leasehold_tests::hostile::builder().database(Scripted::new()).policy(ttl("1m"));
    let builder = builder.probation(Probation::default());
    let cache = builder.on_policy_change(move |change| {
        let record = change.record;
        let line = format!(
            "{} by {:?}: {}, {:?} active, {} to go back to",
            record.cause.as_str(),
            record.by,
            record.outcome.as_ref().map_or_else(|refused| refused.stage.to_string(), u64::to_string),
            change.active.policy.settings().first().map(|(_, value)| value.clone()).unwrap_or_default(),
            change.previous.len(),
        );
        log.lock().unwrap().push(line);
    });
    let cache = cache.build().await.expect("a cache");
    cache.on_behalf_of("alice").swap(ttl("2m")).await.expect("the settings are good");
    cache.on_behalf_of("bob").swap(ttl("forever")).await.expect_err("no duration");
    cache.on_behalf_of("carol").rollback().await.expect("there is one");
    cache.swap(hostile("traps")).await.expect("it can be configured");
    cache.read(&WorkspaceId::new(W).expect("a usable id")).await.expect_err("it has no row");
    let expected = [
        r#"start by "": 1, "1m" active, 0 to go back to"#,
        r#"swap by "alice": 2, "2m" active, 1 to go back to"#,
        r#"swap by "bob": configure, "2m" active, 1 to go back to"#,
        r#"rollback by "carol": 3, "1m" active, 0 to go back to"#,
        r#"swap by "": 4, "traps" active, 1 to go back to"#,
        r#"probation by "": 5, "1m" active, 1 to go back to"#,
    ];
    assert_eq!(*notified.lock().unwrap(), expected);
}
