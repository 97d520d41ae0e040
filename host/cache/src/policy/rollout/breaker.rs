//! The limit on a policy's faults: so many within a window of time.
//!
//! Pure counting. It reads no clock, and does not know what is done about a trip.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Instant;

/// Counts the faults of the active policy.
pub(crate) struct Breaker {
    limit: u32,
    window: Duration,
    /// Times of the recent faults, the latest last; never more than the limit.
    faults: VecDeque<Instant>,
}

/// State of the breaker after a fault: whether the policy may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Closed,
    Trips,
}

impl Breaker {
    pub(crate) fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, faults: VecDeque::new() }
    }

    pub(super) fn note(&mut self, now: Instant) -> Reading {
        self.faults.push_back(now);
        if self.recent(now) < self.limit {
            return Reading::Closed;
        }
        self.reset();
        Reading::Trips
    }

    /// Counts the faults within the window that ends now.
    pub(super) fn recent(&mut self, now: Instant) -> u32 {
        while self.faults.front().is_some_and(|first| now.saturating_since(*first) > self.window) {
            self.faults.pop_front();
        }
        u32::try_from(self.faults.len()).unwrap_or(u32::MAX)
    }

    /// Clears the record: another policy begins with none.
    pub(super) fn reset(&mut self) {
        self.faults.clear();
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_at_the_limit_within_the_window_and_begins_anew() {
        let mut breaker = Breaker::new(3, Duration::from_nanos(10));
        let mut note = |at| breaker.note(Instant::from_nanos(at));
        for (at, expected) in [
            (0, Reading::Closed),
            (5, Reading::Closed),
            // The first fault is just out of the window.
            (11, Reading::Closed),
            (15, Reading::Trips),
            (15, Reading::Closed),
            (15, Reading::Closed),
            (25, Reading::Trips),
        ] {
            assert_eq!(note(at), expected, "at {at}");
        }
    }
}
