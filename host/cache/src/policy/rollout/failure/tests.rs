//! A table of what a policy does wrong, and what the host makes of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::policy::rollout::history::tests::{DrivenRollout, FAULTS, PROBATION, WINDOW};

const SECOND: Duration = Duration::from_secs(1);
const IN_PROBATION: Option<(Cause, &str)> =
    Some((Cause::Probation, "it failed 1 time in its probation: it trapped"));
const TRIPPED: Option<(Cause, &str)> = Some((Cause::Breaker, "it trapped"));
const TOO_SLOW: Option<(Cause, &str)> =
    Some((Cause::Probation, "a call took 3ms of processor time in the mean; its budget is 2ms"));
const TOO_MANY: Option<(Cause, &str)> =
    Some((Cause::Probation, "3.1 SELECTs per second, with 1.0 before it; its budget is 3 times as many"));

/// What happens to a policy.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Fault,
    /// As many faults as the breaker allows, so far apart.
    Faults(Duration),
    Shortages,
    /// A look at what was used by so many calls, each of so many milliseconds.
    Calls(u64, u64),
    /// A look at the SELECTs.
    Selects(u64),
}
use Mishap::{Calls, Fault as OneFault, Faults, Selects, Shortages};

/// The moves before it, the time that passes then, the mishap, the cause and the reason of a replacement, and
/// the state. The mishap is that of the policy that is active at the `/`, or of the last one.
type MishapRow = (&'static str, Duration, Mishap, Option<(Cause, &'static str)>, &'static str);

const MISHAPS: &[MishapRow] = &[
    // A fault within the probation, and at its end.
    ("b", Duration::ZERO, OneFault, IN_PROBATION, "a|b'"),
    ("b", PROBATION.saturating_sub(SECOND), OneFault, IN_PROBATION, "a|b'"),
    ("b", PROBATION, OneFault, None, "b'|a"),
    ("b", PROBATION, Faults(SECOND), TRIPPED, "a|b'"),
    ("b + c", Duration::ZERO, OneFault, IN_PROBATION, "b|c' a"),
    ("b +", Duration::ZERO, OneFault, None, "b|a"),
    ("", Duration::ZERO, OneFault, None, "a|"),
    // The breaker counts within its window, and anew after each change.
    ("b +", Duration::ZERO, Faults(Duration::ZERO), TRIPPED, "a|b'"),
    ("b +", Duration::ZERO, Faults(WINDOW), TRIPPED, "a|b'"),
    ("b +", Duration::ZERO, Faults(WINDOW.saturating_add(SECOND)), None, "b|a"),
    ("b + !", Duration::ZERO, OneFault, None, "a|b'"),
    ("b ! b", Duration::ZERO, OneFault, IN_PROBATION, "a|b'"),
    // A call that ends when its policy is no longer active.
    ("b + / c", Duration::ZERO, Faults(SECOND), None, "c'|a b"),
    ("b / b", Duration::ZERO, OneFault, None, "b'|a"),
    ("b / <", Duration::ZERO, Faults(SECOND), None, "a|"),
    ("b / < b", Duration::ZERO, OneFault, None, "b'|a"),
    // A shortage of the machine's is no fault.
    ("b", Duration::ZERO, Shortages, None, "b'|a"),
    ("b +", SECOND, Shortages, None, "b|a"),
    // Budgets of a probation: processor time from the hundredth call on, SELECTs after ten seconds and where
    // there is something to compare them with.
    ("b", SECOND, Calls(99, 1_000), None, "b'|a"),
    ("b", SECOND, Calls(100, 2), None, "b'|a"),
    ("b", SECOND, Calls(100, 3), TOO_SLOW, "a|b'"),
    ("b +", SECOND, Calls(100, 1_000), None, "b|a"),
    ("", SECOND, Calls(100, 1_000), None, "a|"),
    ("b", WINDOW, Selects(1_000), None, "b'|a"),
    ("b + c", SECOND, Selects(1_000), None, "c'|a b"),
    ("b + c", WINDOW, Selects(30), None, "c'|a b"),
    ("b + c", WINDOW, Selects(31), TOO_MANY, "b|c' a"),
    // The end of a probation is looked for before its budgets.
    ("b", PROBATION.saturating_sub(SECOND), Calls(0, 0), None, "b'|a"),
    ("b", PROBATION, Calls(100, 3), None, "b|a"),
    // The built-in policy has none behind it.
    ("!", Duration::ZERO, Faults(SECOND), None, "*|a'"),
    ("! <", Duration::ZERO, OneFault, IN_PROBATION, "*|a'"),
];

fn meets(driven: &DrivenRollout, active: &Arc<ActivePolicy>, mishap: Mishap) -> Option<Cause> {
    let fault = || driven.rollout.note_fault(active, &Fault("it trapped".into()));
    match mishap {
        OneFault => fault(),
        Faults(apart) => {
            assert_eq!((FAULTS, fault()), (2, None));
            driven.clock.advance(apart);
            fault()
        }
        Shortages => {
            (0..=FAULTS).for_each(|_| driven.rollout.note_shortage(active, &Shortage("no memory".into())));
            assert_eq!(active.loaded().first_shortage.get().map(|first| first.0.as_str()), Some("no memory"));
            None
        }
        Calls(calls, each_ms) => {
            // Relaxed, here and below: there is one thread.
            active.loaded().calls.fetch_add(calls, Ordering::Relaxed);
            active.loaded().call_nanos.fetch_add(calls * each_ms * 1_000_000, Ordering::Relaxed);
            driven.rollout.supervise()
        }
        Selects(selects) => {
            driven.counters.selects.fetch_add(selects, Ordering::Relaxed);
            driven.rollout.supervise()
        }
    }
}

#[tokio::test]
async fn each_mishap_costs_a_policy_its_place_or_nothing_at_all() {
    for (moves, wait, mishap, expected, state) in MISHAPS {
        let row = format!("{moves:?} and {mishap:?} after {wait:?}");
        let driven = DrivenRollout::start("a").await;
        let (before, later) = moves.split_once('/').unwrap_or((moves, ""));
        driven.go(before).await;
        let active = driven.rollout.active();
        driven.go(later).await;
        let before = driven.rollout.status();
        driven.clock.advance(*wait);
        let cause = meets(&driven, &active, *mishap);
        assert_eq!((cause, driven.state().as_str()), (expected.map(|(cause, _)| cause), *state), "{row}");
        let status = driven.rollout.status();
        let Some((cause, reason)) = expected else {
            // The failure before it is still the latest one.
            assert_eq!(
                (status.generation, status.breaker.trip),
                (before.generation, before.breaker.trip),
                "{row}"
            );
            continue;
        };
        let trip = status.breaker.trip.unwrap();
        assert_eq!((trip.cause, trip.reason.as_str()), (*cause, *reason), "{row}");
        assert_eq!((trip.generation, trip.policy), (before.generation, "ttl 0.1.0".to_owned()), "{row}");
        let record = &status.recent[0];
        assert_eq!((record.cause, record.reason.as_deref()), (*cause, Some(*reason)), "{row}");
        assert_eq!((status.generation, status.breaker.faults), (before.generation + 1, 0), "{row}");
    }
}

#[tokio::test]
async fn the_failure_is_shown_until_the_operator_s_next_change() {
    for (moves, shown) in [
        ("b !", true),
        ("b ! ?", true),
        ("b ! +", true),
        ("b ! c", false),
        ("b ! a", false),
        ("b ! =c", false),
        ("b ! <", false),
        ("b ! c !", true),
        ("b + c + ! !", true),
    ] {
        let driven = DrivenRollout::start("a").await;
        driven.go(moves).await;
        assert_eq!(driven.rollout.status().breaker.trip.is_some(), shown, "{moves}");
    }
}
