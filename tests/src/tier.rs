//! The amount of work of a test: the gate that every change passes, or the long tier.
//!
//! The same test runs in both, with another count: a test that only the long tier runs is a test that is
//! never run.

use std::env;

/// `tests/run` or `tests/run --long`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Tests that take minutes for the whole suite.
    Gate,
    /// Tests that take as long as they need.
    Long,
}

impl Tier {
    /// Returns the tier of this run.
    pub fn current() -> Self {
        if env::var_os("LEASEHOLD_TEST_LONG").is_some() { Self::Long } else { Self::Gate }
    }

    /// Returns the count for this tier.
    pub fn pick(self, gate: u64, long: u64) -> u64 {
        match self {
            Self::Gate => gate,
            Self::Long => long,
        }
    }
}
