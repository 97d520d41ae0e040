//! A look at one entry, for an operator: what is kept of a workspace, and under which lease, without its
//! value.
//!
//! It asks no policy and no database, counts as no hit and asks for no refresh. Nothing is decided by it: a
//! moment later the entry may be another one.

use std::time::Duration;

use super::SecretCache;
use crate::WorkspaceId;
use crate::lease::{Cover, cover};
use crate::table::Entry;

/// Facts about what is kept of one workspace at one moment, without the value; see [`SecretCache::entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// State of the entry at this moment.
    pub state: EntryState,
    /// The time since the value was obtained.
    pub age: Duration,
    /// The time for which the host goes on to answer without asking the policy; zero where it does not.
    pub fresh_for: Duration,
    /// The time for which the entry is kept for a policy to look at.
    pub keep_for: Duration,
    /// The generation of the policy that granted the lease, as in
    /// [`PolicyStatus::generation`](crate::PolicyStatus::generation).
    pub generation: u64,
}

/// State of an entry, by what a read would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryState {
    /// A secret under a lease: a read is a hit.
    Fresh,
    /// A secret that no lease covers any more, because its time is over or another policy is active: a read
    /// asks the policy, which may answer with it.
    Stale,
    /// The absence of a secret, under a lease: a read is told so.
    Absent,
    /// The absence of a secret, which no lease covers any more.
    StaleAbsent,
}

impl EntryState {
    /// Returns the word for logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Absent => "absent",
            Self::StaleAbsent => "stale-absent",
        }
    }
}

impl SecretCache {
    /// Returns what is kept of a workspace, without its value; `None` if nothing is. It is no read: no lease
    /// is extended, no hit is counted, no refresh begins.
    #[must_use]
    pub fn entry(&self, workspace: &WorkspaceId) -> Option<EntryInfo> {
        let core = &self.core;
        let (now, moment) = (core.clock.now(), core.moment());
        core.table.describe(workspace, now, |entry: &Entry| {
            let is_covered = cover(&entry.lease, entry.generation, moment) != Cover::Expired;
            let state = match (&entry.value, is_covered) {
                (Some(_), true) => EntryState::Fresh,
                (Some(_), false) => EntryState::Stale,
                (None, true) => EntryState::Absent,
                (None, false) => EntryState::StaleAbsent,
            };
            let fresh_for = entry.lease.fresh_until.saturating_since(now);
            EntryInfo {
                state,
                age: now.saturating_since(entry.obtained_at),
                fresh_for: if is_covered { fresh_for } else { Duration::ZERO },
                keep_for: entry.lease.keep_until.saturating_since(now),
                generation: entry.generation.number(),
            }
        })
    }
}
