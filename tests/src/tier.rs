//! How much a test does: the gate that every change passes, or the long tier.
//!
//! The same test runs in both, with another count: what only the long tier runs is what nobody runs.

use std::env;

/// `tests/run` or `tests/run --long`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Minutes for the whole suite.
    Gate,
    /// As long as it takes.
    Long,
}

impl Tier {
    /// The lane of this run.
    pub fn current() -> Self {
        if env::var_os("LEASEHOLD_TEST_LONG").is_some() { Self::Long } else { Self::Gate }
    }

    /// The count for this tier.
    pub fn pick(self, gate: u64, long: u64) -> u64 {
        match self {
            Self::Gate => gate,
            Self::Long => long,
        }
    }
}
