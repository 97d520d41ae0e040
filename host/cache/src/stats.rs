//! Counters and gauges of what the cache does.
//!
//! Hits are counted where they happen (`hits.rs`). Everything else happens beside a statement or a policy
//! call, where one shared counter costs nothing that shows.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values of the present moment, which are not counted from the start.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) entries: u64,
    pub(crate) held: u64,
    pub(crate) in_flight: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The shared counters.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// A snapshot of the counters. All count from the start of the cache, except `entries`, `held` and
        /// `in_flight`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            /// Reads answered under a lease: no policy call, no statement.
            pub hits: u64,
            $($(#[$doc])* pub $name: u64,)*
            /// SQL statements that the database was sent for this cache: SELECTs and issues.
            pub statements: u64,
            /// Entries that are stored now.
            pub entries: u64,
            /// Entries that were replaced or dropped, and are not wiped yet because an `answer` of
            /// [`with`](crate::SecretCache::with) has not returned. Where these are as many as the capacity
            /// (1,024 at least), nothing is stored.
            pub held: u64,
            /// Workspaces for which a load or an issue is in flight now.
            pub in_flight: u64,
        }

        impl Counters {
            pub(crate) fn snapshot(&self, hits: u64, statements: u64, gauges: Gauges) -> Stats {
                let Gauges { entries, held, in_flight } = gauges;
                Stats {
                    hits,
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    statements,
                    entries,
                    held,
                    in_flight,
                }
            }
        }

        impl Stats {
            /// Returns every number with its name, in a fixed order: for a page, a metric, a log line.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    ("hits", self.hits),
                    $((stringify!($name), self.$name),)*
                    ("statements", self.statements),
                    ("entries", self.entries),
                    ("held", self.held),
                    ("in_flight", self.in_flight),
                ]
                .into_iter()
            }
        }
    };
}

counters! {
    /// Reads that were answered from the database.
    misses,
    /// Reads that the policy answered with a kept value, because it could not or would not ask the database.
    stale,
    /// Reads that the policy answered with a kept value under a new lease, without a SELECT.
    renewed,
    /// Reads that found no secret.
    absent,
    /// Reads that found no secret and were answered with one that was issued for them.
    healed,
    /// Reads and issues past a policy that failed, or that the machine could not run: the host asked the
    /// database directly.
    bypassed,
    /// Reads and issues that ended in an error.
    errors,
    /// Reads and heals that joined a flight.
    joined,
    /// SELECTs, each of one workspace. Several that travel together are one statement.
    selects,
    /// Issues sent to the database: rotations and heals.
    issues,
    /// Loads and issues that were rejected: too many were waiting for the database or for a call of the
    /// policy.
    overloaded,
    /// Calls of the policy.
    policy_calls,
    /// Calls of the policy that trapped, ran for too long or broke a rule.
    policy_faults,
    /// Calls of the policy for which the machine had not enough memory, address space or threads. They cost
    /// the policy nothing, and were answered from the database directly.
    shortages,
    /// Policies that the breaker replaced.
    breaker_trips,
    /// Policies that were replaced because they exceeded a budget of their probation.
    probations_failed,
    /// Loads started by a hit whose lease asked for it.
    refreshes,
    /// Loads started because a secret was presented that was not the cached one.
    rereads,
    /// Entries dropped to stay within the capacity.
    evicted,
    /// Entries dropped because their lease had run out.
    swept,
    /// Components that were compiled for this cache. A component that another cache of the process holds is
    /// shared, and not compiled again.
    compilations,
    /// Swaps of the policy, rollbacks included.
    swaps,
    /// Policies that were refused.
    swaps_refused,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Counts `n`.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    // Relaxed: a number for people, which orders nothing.
    counter.fetch_add(n, Ordering::Relaxed);
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot(0, 0, Gauges::default()).fmt(f)
    }
}
