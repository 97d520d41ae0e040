//! The check of the bounds that a cache is built with.
//!
//! It makes nothing, and changes nothing of what it looks at.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Builder;
use super::error::BuildError;

/// Range of the database timeout: a caller that waits for a secret has gone long before an hour is over.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);

impl Builder {
    /// Checks that every bound can be kept.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let millisecond = Duration::from_millis(1);
        for (good, name, expected) in [
            (self.capacity > 0, "capacity", "at least one entry"),
            (self.ceilings.max_keep >= self.ceilings.max_fresh, "max_keep", "at least max_fresh"),
            (TIMEOUTS.contains(&self.database_timeout), "database_timeout", "between 1 ms and an hour"),
            (self.breaker.0 > 0, "breaker", "at least one fault"),
            (self.probation.faults > 0, "probation", "at least one fault"),
            (
                self.probation.loads.is_none_or(|loads| loads.is_finite() && loads > 0.0),
                "probation",
                "a ratio of loads above zero",
            ),
            (self.max_selects != Some(0), "max_selects", "at least one"),
            (self.max_issues != Some(0), "max_issues", "at least one"),
            (self.calls.cpu_limit >= 3 * millisecond, "policy_cpu_limit", "at least 3 ms"),
            (
                self.gate.pinned.iter().all(|pin| is_digest(pin)),
                "pinned_digests",
                "64 hexadecimal digits each",
            ),
            (self.gate.compile_limit >= millisecond, "policy_compile_limit", "at least 1 ms"),
        ] {
            if !good {
                return Err(BuildError::OutOfRange { name, expected });
            }
        }
        Ok(())
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
