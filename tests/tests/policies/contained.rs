//! Policies that break a rule while they serve: the caller gets the right secret, and nothing wrong is
//! stored.

use std::time::Duration;

use leasehold::{Error, Policy, Status};
use leasehold_tests::scripted::Gate;

use super::{TestBed, W, hostile};

#[tokio::test]
async fn a_read_whose_policy_fails_is_answered_from_the_database_and_stores_nothing() {
    for does in [
        "traps",
        "traps-after-put",
        "spins",
        "spins-after-select",
        "recurses",
        "grows",
        "leaks-a-handle",
        "selects-for-ever",
        "logs-for-ever",
        "logs-a-megabyte",
        "issues-in-a-read",
        "says-absent-without-asking",
        "says-unavailable-without-asking",
        "puts-absence-without-asking",
        "puts-absence-over-a-secret",
    ] {
        let bench = TestBed::new(hostile(does)).await;
        for count in 1..=3 {
            assert_eq!(bench.read().await, Ok(("stored".into(), Status::Bypassed)), "{does}");
            assert_eq!(bench.cache.stats().policy_faults, count, "{does}");
        }
        assert_eq!(bench.cache.stats().entries, 0, "{does}");
        assert_eq!((bench.database.issues(), bench.database.stored(W)), (0, Some("stored".into())), "{does}");
        assert_eq!(bench.cache.policy().faults, 3, "{does}");
    }
}

#[tokio::test]
async fn an_instance_that_trapped_is_never_called_again() {
    let bench = TestBed::new(hostile("traps-without-a-row")).await;
    bench.database.delete(W);
    for _ in 0..3 {
        assert_eq!(bench.read().await, Err(Error::Absent));
    }
    bench.database.store(W, Some("stored"));
    for _ in 0..3 {
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    }
    assert_eq!(bench.cache.stats().policy_faults, 3);
}

#[tokio::test]
async fn an_issue_whose_policy_fails_is_issued_once_and_returned() {
    for does in [
        "traps",
        "traps-after-issue",
        "issues-twice",
        "returns-the-old-secret",
        "puts-the-old-secret",
        "hides-the-issue",
        "never-issues",
    ] {
        let bench = TestBed::new(hostile(does)).await;
        let issued = bench.issue().await.expect(does);
        assert_eq!(bench.database.stored(W).as_ref(), Some(&issued), "{does}");
        assert_ne!(issued, "stored", "{does}");
        assert_eq!((bench.database.issues(), bench.cache.stats().policy_faults), (1, 1), "{does}");
        assert_eq!(bench.cache.stats().entries, 0, "{does}");
    }
}

#[tokio::test]
async fn what_was_put_before_an_issue_is_not_served_after_it() {
    let bench = TestBed::new(hostile("puts-before-the-issue")).await;
    let issued = bench.issue().await.expect("the database is up");
    assert_eq!(bench.cache.stats().policy_faults, 0, "it is foolish, not forbidden");
    assert_eq!(bench.read().await, Ok((issued, Status::Miss)));
}

#[tokio::test]
async fn no_lease_exceeds_the_ceilings() {
    let hour = Duration::from_secs(3600);
    let bench = TestBed::new(hostile("leases-for-ever")).await;
    bench.read().await.expect("the row is there");
    bench.database.store(W, Some("new"));
    bench.clock.advance(hour - Duration::from_millis(1));
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Hit)));
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.read().await, Ok(("new".into(), Status::Miss)));
}

#[tokio::test]
async fn a_lease_in_the_past_grants_nothing() {
    let bench = TestBed::new(hostile("leases-the-past")).await;
    for _ in 0..3 {
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    }
    assert_eq!(bench.database.selects(), 3);
}

#[tokio::test]
async fn a_kept_value_is_stale_and_is_not_kept_beyond_the_ceiling() {
    let day = Duration::from_secs(24 * 3600);
    let bench = TestBed::new(hostile("keeps-for-ever")).await;
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    bench.database.store(W, Some("new"));
    bench.clock.advance(day - Duration::from_millis(1));
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Stale)));
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.read().await, Ok(("new".into(), Status::Miss)));
}

#[tokio::test]
async fn absence_is_stored_only_where_it_was_found_and_for_half_a_minute_at_most() {
    let bench = TestBed::new(hostile("caches-absence-for-ever")).await;
    bench.database.delete(W);
    assert_eq!(bench.read().await, Err(Error::Absent));
    bench.database.store(W, Some("new"));
    bench.clock.advance(Duration::from_millis(29_999));
    assert_eq!(bench.read().await, Err(Error::Absent));
    assert_eq!(bench.database.selects(), 1);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.read().await, Ok(("new".into(), Status::Miss)));
}

#[tokio::test]
async fn the_first_hit_after_refresh_after_asks_the_policy_in_the_background() {
    let bench = TestBed::new(hostile("refreshes-ahead")).await;
    bench.read().await.expect("the row is there");
    bench.database.store(W, Some("new"));
    bench.clock.advance(Duration::from_secs(61));
    bench.database.close(Gate::BeforeSelect);
    for _ in 0..3 {
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Hit)));
    }
    bench.database.arrivals(1).await;
    bench.database.open(Gate::BeforeSelect);
    while bench.cache.get(&bench.id).is_none_or(|secret| secret.expose() != b"new") {
        tokio::task::yield_now().await;
    }
    assert_eq!((bench.database.selects(), bench.cache.stats().refreshes), (2, 1));
}

#[tokio::test]
async fn one_policy_that_fails_leaves_the_next_one_unharmed() {
    let bench = TestBed::new(hostile("spins")).await;
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Bypassed)));
    bench.cache.swap(Policy::from_bytes(leasehold_policies::TTL)).await.expect("the default policy is good");
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Hit)));
    assert_eq!(bench.cache.policy().faults, 0);
}

#[tokio::test]
async fn a_call_in_flight_finishes_on_its_own_policy_and_what_it_puts_is_not_stored() {
    let bench = TestBed::new(Policy::from_bytes(leasehold_policies::TTL)).await;
    bench.database.close(Gate::AfterSelect);
    let (cache, id) = (bench.cache.clone(), bench.id.clone());
    let early = tokio::spawn(async move { cache.read(&id).await.map(|lookup| lookup.status) });
    bench.database.arrivals(1).await;
    bench.cache.swap(bench.cache.active().setting("ttl", "1m")).await.expect("the settings are good");
    bench.database.open(Gate::AfterSelect);
    assert_eq!(early.await.expect("it ends"), Ok(Status::Miss));
    assert_eq!(bench.cache.stats().entries, 0);
}

#[tokio::test]
async fn a_reader_that_starts_after_a_swap_does_not_join_a_flight_of_the_old_policy() {
    let bench = TestBed::new(Policy::from_bytes(leasehold_policies::TTL)).await;
    bench.database.close(Gate::AfterSelect);
    let read = || {
        let (cache, id) = (bench.cache.clone(), bench.id.clone());
        tokio::spawn(async move { cache.read(&id).await.map(|lookup| lookup.status) })
    };
    let early = read();
    bench.database.arrivals(1).await;
    bench.cache.swap(bench.cache.active().setting("ttl", "1m")).await.expect("the settings are good");
    let late = read();
    bench.database.arrivals(2).await;
    bench.database.open(Gate::AfterSelect);
    for reader in [early, late] {
        assert_eq!(reader.await.expect("it ends"), Ok(Status::Miss));
    }
    assert_eq!((bench.database.selects(), bench.cache.stats().entries), (2, 1));
}
