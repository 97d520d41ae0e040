//! Instants and leases, as a policy computes with them.
//!
//! Arithmetic saturates: a policy that adds a century gets the far future, and the host lowers it to its
//! ceilings.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time on the host's clock. Only comparison and difference mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The earliest instant: a lease until here grants nothing.
    pub const NEVER: Self = Self(0);

    /// Makes an instant from nanoseconds on the host's clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds on the host's clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Returns the time from `earlier` to `self`, or zero if `earlier` is the later one.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The instants until which the host may act without the policy. Each instant is judged alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The instant after which the first hit also calls the policy in the background. Not before
    /// `fresh_until` means never.
    pub refresh_after: Instant,
    /// The instant before which reads are hits: no policy runs.
    pub fresh_until: Instant,
    /// The same as `fresh_until`, while the host's invalidation channel is up.
    pub watched_until: Instant,
    /// The instant until which the value is kept for [`Context::entry`](crate::Context::entry). Beyond its
    /// freshness it is never served without a call of the policy.
    pub keep_until: Instant,
}

impl Lease {
    /// Makes a lease that is fresh until `end`, and nothing else.
    pub const fn until(end: Instant) -> Self {
        Self { refresh_after: end, fresh_until: end, watched_until: end, keep_until: end }
    }
}
