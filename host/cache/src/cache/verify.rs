//! `verify`: whether a presented secret is the workspace's.
//!
//! A cached secret admits by itself, and does not refuse by itself: another process may have issued the one
//! that is presented. So a secret that does not match is held against the database, seldom enough
//! (`reread.rs`) that a flood of wrong secrets is no flood of statements. A match costs what any hit costs.

use std::sync::Arc;

use super::SecretCache;
use crate::flight::{FlightKind, Join, Waiter};
use crate::stats::count;
use crate::{Error, Instant, Lookup, Status, WorkspaceId};

/// Maximum of loads that one `verify` waits for beside its own read: one that began before it, and one of its
/// own.
const MAX_LOADS: usize = 2;

/// A load that a `verify` waits for.
enum Reread {
    /// A load that this `verify` has begun, with a SELECT.
    Own(Waiter),
    /// A load that another task has begun, perhaps before this `verify`.
    Others(Waiter),
}

impl SecretCache {
    /// Returns whether `presented` is the workspace's secret. It is not where the workspace has none or is
    /// unknown, and the empty secret matches nothing. The time that a comparison takes depends on its length
    /// only.
    ///
    /// A secret that does not match the cached one is held against the database before it is refused, since
    /// another process may have issued it a moment ago: at most once a second for each workspace, and 1,024
    /// times a second in all. Between two of those, and where the database does not answer, what is cached
    /// decides; so does an absence that a policy stored. What is read for this is stored as by any read.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), where nothing is cached; never [`Error::Absent`].
    pub async fn verify(&self, workspace: &WorkspaceId, presented: &[u8]) -> Result<bool, Error> {
        match self.with(workspace, |secret| secret.verify(presented)) {
            Some(true) => return Ok(true),
            Some(false) => {}
            None => {
                let begun_at = self.core.clock.now();
                match self.read(workspace).await {
                    Ok(lookup) if lookup.secret.verify(presented) => return Ok(true),
                    Ok(lookup) if was_read_since(begun_at, &lookup) => return Ok(false),
                    // The secret was kept or issued, or its load had begun before this call.
                    Ok(_) => {}
                    Err(Error::Absent | Error::UnknownWorkspace) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.matches_by_now(workspace, presented).await)
    }

    /// Returns whether a secret that is not the cached one is the stored one.
    async fn matches_by_now(&self, workspace: &WorkspaceId, presented: &[u8]) -> bool {
        let core = &self.core;
        let begun_at = core.clock.now();
        let may_begin = core.rereads.claim(workspace, begun_at);
        for _ in 0..MAX_LOADS {
            let Some(reread) = self.reread(workspace, may_begin) else { break };
            let (is_own, waiter) = match reread {
                Reread::Own(waiter) => (true, waiter),
                Reread::Others(waiter) => (false, waiter),
            };
            match self.wait_for(workspace, FlightKind::Fill, waiter).await {
                Ok(lookup) if lookup.secret.verify(presented) => return true,
                Ok(lookup) if was_read_since(begun_at, &lookup) => return false,
                // The load did not read since this call began, or it failed: a load of its own may say more.
                _ if !is_own && may_begin => {}
                _ => return false,
            }
        }
        // The result of another task's load may have been stored since the entry was looked at.
        matches!(core.stored(workspace), Some(Ok(lookup)) if lookup.secret.verify(presented))
    }

    /// Returns the load that is in flight, or begins one if it may.
    fn reread(&self, workspace: &WorkspaceId, may_begin: bool) -> Option<Reread> {
        let core = &self.core;
        let active = core.rollout.active();
        let generation = active.generation;
        if !may_begin {
            return core.flights.join(workspace, FlightKind::Fill, generation).map(Reread::Others);
        }
        match core.flights.join_or_lead(workspace, FlightKind::Fill, generation, || None) {
            // Nothing is served from the table: its entry is what is in doubt.
            Join::Cached(_) => None,
            Join::Follower(waiter) => Some(Reread::Others(waiter)),
            Join::Leader(waiter, leader) => {
                match core.reading.try_enqueue() {
                    Ok(slot) => {
                        count(&core.counters.rereads);
                        Arc::clone(core).begin_reread(active, leader, slot);
                    }
                    Err(error) => leader.complete_without_store(Err(core.reject(error))),
                }
                Some(Reread::Own(waiter))
            }
        }
    }
}

/// Returns whether the database was asked for the secret at this moment or later. The instant of an issued
/// secret is that of its answer: another secret may have been committed before that.
fn was_read_since(begun_at: Instant, lookup: &Lookup) -> bool {
    matches!(lookup.status, Status::Miss | Status::Bypassed) && lookup.obtained_at >= begun_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn what_was_issued_or_kept_was_not_read_since() {
        let at = Instant::from_nanos;
        let since = |status, obtained: u64| {
            was_read_since(at(5), &Lookup::new(Secret::new("s"), status, at(obtained), at(9)))
        };
        assert!(since(Status::Miss, 5) && since(Status::Bypassed, 6));
        assert!(!since(Status::Miss, 4) && !since(Status::Bypassed, 4));
        let others = [Status::Hit, Status::Renewed, Status::Stale, Status::Healed];
        assert!(others.into_iter().all(|status| !since(status, 9)));
    }
}
