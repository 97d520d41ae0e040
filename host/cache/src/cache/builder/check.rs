//! What a cache is not built with: bounds that cannot be kept, and a runtime that it cannot live on.
//!
//! It makes nothing, and changes nothing of what it looks at.

use std::ops::RangeInclusive;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Builder;
use crate::SwapError;

/// What a database may be waited for: a caller that waits for a secret has gone long before an hour is over.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);

/// Why a cache could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Something that has no default was not given.
    #[error("SecretCache needs a {0}: call Builder::{0}")]
    Missing(&'static str),
    /// A bound that cannot be kept.
    #[error("{name} is out of range: {expected}")]
    OutOfRange {
        /// The builder's method.
        name: &'static str,
        /// What it accepts.
        expected: &'static str,
    },
    /// `build` was not called on a tokio runtime.
    #[error("SecretCache must be built inside a tokio runtime: its loads run as tasks there")]
    NoRuntime,
    /// `build` was called on a tokio runtime without a timer. That is found out by asking for one, so that
    /// the panic hook has been told as well.
    #[error(
        "SecretCache needs a tokio runtime with time enabled, and this one has none: call enable_time or \
         enable_all on the runtime's builder"
    )]
    NoTime,
    /// The first policy was refused.
    #[error(transparent)]
    Policy(#[from] SwapError),
}

impl Builder {
    /// Whether every bound is one that can be kept.
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

/// Whether this is a runtime that the cache can live on.
pub(super) fn check_runtime() -> Result<(), BuildError> {
    Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
    // The one way to ask: a timer panics where there is no clock to drive it. So would each read.
    let timer = catch_unwind(|| drop(sleep(Duration::ZERO)));
    timer.map_err(|_| BuildError::NoTime)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
