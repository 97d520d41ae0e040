//! The rehearsal: the reasons to refuse a candidate before it serves, and the card of one that is not
//! refused.
//!
//! What is taste is on the card and never refused. What no policy may do is refused in words that name the
//! step, and the old policy serves on as if nothing had been.

use std::time::Duration;

use leasehold::{
    BuildError, Error, Measure, OnError, Policy, PolicyCard, SecretCache, Stage, Status, WriteOrder,
};
use leasehold_tests::guest_memory::{Marker, scan};
use leasehold_tests::hostile::bare;
use leasehold_tests::scripted::Scripted;

use super::{W, hostile};

const MINUTE: Duration = Duration::from_secs(60);

fn ttl() -> Policy {
    Policy::from_bytes(leasehold_policies::TTL)
}

async fn card(policy: Policy) -> PolicyCard {
    SecretCache::builder().policy(policy).rehearse().await.expect("it breaks no rule")
}

/// Returns the figures as a line of text each, such as `fresh=5m`.
fn figures(card: &PolicyCard) -> Vec<String> {
    card.figures().iter().map(|(figure, measure)| format!("{figure}={measure}")).collect()
}

#[tokio::test]
async fn the_card_of_the_default_policy_says_what_it_does() {
    let card = card(ttl().setting("jitter", "0s")).await;
    let memory = match card.figures().last() {
        Some(("memory", Measure::Bytes(bytes))) => *bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        figures(&card),
        [
            "fresh=5m",
            "issue-fresh=5m",
            "jitter=0s",
            "refresh-ahead=0s",
            "absence=uncached",
            "absent=0s",
            "stale=5m",
            "on-error=error",
            "write=database-then-cache",
            // Every fifth beat sends one: twelve in sixty.
            "statements-per-heartbeat=0.200",
            &format!("memory={memory} bytes"),
        ]
    );
    assert_eq!((card.statements, card.heartbeats), (48, 240));
    assert!((1 << 20..2 << 20).contains(&memory) && memory % 65_536 == 0, "{memory}");
    assert!(card.call > Duration::ZERO && card.call < Duration::from_millis(3), "{:?}", card.call);
    assert_eq!((card.name.as_str(), card.digest.as_str()), ("ttl", ttl().digest()));
    assert_eq!(card.settings, [("ttl".into(), "5m".into()), ("jitter".into(), "0s".into())]);
}

#[tokio::test]
async fn by_default_the_first_leases_differ_and_a_heartbeat_costs_no_more_than_without() {
    let card = card(ttl()).await;
    assert_eq!(card.settings, [("ttl".into(), "5m".into()), ("jitter".into(), "80%".into())]);
    for seen in [card.fresh, card.issue_fresh] {
        assert!(seen.min >= MINUTE && seen.max <= 5 * MINUTE, "{seen}");
        assert!(seen.max - seen.min > 3 * MINUTE, "{seen}");
    }
    assert!(card.stale <= 5 * MINUTE, "{card}");
    assert_eq!((card.statements, card.heartbeats), (48, 240));
}

#[tokio::test]
async fn the_card_changes_with_the_settings() {
    let short = card(ttl().setting("ttl", "10s").setting("jitter", "0s")).await;
    assert_eq!((short.fresh.min, short.fresh.max), (MINUTE / 6, MINUTE / 6));
    assert_eq!((short.issue_fresh, short.stale), (short.fresh, MINUTE / 6));
    assert_eq!(short.statements, short.heartbeats, "no lease lasts until the next beat");
    let spread = card(ttl().setting("jitter", "1m")).await;
    for seen in [spread.fresh, spread.issue_fresh] {
        assert!(seen.min >= 4 * MINUTE && seen.max <= 5 * MINUTE, "{seen}");
    }
    assert!(spread.jitter() > MINUTE / 2 && spread.jitter() <= MINUTE, "{:?}", spread.jitter());
    let never = card(ttl().setting("ttl", "0s")).await;
    assert_eq!(
        (never.fresh.max, never.stale, never.write),
        (Duration::ZERO, Duration::ZERO, WriteOrder::DatabaseOnly)
    );
}

#[tokio::test]
async fn two_rehearsals_of_one_policy_come_to_the_same() {
    let policy = ttl().setting("jitter", "30s");
    let (one, two) = (card(policy.clone()).await, card(policy).await);
    assert_eq!(one.figures(), two.figures());
    assert_eq!((one.statements, one.calls), (two.statements, two.calls));
}

#[tokio::test]
async fn what_is_only_taste_is_on_the_card_and_not_refused() {
    let hour = 60 * MINUTE;
    let zero = Duration::ZERO;
    // Each row has the rule that it breaks; fresh; ahead; absent; stale; statements for 240 heartbeats.
    for (does, fresh, ahead, absent, stale, statements) in [
        ("nothing", zero, zero, zero, zero, 240),
        ("never-caches", zero, zero, zero, zero, 240),
        ("removes-what-it-put", zero, zero, zero, zero, 240),
        ("leases-the-past", zero, zero, zero, zero, 240),
        ("leases-at-zero", zero, zero, zero, zero, 240),
        ("fresh-after-keep", MINUTE, MINUTE, zero, MINUTE, 240),
        ("leases-for-ever", hour, zero, zero, hour, 4),
        ("caches-absence-for-ever", hour, zero, MINUTE / 2, hour, 4),
        ("refreshes-ahead", 2 * MINUTE, MINUTE, zero, 2 * MINUTE, 120),
        ("refreshes-always", hour, hour, zero, hour, 240),
        ("keeps-for-ever", zero, zero, zero, 24 * hour, 0),
        ("renews-for-ever", hour, zero, zero, 24 * hour, 0),
    ] {
        let card = card(hostile(does)).await;
        assert_eq!((card.fresh.min, card.fresh.max), (fresh, fresh), "{does}\n{card}");
        assert_eq!((card.refresh_ahead.max, card.absent), (ahead, absent), "{does}\n{card}");
        assert_eq!((card.stale, card.statements), (stale, statements), "{does}\n{card}");
        let on_error = if stale > fresh { OnError::Stale } else { OnError::Error };
        assert_eq!(card.on_error, on_error, "{does}\n{card}");
        assert_eq!((card.write, card.issue_fresh.max), (WriteOrder::DatabaseOnly, zero), "{does}\n{card}");
    }
    let written = card(hostile("leases-what-it-issued")).await;
    assert_eq!((written.write, written.issue_fresh.max), (WriteOrder::DatabaseThenCache, hour));
    assert_eq!((written.fresh.max, written.stale), (zero, hour));
}

#[tokio::test]
async fn figures_are_measured_under_the_operators_ceilings() {
    let builder = SecretCache::builder().max_fresh(2 * MINUTE).max_keep(3 * MINUTE).max_absent(MINUTE / 60);
    let lowered =
        builder.policy(hostile("caches-absence-for-ever")).rehearse().await.expect("it breaks no rule");
    assert_eq!((lowered.fresh.max, lowered.absent), (2 * MINUTE, MINUTE / 60));
}

#[tokio::test]
async fn what_no_policy_may_do_is_refused_with_the_step_and_the_old_policy_serves_on() {
    let database = Scripted::new();
    database.store(W, Some("stored"));
    let id = leasehold::WorkspaceId::new(W).expect("a usable id");
    let cache =
        SecretCache::builder().database(database.clone()).build().await.expect("the default policy is good");
    cache.read(&id).await.expect("the row is there");
    let before = cache.stats();
    let marker = Marker::new();
    let read = "a read of a present secret: the call failed: ";
    let issue = "an issue of a workspace that was read before: the call failed: ";
    let cases = [
        (hostile("traps"), format!("{read}read failed")),
        (hostile("traps-after-put"), format!("{read}read failed")),
        (hostile("spins"), format!("{read}read failed: it ran for longer than its limit of processor time")),
        (hostile("grows"), format!("{read}read failed")),
        (hostile("leaks-a-handle"), format!("{read}it kept handles")),
        (
            hostile("says-absent-over-a-secret"),
            format!("{read}the answer was an absence that the database did not"),
        ),
        (
            hostile("says-unavailable-without-asking"),
            format!("{read}the answer was an error that the database did"),
        ),
        (hostile("puts-absence-over-a-secret"), format!("{read}read failed: entry.put of an absence")),
        (hostile("issues-in-a-read"), format!("{read}read failed: database.issue(Rotate) in a call of Read")),
        (bare("returns-a-handle-it-dropped", &marker), format!("{read}read failed: unknown handle index")),
        (bare("answers-beyond-its-memory", &marker), format!("{read}read failed")),
        (bare("keeps-a-handle-and-puts-it-for-the-next", &marker), format!("{read}it kept handles")),
        (
            hostile("traps-without-a-row"),
            "a read of a workspace without a row: the call failed: read failed".into(),
        ),
        (hostile("never-issues"), format!("{issue}the answer was an error that the database did not report")),
        (
            hostile("selects-and-never-issues"),
            format!("{issue}the answer was an error that the database did not"),
        ),
        (hostile("returns-the-old-secret"), format!("{issue}the answer was not the secret that was issued")),
        (
            hostile("hides-the-issue"),
            format!("{issue}the answer was an error that the database did not report"),
        ),
        (hostile("issues-twice"), format!("{issue}issue failed: database.issue was called again")),
        (hostile("traps-after-issue"), format!("{issue}issue failed")),
        (
            hostile("says-absent-after-an-error"),
            "a read while the database is unavailable: the call failed: the answer was an absence".into(),
        ),
        (
            hostile("puts-absence-after-an-error"),
            "a read while the database is unavailable: the call failed: read failed".into(),
        ),
    ];
    for (policy, words) in cases {
        let error = cache.swap(policy.clone()).await.expect_err(&words);
        assert_eq!(error.stage, Stage::Rehearsal, "{error}");
        assert!(error.reason.starts_with(&words), "expected {words:?}\n     got {:?}", error.reason);
        // At the start it is refused likewise.
        let built = SecretCache::builder().database(database.clone()).policy(policy).build().await;
        assert!(
            matches!(built, Err(BuildError::Policy(error)) if error.stage == Stage::Rehearsal),
            "{words}"
        );
        assert_eq!(cache.read(&id).await.map(|lookup| lookup.status), Ok(Status::Hit));
    }
    let after = cache.stats();
    assert_eq!(
        (after.selects, after.policy_calls, after.policy_faults),
        (before.selects, before.policy_calls, 0)
    );
    assert_eq!((cache.policy().generation, cache.policy().name.as_str()), (1, "ttl"));
    assert_eq!(after.swaps_refused, 21);
}

#[tokio::test]
async fn one_that_is_slow_at_every_call_is_refused_when_its_budget_is_used_up() {
    let builder = SecretCache::builder().policy_cpu_limit(Duration::from_secs(10));
    let refused = builder.policy(hostile("dawdles")).rehearse().await.expect_err("a second is all it gets");
    let BuildError::Policy(error) = refused else { panic!("{refused}") };
    assert_eq!(error.stage, Stage::Rehearsal);
    assert!(
        error.reason.contains("calls so far have used more than 1s of processor time"),
        "{}",
        error.reason
    );
}

#[tokio::test]
async fn the_card_goes_with_its_policy_through_swaps_and_rollbacks() {
    let builder = SecretCache::builder().database(Scripted::new());
    let even = |time| ttl().setting("ttl", time).setting("jitter", "0s");
    let cache = builder.policy(even("1m")).build().await.expect("the settings are good");
    let fresh = || cache.policy().card.map(|card| card.fresh.max);
    assert_eq!(fresh(), Some(MINUTE));
    let report = cache.swap(even("2m")).await.expect("the settings are good");
    assert!(report.stages.iter().any(|(stage, _)| *stage == Stage::Rehearsal), "{:?}", report.stages);
    assert_eq!(report.card.map(|card| card.fresh.max), Some(2 * MINUTE));
    assert_eq!(fresh(), Some(2 * MINUTE));
    let report = cache.rollback().await.expect("there is one");
    assert_eq!((report.card.map(|card| card.fresh.max), fresh()), (Some(MINUTE), Some(MINUTE)));
}

#[tokio::test]
async fn the_instances_of_a_rehearsal_do_not_serve() {
    let (marker, database) = (Marker::new(), Scripted::new());
    let policy = leasehold_tests::hostile::does("nothing", &marker);
    let cache = SecretCache::builder().database(database).policy(policy).build().await.expect("it is honest");
    assert!(cache.policy().card.is_some_and(|card| card.calls > 100));
    let memories = || scan(&marker, &[]).expect("a process may look at itself").memories;
    assert_eq!(memories(), 0, "what they remember is from another clock");
    let read = cache.read(&leasehold::WorkspaceId::new(W).expect("a usable id")).await;
    assert_eq!((read.err(), memories()), (Some(Error::Absent), 1));
}

#[tokio::test]
async fn where_rehearsal_is_switched_off_there_is_no_card_and_nothing_is_refused_for_what_it_does() {
    let builder = SecretCache::builder().database(Scripted::new()).rehearsal(false);
    let cache = builder.build().await.expect("the default policy is good");
    let report = cache.swap(hostile("traps")).await.expect("it can be configured");
    assert!(report.card.is_none() && cache.policy().card.is_none());
    assert!(report.stages.iter().all(|(stage, _)| *stage != Stage::Rehearsal), "{:?}", report.stages);
}
