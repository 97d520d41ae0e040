//! The shipped policies as components in a real cache: the differences of each from the default one.
//!
//! Their arithmetic is tested natively, beside each. The tests here show that the component does in the real
//! host what the policy does on the fake one, refreshes in the background and the operator's ceilings
//! included.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{DatabaseError, Error, ManualClock, Policy, SecretCache, Status, WorkspaceId};
use leasehold_policies::{ALL, NEGATIVE, PASSTHROUGH, RESILIENT, TTL, WATCHED};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::scripted::{Fault, Gate};

use super::{TestBed, W};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Returns `resilient` with leases of exactly 5 minutes.
fn even() -> Policy {
    Policy::from_bytes(RESILIENT).setting("jitter", "0s").setting("refresh-ahead", "0s")
}

fn secret(text: &str, status: Status) -> Result<(String, Status), Error> {
    Ok((text.to_owned(), status))
}

impl TestBed {
    fn fails(&self, error: DatabaseError) {
        self.database.fault(Some(Fault::Fails(error)));
    }

    fn is_down(&self) {
        self.fails(DatabaseError::Unavailable("down".into()));
    }

    /// Waits until so many SELECTs have been sent, and what they found is stored: a refresh runs in the
    /// background.
    async fn selects_reach(&self, count: u64) {
        let reached = async {
            while self.database.selects() < count || self.cache.stats().in_flight > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(MAX_WAIT, reached).await.expect("the refresh is sent");
    }
}

#[tokio::test]
async fn every_shipped_policy_is_what_its_name_says_and_takes_over_from_every_other() {
    // Clones share what was compiled.
    let policies: Vec<_> =
        ALL.iter().map(|(name, component)| (*name, Policy::from_bytes(*component))).collect();
    for (name, policy) in &policies {
        let bench = TestBed::new(policy.clone()).await;
        assert_eq!(bench.cache.policy().name, *name);
        for (other, successor) in &policies {
            bench.cache.swap(policy.clone()).await.expect("the defaults are good");
            bench.cache.reset();
            bench.database.store(W, Some(other));
            assert_eq!(bench.read().await, secret(other, Status::Miss), "{name} before {other}");
            bench.cache.swap(successor.clone()).await.expect("the defaults are good");
            assert_eq!(bench.read().await.expect("it is there").0, *other, "{other} after {name}");
            let issued = bench.issue().await.expect("the row is there");
            assert_eq!(bench.read().await.expect("it is there").0, issued, "{other} after {name}");
        }
        assert_eq!(bench.cache.stats().policy_faults, 0, "{name}");
    }
}

#[tokio::test]
async fn resilient_answers_with_a_kept_value_while_the_database_fails_and_asks_every_5_s() {
    for error in [
        DatabaseError::Unavailable("down".into()),
        DatabaseError::Lost("gone".into()),
        DatabaseError::Timeout,
        DatabaseError::Overloaded,
    ] {
        let bench = TestBed::new(even()).await;
        assert_eq!(bench.read().await, secret("stored", Status::Miss));
        bench.clock.advance(seconds(300));
        bench.fails(error);
        for attempt in 1..=3 {
            assert_eq!(bench.read().await, secret("stored", Status::Stale));
            for _ in 0..10 {
                assert_eq!(bench.read().await, secret("stored", Status::Hit));
            }
            assert_eq!(bench.database.selects(), 1 + attempt);
            bench.clock.advance(seconds(5));
        }
        bench.database.store(W, Some("new"));
        bench.database.fault(None);
        assert_eq!(bench.read().await, secret("new", Status::Miss));
        assert_eq!(bench.cache.stats().policy_faults, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn resilient_answers_with_a_kept_value_when_a_select_takes_too_long() {
    let bench = TestBed::new(even()).await;
    bench.read().await.expect("the row is there");
    bench.clock.advance(seconds(300));
    bench.database.close(Gate::BeforeSelect);
    assert_eq!(bench.read().await, secret("stored", Status::Stale));
    assert_eq!(bench.read().await, secret("stored", Status::Hit), "the next one does not wait as long again");
}

#[tokio::test]
async fn resilient_errors_once_a_value_is_10_minutes_past_its_end_however_often_it_was_answered() {
    let bench = TestBed::new(even()).await;
    bench.read().await.expect("the row is there");
    bench.is_down();
    bench.clock.advance(seconds(300));
    for age_s in (300..900).step_by(60) {
        assert_eq!(bench.read().await, secret("stored", Status::Stale), "at {age_s} s");
        bench.clock.advance(seconds(60));
    }
    assert!(matches!(bench.read().await, Err(Error::Unavailable(_))));
    bench.cache.sweep();
    assert_eq!(bench.cache.stats().entries, 0, "nothing is kept that would not be answered");
    bench.database.fault(None);
    assert_eq!(bench.read().await, secret("stored", Status::Miss));
}

#[tokio::test]
async fn resilient_never_answers_with_what_was_before_an_absence_or_for_an_unknown_workspace() {
    let bench = TestBed::new(even()).await;
    bench.read().await.expect("the row is there");
    bench.clock.advance(seconds(300));
    bench.database.delete(W);
    assert_eq!(bench.read().await, Err(Error::Absent));
    assert_eq!(bench.issue().await, Err(Error::UnknownWorkspace));
    bench.is_down();
    assert!(matches!(bench.read().await, Err(Error::Unavailable(_))), "the absence was seen");
    let bench = TestBed::new(even()).await;
    bench.read().await.expect("the row is there");
    bench.clock.advance(seconds(300));
    bench.fails(DatabaseError::UnknownWorkspace);
    assert_eq!(bench.read().await, Err(Error::UnknownWorkspace));
}

#[tokio::test]
async fn the_operators_ceilings_count_from_when_a_stale_value_was_obtained() {
    let database = leasehold_tests::scripted::Scripted::new();
    database.store(W, Some("stored"));
    let clock = Arc::new(ManualClock::new());
    let builder = SecretCache::builder().database(database.clone()).clock(Arc::clone(&clock)).policy(even());
    let cache = builder.max_fresh(seconds(303)).max_keep(seconds(360)).build().await.expect("good bounds");
    let bench = TestBed { cache, database, clock, id: WorkspaceId::new(W).expect("a usable id") };
    bench.read().await.expect("the row is there");
    bench.is_down();
    bench.clock.advance(seconds(300));
    assert_eq!(bench.read().await, secret("stored", Status::Stale));
    assert_eq!(bench.read().await, secret("stored", Status::Hit));
    bench.clock.advance(seconds(3));
    for _ in 0..3 {
        assert_eq!(
            bench.read().await,
            secret("stored", Status::Stale),
            "no lease: the policy is asked each time"
        );
    }
    bench.clock.advance(seconds(57));
    assert!(matches!(bench.read().await, Err(Error::Unavailable(_))), "no longer kept");
}

#[tokio::test]
async fn resilient_refreshes_ahead_in_the_background_and_a_failure_there_costs_nobody_anything() {
    let bench = TestBed::new(even().setting("refresh-ahead", "1m")).await;
    bench.read().await.expect("the row is there");
    bench.clock.advance(seconds(240));
    assert_eq!(bench.read().await, secret("stored", Status::Hit));
    assert_eq!(bench.database.selects(), 1, "not yet");
    bench.clock.advance(seconds(1));
    bench.is_down();
    assert_eq!(bench.read().await, secret("stored", Status::Hit));
    bench.selects_reach(2).await;
    for _ in 0..10 {
        assert_eq!(bench.read().await, secret("stored", Status::Hit));
    }
    assert_eq!(bench.database.selects(), 2, "once per 5 s");
    bench.database.fault(None);
    bench.database.store(W, Some("new"));
    bench.clock.advance(seconds(6));
    assert_eq!(bench.read().await, secret("stored", Status::Hit));
    bench.selects_reach(3).await;
    assert_eq!(bench.read().await, secret("new", Status::Hit), "no reader has waited for it");
    bench.clock.advance(seconds(240));
    assert_eq!(bench.read().await, secret("new", Status::Hit));
}

#[tokio::test]
async fn jitter_spreads_what_was_read_together() {
    const WORKSPACES: usize = 200;
    let bench = TestBed::new(even().setting("jitter", "20%")).await;
    let ids: Vec<_> =
        (0..WORKSPACES).map(|n| WorkspaceId::new(format!("w{n}")).expect("a usable id")).collect();
    for id in &ids {
        bench.database.store(id.as_str(), Some("stored"));
        bench.cache.read(id).await.expect("the row is there");
    }
    let expired = || ids.iter().filter(|id| bench.cache.get(id).is_none()).count();
    let mut counts = Vec::new();
    bench.clock.advance(seconds(239));
    for _ in 0..=6 {
        counts.push(expired());
        bench.clock.advance(seconds(10));
    }
    bench.clock.advance(seconds(1));
    assert_eq!((counts[0], expired()), (0, WORKSPACES), "{counts:?}");
    let steps: Vec<_> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        steps.iter().all(|step| (WORKSPACES / 20..WORKSPACES / 3).contains(step)),
        "in each 10 s: {steps:?}"
    );
}

#[tokio::test]
async fn negative_answers_an_absence_without_a_select_for_10_s() {
    let bench = TestBed::new(Policy::from_bytes(NEGATIVE)).await;
    bench.database.delete(W);
    assert_eq!(bench.read().await, Err(Error::Absent));
    bench.database.store(W, Some("new"));
    bench.clock.advance(Duration::from_millis(9_999));
    for _ in 0..10 {
        assert_eq!(bench.read().await, Err(Error::Absent));
    }
    assert_eq!((bench.database.selects(), bench.cache.stats().policy_calls), (1, 1));
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.read().await, secret("new", Status::Miss));
    assert_eq!(bench.database.selects(), 2);
}

#[tokio::test]
async fn an_issue_ends_the_absence_that_negative_stored() {
    let bench = TestBed::new(Policy::from_bytes(NEGATIVE)).await;
    bench.database.store(W, None);
    assert_eq!(bench.read().await, Err(Error::Absent));
    let issued = bench.issue().await.expect("the row is there");
    assert_eq!(bench.read().await, secret(&issued, Status::Hit));
    assert_eq!(bench.database.selects(), 1);
    bench.database.store(W, None);
    bench.clock.advance(seconds(300));
    assert_eq!(bench.read().await, Err(Error::Absent));
    let healed = bench.cache.read_or_issue(&bench.id).await.expect("the row is there");
    assert_eq!((healed.status, bench.database.selects()), (Status::Healed, 2));
}

#[tokio::test]
async fn a_swap_to_negative_keeps_young_absences_and_the_operators_ceiling_holds() {
    let bench = TestBed::new(Policy::from_bytes(NEGATIVE).setting("absent-ttl", "1h")).await;
    bench.database.delete(W);
    assert_eq!(bench.read().await, Err(Error::Absent));
    bench.clock.advance(seconds(20));
    bench.cache.swap(bench.cache.active().setting("absent-ttl", "25s")).await.expect("good settings");
    assert_eq!((bench.read().await, bench.database.selects()), (Err(Error::Absent), 1));
    bench.clock.advance(seconds(5));
    assert_eq!((bench.read().await, bench.database.selects()), (Err(Error::Absent), 2));
    bench.cache.swap(bench.cache.active().setting("absent-ttl", "1h")).await.expect("good settings");
    bench.cache.reset();
    assert_eq!((bench.read().await, bench.database.selects()), (Err(Error::Absent), 3));
    bench.clock.advance(seconds(30));
    assert_eq!((bench.read().await, bench.database.selects()), (Err(Error::Absent), 4), "30 s at most");
    assert_eq!(bench.cache.stats().policy_faults, 0);
}

#[tokio::test]
async fn passthrough_sends_one_select_for_each_read_and_keeps_no_entry() {
    let bench = TestBed::new(Policy::from_bytes(TTL)).await;
    bench.read().await.expect("the row is there");
    assert_eq!(bench.cache.stats().entries, 1);
    bench.cache.swap(Policy::from_bytes(PASSTHROUGH)).await.expect("there are no settings");
    // The first value is the same as the stored one: another one would be dropped by the host.
    for (n, stored) in (0..).zip(["stored", "a", "a", "b"]) {
        bench.database.store(W, Some(stored));
        assert_eq!(bench.read().await, secret(stored, Status::Miss));
        assert_eq!((bench.database.selects(), bench.cache.stats().entries), (n + 2, 0));
    }
    let issued = bench.issue().await.expect("the row is there");
    assert_eq!(bench.cache.stats().entries, 0);
    assert_eq!(bench.read().await, secret(&issued, Status::Miss));
}

#[tokio::test]
async fn without_a_channel_watched_answers_as_ttl_does_and_sends_as_many_statements() {
    let (ttl, watched) =
        (TestBed::new(Policy::from_bytes(TTL)).await, TestBed::new(Policy::from_bytes(WATCHED)).await);
    // The order is by xorshift: it is the same in each run, and was not chosen.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut trace = Vec::new();
    for step in 0..1000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let stored = format!("s{step}");
        let mut seen = Vec::new();
        for bench in [&ttl, &watched] {
            seen.push(match random % 16 {
                0 => format!("store {:?}", bench.database.store(W, Some(&stored))),
                1 => format!("clear {:?}", bench.database.store(W, None)),
                2 => format!("down {:?}", bench.is_down()),
                3 | 4 => format!("up {:?}", bench.database.fault(None)),
                5..=8 => format!("advance {:?}", bench.clock.advance(seconds(random >> 20 & 0xff))),
                9 => format!("issue {:?}", bench.issue().await.map(drop)),
                // The minted secrets differ; where a secret came from does not.
                _ => format!("read {:?}", bench.read().await.map(|(secret, status)| (secret.len(), status))),
            });
        }
        assert_eq!(seen[0], seen[1], "after {trace:#?}");
        let statements = |bench: &TestBed| (bench.database.selects(), bench.database.issues());
        assert_eq!(statements(&ttl), statements(&watched), "after {trace:#?}");
        trace.push(seen.swap_remove(0));
    }
    assert!(ttl.database.selects() > 50 && ttl.cache.stats().hits > 50, "it was a fair trial");
}

#[tokio::test]
async fn what_is_set_wrong_is_refused_by_name() {
    let bench = TestBed::new(Policy::from_bytes(TTL)).await;
    for (component, name, value, words) in [
        (RESILIENT, "jitter", "6m", "setting jitter: expected at most ttl"),
        (RESILIENT, "refresh-ahead", "5m", "setting refresh-ahead: expected at most ttl less jitter"),
        (RESILIENT, "retry", "0s", "setting retry: expected more than 0s"),
        (RESILIENT, "jitter", "110%", "setting jitter: expected 0% to 100%, or a duration"),
        (WATCHED, "watched-ttl", "1m", "setting watched-ttl: expected at least ttl"),
        (NEGATIVE, "absent-ttl", "soon", "setting absent-ttl: expected a duration such as"),
        (PASSTHROUGH, "ttl", "5m", "unknown setting \"ttl\"; this policy has no settings"),
    ] {
        let policy = Policy::from_bytes(component).setting(name, value);
        let error = bench.cache.swap(policy).await.expect_err(words);
        assert!(error.reason.contains(words), "{error}");
    }
}
