//! The resources that the machine lacks for a call: memory, address space, a thread. A shortage is no fault
//! of a policy's and costs it nothing.
//!
//! A policy cannot make such an error: what it may take is bounded below, and a trap is no error of the
//! system's. Shortages come in bursts, and a burst is reported at its begin, and then now and again.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use wasmtime::{Error, OutOfMemory};

use crate::Instant;

/// Time between two reports of a burst that goes on, and the quiet time after which it is over.
const PAUSE: Duration = Duration::from_secs(10);

/// Returns whether the system refused something, and not the policy.
pub(super) fn is_shortage(error: &Error) -> bool {
    error.chain().any(|cause| cause.is::<Errno>() || cause.is::<io::Error>() || cause.is::<OutOfMemory>())
}

/// Returns whether the system refused it because it never allows that.
pub(super) fn is_forbidden(error: &Error) -> bool {
    error.chain().any(|cause| {
        let system = cause.downcast_ref::<Errno>().copied();
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(system, Some(Errno::ACCESS | Errno::PERM)) || kind == Some(io::ErrorKind::PermissionDenied)
    })
}

/// Calls for which the machine had not enough.
#[derive(Default)]
pub(in crate::policy) struct Shortages(Mutex<Option<Burst>>);

struct Burst {
    /// Time of the last report.
    reported_at: Instant,
    latest: Instant,
    calls: u64,
}

/// Report of a burst, with the number of calls in it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum ShortageReport {
    Begins,
    GoesOn(u64),
    Ended(u64),
}

impl Shortages {
    /// Notes a call. Returns the report that is due, if any.
    pub(in crate::policy) fn note(&self, now: Instant) -> Option<ShortageReport> {
        let mut burst = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(burst) = burst.as_mut() else {
            *burst = Some(Burst { reported_at: now, latest: now, calls: 1 });
            return Some(ShortageReport::Begins);
        };
        burst.calls += 1;
        burst.latest = now;
        let is_due = now.saturating_since(burst.reported_at) >= PAUSE;
        is_due.then(|| {
            burst.reported_at = now;
            ShortageReport::GoesOn(burst.calls)
        })
    }

    /// Returns a report if a burst is over; to be called now and then.
    pub(in crate::policy) fn look(&self, now: Instant) -> Option<ShortageReport> {
        let mut burst = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = burst.take_if(|burst| now.saturating_since(burst.latest) >= PAUSE)?;
        Some(ShortageReport::Ended(ended.calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_burst_is_told_when_it_begins_every_ten_seconds_and_when_it_is_over() {
        let shortages = Shortages::default();
        assert_eq!(shortages.look(at(0)), None);
        for (second, reported) in
            [(1, Some(ShortageReport::Begins)), (1, None), (10, None), (11, Some(ShortageReport::GoesOn(4)))]
        {
            assert_eq!(shortages.note(at(second)), reported, "at {second}");
        }
        assert_eq!((shortages.note(at(20)), shortages.look(at(29))), (None, None));
        assert_eq!(shortages.look(at(30)), Some(ShortageReport::Ended(5)));
        assert_eq!((shortages.look(at(60)), shortages.note(at(60))), (None, Some(ShortageReport::Begins)));
    }

    #[test]
    fn what_the_system_refused_is_told_apart_from_what_a_policy_did() {
        let of = |errno: Errno| Error::from(errno).context("mmap failed");
        assert!(is_shortage(&of(Errno::NOMEM)) && !is_forbidden(&of(Errno::NOMEM)));
        assert!(is_shortage(&of(Errno::ACCESS)) && is_forbidden(&of(Errno::ACCESS)));
        assert!(is_forbidden(&Error::from(io::Error::from(Errno::PERM)).context("unable to make it")));
        let trap = Error::from(wasmtime::Trap::UnreachableCodeReached).context("error while executing");
        assert!(!is_shortage(&trap) && !is_shortage(&Error::msg("more than 8 statements")));
    }
}
