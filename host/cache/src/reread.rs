//! The pace at which cached secrets are held against the database because others were presented.
//!
//! Any client may present wrong secrets, in any number. The cost to the database is bounded here, for each
//! workspace and in all, and so is what has to be remembered for it. This file knows neither secrets nor
//! statements.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::{Instant, WorkspaceId};

/// The time between two rereads of one workspace: a secret that another process issued is refused for no
/// longer than this, and wrong secrets cost no more than a heartbeat a second would without a cache.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum of workspaces that are read again within a pause; one more waits for the next. Even a flood over
/// all workspaces costs the database no more than some statements of a hundred workspaces each.
const MAX_RECENT: usize = 1_024;

/// The workspaces that were held against the database within the last pause.
#[derive(Default)]
pub(crate) struct Rereads(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// The claims, in the order in which they were made.
    claims: VecDeque<(Instant, WorkspaceId)>,
    workspaces: HashSet<WorkspaceId, RandomState>,
}

impl Rereads {
    /// Returns whether the workspace may be read again at `now`. If so, its pause begins.
    pub(crate) fn claim(&self, workspace: &WorkspaceId, now: Instant) -> bool {
        // Each change below is complete or not begun.
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over =
            |(claimed_at, _): &mut (Instant, WorkspaceId)| now.saturating_since(*claimed_at) >= PAUSE;
        while let Some((_, old)) = recent.claims.pop_front_if(is_over) {
            recent.workspaces.remove(&old);
        }
        if recent.workspaces.len() >= MAX_RECENT || !recent.workspaces.insert(workspace.clone()) {
            return false;
        }
        recent.claims.push_back((now, workspace.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> WorkspaceId {
        WorkspaceId::new(format!("w{n}")).unwrap()
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn each_workspace_is_read_again_once_a_second() {
        let rereads = Rereads::default();
        assert!(rereads.claim(&id(1), at(0)) && rereads.claim(&id(2), at(500)));
        assert!(!rereads.claim(&id(1), at(999)) && !rereads.claim(&id(2), at(1_499)));
        assert!(rereads.claim(&id(1), at(1_000)) && rereads.claim(&id(2), at(1_500)));
        assert!(!rereads.claim(&id(1), at(1_999)));
    }

    #[test]
    fn no_more_is_remembered_than_a_second_allows() {
        let rereads = Rereads::default();
        let claimed = |ms| (0..2 * MAX_RECENT).filter(|n| rereads.claim(&id(*n), at(ms))).count();
        assert_eq!((claimed(0), claimed(999), claimed(1_000)), (MAX_RECENT, 0, MAX_RECENT));
        let recent = rereads.0.lock().unwrap();
        assert_eq!((recent.claims.len(), recent.workspaces.len()), (MAX_RECENT, MAX_RECENT));
    }
}
