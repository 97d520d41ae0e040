//! The first minutes of a policy: it is watched more closely than later, and goes back sooner.
//!
//! Pure arithmetic over its arguments. It reads no clock, and does not know what is done about its verdict.

use std::time::Duration;

use crate::Instant;

/// Budgets of a policy that was just swapped in. A policy that exceeds one is replaced by the last good one,
/// with the reason kept. Rollbacks, the first policy and the breaker's choice are not on probation: the
/// policy that they make active has served before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probation {
    /// Length of the probation; 5 min by default. Zero: there is none.
    pub lasts: Duration,
    /// Number of failed calls at which the policy is replaced; 1 by default.
    pub faults: u32,
    /// Maximum mean processor time of a call, judged after a hundred calls; 2 ms by default.
    pub call_time: Duration,
    /// Maximum SELECTs per second, as a multiple of those under the policy before it; without a limit by
    /// default, since a shorter ttl is meant to cost more. Rates below one per second count as one, and ten
    /// seconds pass before it is judged.
    pub loads: Option<f64>,
}

impl Probation {
    /// No probation at all: the breaker alone watches.
    pub const NONE: Self =
        Self { lasts: Duration::ZERO, faults: u32::MAX, call_time: Duration::MAX, loads: None };
}

impl Default for Probation {
    fn default() -> Self {
        Self { lasts: Duration::from_secs(300), faults: 1, call_time: Duration::from_millis(2), loads: None }
    }
}

/// Minimum number of calls for a judgement: fewer say little about the next one.
const MIN_CALLS: u64 = 100;
/// Minimum time for a rate: the first seconds after a swap are the new policy's look at every entry.
const MIN_WATCH: Duration = Duration::from_secs(10);

/// Totals of what has been used so far; their differences count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) selects: u64,
    pub(super) calls: u64,
    /// Processor time of all calls, in nanoseconds.
    pub(super) call_nanos: u64,
}

/// Trial of one policy on probation.
pub(super) struct Trial {
    began: Instant,
    at_begin: Usage,
    /// SELECTs per second under the policy before it, if that was active for long enough.
    loads_before: Option<f64>,
    faults: u32,
}

impl Trial {
    pub(super) fn new(began: Instant, at_begin: Usage, loads_before: Option<f64>) -> Self {
        Self { began, at_begin, loads_before, faults: 0 }
    }

    pub(super) fn is_over(&self, probation: &Probation, now: Instant) -> bool {
        self.remaining(probation, now).is_none()
    }

    /// Returns how much of it is left; `None` if it is over.
    pub(super) fn remaining(&self, probation: &Probation, now: Instant) -> Option<Duration> {
        let passed = now.saturating_since(self.began);
        probation.lasts.checked_sub(passed).filter(|left| !left.is_zero())
    }

    /// Notes a failed call. Returns the reason why the policy has to go, if it has to.
    pub(super) fn note_fault(&mut self, probation: &Probation, fault: &str) -> Option<String> {
        self.faults += 1;
        (self.faults >= probation.faults).then(|| {
            let count = self.faults;
            format!(
                "it failed {count} {} in its probation: {fault}",
                if count == 1 { "time" } else { "times" }
            )
        })
    }

    /// Returns the reason why the policy has to go, if it has to, judged by the usage up to now.
    pub(super) fn judge(&self, probation: &Probation, now: Instant, usage: Usage) -> Option<String> {
        let calls = usage.calls.saturating_sub(self.at_begin.calls);
        if calls >= MIN_CALLS {
            let nanos = usage.call_nanos.saturating_sub(self.at_begin.call_nanos) / calls;
            let mean = Duration::from_nanos(nanos);
            if mean > probation.call_time {
                let limit = probation.call_time;
                return Some(format!(
                    "a call took {mean:?} of processor time in the mean; its budget is {limit:?}"
                ));
            }
        }
        let (limit, before) = (probation.loads?, self.loads_before?.max(1.0));
        let rate = rate(self.began, now, usage.selects.saturating_sub(self.at_begin.selects))?;
        (rate > limit * before).then(|| {
            format!(
                "{rate:.1} SELECTs per second, with {before:.1} before it; its budget is {limit} times as \
                 many"
            )
        })
    }
}

/// Returns a count as a rate per second, if there was time enough for one.
#[expect(clippy::cast_precision_loss, reason = "a rate for a budget: the leading digits are what counts")]
pub(super) fn rate(began: Instant, now: Instant, count: u64) -> Option<f64> {
    let watched = now.saturating_since(began);
    (watched >= MIN_WATCH).then(|| count as f64 / watched.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * SECOND)
    }

    #[test]
    fn the_fault_that_is_one_too_many_is_told_in_its_own_words() {
        let mut trial = Trial::new(at(0), Usage::default(), None);
        let probation = Probation { faults: 2, ..Probation::default() };
        assert_eq!(trial.note_fault(&probation, "a"), None);
        let reason = trial.note_fault(&probation, "it trapped").unwrap();
        assert_eq!(reason, "it failed 2 times in its probation: it trapped");
    }

    #[test]
    fn it_is_over_when_its_time_is_and_one_of_no_time_never_begins() {
        let trial = Trial::new(at(10), Usage::default(), None);
        assert!(!trial.is_over(&Probation::default(), at(309)));
        assert!(trial.is_over(&Probation::default(), at(310)));
        assert!(trial.is_over(&Probation::NONE, at(10)));
    }

    #[test]
    fn slow_calls_are_judged_once_there_are_a_hundred_by_their_mean_since_it_began() {
        let probation = Probation { call_time: Duration::from_micros(10), ..Probation::default() };
        let before = Usage { calls: 1_000, call_nanos: 9 * SECOND, selects: 0 };
        let trial = Trial::new(at(0), before, None);
        let after = |calls, micros| Usage {
            calls: before.calls + calls,
            call_nanos: before.call_nanos + calls * micros * 1_000,
            selects: 0,
        };
        assert_eq!(trial.judge(&probation, at(1), after(99, 50)), None);
        assert_eq!(trial.judge(&probation, at(1), after(100, 10)), None);
        let reason = trial.judge(&probation, at(1), after(100, 11)).unwrap();
        assert!(reason.contains("11µs") && reason.contains("10µs"), "{reason}");
    }

    #[test]
    fn loads_are_judged_against_the_policy_before_it_after_ten_seconds() {
        let probation = Probation { loads: Some(3.0), ..Probation::default() };
        let usage = |selects| Usage { selects, ..Usage::default() };
        let trial = Trial::new(at(100), usage(50), Some(2.0));
        assert_eq!(trial.judge(&probation, at(109), usage(50_000)), None, "too early");
        assert_eq!(trial.judge(&probation, at(110), usage(110)), None);
        assert!(trial.judge(&probation, at(110), usage(111)).unwrap().contains("6.1 SELECTs"));
        let quiet = Trial::new(at(100), usage(0), Some(0.0));
        assert_eq!(
            quiet.judge(&probation, at(110), usage(30)),
            None,
            "next to nothing counts as one per second"
        );
        let first = Trial::new(at(100), usage(0), None);
        assert_eq!(first.judge(&probation, at(110), usage(1_000_000)), None, "nothing to compare with");
        assert_eq!(
            trial.judge(&Probation::default(), at(110), usage(1_000_000)),
            None,
            "no limit by default"
        );
    }
}
