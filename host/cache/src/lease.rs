//! Leases: until when the host may answer without asking the policy, and the function that decides it.
//!
//! Everything here is pure data and arithmetic. It reads no clock and touches no table, so that every case
//! can be written down in a test. A lease is lowered to the operator's ceilings once, when it is stored,
//! counted from when the value was obtained and never from when it was put: a policy that puts an old value
//! again must not make it younger.

use std::time::Duration;

use crate::Instant;

/// The number of an active policy, in the order of activation. An entry remembers the generation that leased
/// it; no entry lives through four billion swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) const FIRST: Self = Self(1);

    pub(crate) const fn new(number: u64) -> Self {
        Self(number as u32)
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    pub(crate) const fn number(self) -> u64 {
        self.0 as u64
    }
}

/// The contract's lease, once lowered to the ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) refresh_after: Instant,
    pub(crate) fresh_until: Instant,
    pub(crate) watched_until: Instant,
    pub(crate) keep_until: Instant,
}

/// The longest leases that the operator allows, whatever a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceilings {
    pub(crate) max_fresh: Duration,
    pub(crate) max_keep: Duration,
    pub(crate) max_absent: Duration,
}

/// The moment of a read, as far as a lease asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<W> {
    /// The active policy.
    pub(crate) generation: Generation,
    pub(crate) now: Instant,
    /// Whether each change up to `now` would be known. It is asked past `fresh_until` only: a hit before that
    /// does not pay for it.
    pub(crate) watched: W,
}

/// The action that a lease allows the host at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// The host may answer.
    Hit,
    /// The host may answer, and has to ask the policy again in the background.
    Refresh,
    /// The host has to ask the policy.
    Expired,
}

impl Lease {
    /// Lowers each instant to the ceiling for a value, or for absence, obtained at `obtained_at`.
    pub(crate) fn lowered(self, ceilings: &Ceilings, obtained_at: Instant, present: bool) -> Self {
        let (fresh, keep) = if present {
            (ceilings.max_fresh, ceilings.max_keep)
        } else {
            (ceilings.max_absent, ceilings.max_absent)
        };
        let max_fresh = obtained_at.saturating_add(fresh);
        let fresh_until = self.fresh_until.min(max_fresh);
        Self {
            refresh_after: self.refresh_after,
            fresh_until,
            watched_until: self.watched_until.min(max_fresh),
            // Never below fresh-until, or the sweep would drop an entry that is still served.
            keep_until: self.keep_until.min(obtained_at.saturating_add(keep)).max(fresh_until),
        }
    }
}

/// Returns how far an entry that `granted` leased answers a read at this moment.
#[inline]
pub(crate) fn cover<W: FnOnce() -> bool>(lease: &Lease, granted: Generation, moment: Moment<W>) -> Cover {
    let Moment { generation, now, watched } = moment;
    let answers = || now < lease.fresh_until || (now < lease.watched_until && watched());
    if granted != generation || !answers() {
        Cover::Expired
    } else if now > lease.refresh_after {
        Cover::Refresh
    } else {
        Cover::Hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILINGS: Ceilings = Ceilings {
        max_fresh: Duration::from_nanos(100),
        max_keep: Duration::from_nanos(200),
        max_absent: Duration::from_nanos(30),
    };

    fn lease(refresh: u64, fresh: u64, keep: u64) -> Lease {
        let at = Instant::from_nanos;
        Lease {
            refresh_after: at(refresh),
            fresh_until: at(fresh),
            watched_until: at(fresh),
            keep_until: at(keep),
        }
    }

    #[test]
    fn an_entry_is_served_within_its_lease_and_under_its_own_generation_only() {
        let (one, two) = (Generation::FIRST, Generation::FIRST.next());
        let watch = |lease: Lease, end| Lease { watched_until: Instant::from_nanos(end), ..lease };
        let (seen, blind) = (Some(true), Some(false));
        // `None`: the watch is not asked.
        for (lease, granted, now, watched, expected) in [
            (lease(100, 100, 100), one, 99, None, Cover::Hit),
            (lease(100, 100, 100), one, 100, None, Cover::Expired),
            (lease(100, 100, 100), two, 99, None, Cover::Expired),
            (lease(50, 100, 100), one, 50, None, Cover::Hit),
            (lease(50, 100, 100), one, 51, None, Cover::Refresh),
            (lease(50, 100, 100), one, 100, None, Cover::Expired),
            (lease(0, 0, u64::MAX), one, 0, None, Cover::Expired),
            (lease(u64::MAX, u64::MAX, 0), one, u64::MAX - 1, None, Cover::Hit),
            (watch(lease(300, 100, 100), 200), one, 99, None, Cover::Hit),
            (watch(lease(300, 100, 100), 200), one, 100, seen, Cover::Hit),
            (watch(lease(300, 100, 100), 200), one, 100, blind, Cover::Expired),
            (watch(lease(300, 100, 100), 200), one, 200, None, Cover::Expired),
            (watch(lease(300, 100, 100), 200), two, 100, None, Cover::Expired),
            (watch(lease(150, 100, 100), 200), one, 151, seen, Cover::Refresh),
            (watch(lease(300, 100, 100), 50), one, 99, None, Cover::Hit),
        ] {
            let mut asked = None;
            let watch = || {
                asked = watched;
                watched.expect("the watch is not asked here")
            };
            let moment = Moment { generation: one, now: Instant::from_nanos(now), watched: watch };
            assert_eq!(cover(&lease, granted, moment), expected, "{lease:?} at {now}");
            assert_eq!(asked, watched, "{lease:?} at {now}");
        }
    }

    #[test]
    fn ceilings_count_from_when_the_value_was_obtained() {
        let obtained_at = Instant::from_nanos(1_000);
        for (asked, present, fresh, keep) in [
            (lease(0, u64::MAX, u64::MAX), true, 1_100, 1_200),
            (lease(0, 1_050, 1_060), true, 1_050, 1_060),
            (lease(0, 1_050, 0), true, 1_050, 1_050),
            (lease(0, 0, u64::MAX), true, 0, 1_200),
            (lease(0, u64::MAX, u64::MAX), false, 1_030, 1_030),
        ] {
            let lowered = asked.lowered(&CEILINGS, obtained_at, present);
            assert_eq!(lowered.fresh_until, Instant::from_nanos(fresh), "{asked:?}");
            assert_eq!(lowered.keep_until, Instant::from_nanos(keep), "{asked:?}");
            assert!(lowered.watched_until <= obtained_at.saturating_add(CEILINGS.max_fresh));
        }
    }
}
