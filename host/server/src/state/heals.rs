//! The heals that are to be recorded: each once, and no more at a time than there is room for.
//!
//! A heartbeat that heals waits for no disk. So the lines of heals are counted while they wait, and where too
//! many do, because the disk stands still, the next ones are lost and their number is recorded instead.
//! Heartbeats that wait for one heal together are each told of it; its line is written for the first.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use leasehold::{Secret, WorkspaceId};
use sha2::{Digest as _, Sha256};

/// Maximum number of heals whose lines wait to be written: some three megabytes.
const MAX_WAITING: usize = 10_000;
/// Number of heals that are remembered, twice: more than are in flight at a time.
const MAX_RECENT: usize = 4_096;

/// The hash of a secret that was healed; `None` where it is not known whether one was.
type HealedHash = Option<[u8; 32]>;

/// The heals of a server.
#[derive(Default)]
pub(super) struct Heals {
    waiting: AtomicUsize,
    lost: AtomicU64,
    recent: Mutex<RecentHeals>,
}

#[derive(Default)]
struct RecentHeals {
    young: HashMap<WorkspaceId, HealedHash>,
    old: HashMap<WorkspaceId, HealedHash>,
}

/// Fate of the line of a heal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealLine {
    /// It is to be written.
    Wanted,
    /// It was written, or waits to be.
    Known,
    /// There is no room for it. The first of several in a row says so in the log.
    Lost { first: bool },
}

impl Heals {
    /// Takes a place for the line of a heal, if it is one that is not known yet.
    pub(super) fn take_place(&self, workspace: &WorkspaceId, secret: Option<&Secret>) -> HealLine {
        let hash = secret.map(|secret| Sha256::digest(secret.expose()).into());
        // A panic cannot leave the maps half-written.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if !recent.is_news(workspace, hash) {
            return HealLine::Known;
        }
        drop(recent);
        // Relaxed: counts that order nothing; one line more or less is no matter.
        if self.waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING {
            return HealLine::Wanted;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        HealLine::Lost { first: self.lost.fetch_add(1, Ordering::Relaxed) == 0 }
    }

    /// Gives the place back of a line that was written.
    pub(super) fn give_back(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns how many were lost since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl RecentHeals {
    fn is_news(&mut self, workspace: &WorkspaceId, hash: HealedHash) -> bool {
        let known = self.young.get(workspace).or_else(|| self.old.get(workspace));
        if known == Some(&hash) {
            return false;
        }
        if self.young.len() >= MAX_RECENT {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(workspace.clone(), hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(id: &str) -> WorkspaceId {
        WorkspaceId::new(id).unwrap()
    }

    #[test]
    fn a_heal_is_known_from_then_on_and_the_next_one_of_its_workspace_is_another() {
        let (heals, id) = (Heals::default(), workspace("w"));
        let (one, two) = (Secret::new("one"), Secret::new("two"));
        for (secret, expected) in [
            (Some(&one), HealLine::Wanted),
            (Some(&one), HealLine::Known),
            (None, HealLine::Wanted),
            (None, HealLine::Known),
            (Some(&two), HealLine::Wanted),
        ] {
            assert_eq!(heals.take_place(&id, secret), expected);
        }
        assert_eq!(heals.take_place(&workspace("v"), Some(&two)), HealLine::Wanted);
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted_and_room_comes_back() {
        let (heals, secret) = (Heals::default(), Secret::new("s"));
        let take = |n: usize| heals.take_place(&workspace(&format!("w-{n}")), Some(&secret));
        assert!((0..MAX_WAITING).all(|n| take(n) == HealLine::Wanted));
        assert_eq!(take(MAX_WAITING), HealLine::Lost { first: true });
        assert_eq!(take(MAX_WAITING + 1), HealLine::Lost { first: false });
        heals.give_back();
        assert_eq!(take(MAX_WAITING + 2), HealLine::Wanted);
        assert_eq!((heals.take_lost(), heals.take_lost()), (2, 0));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut recent = RecentHeals::default();
        for n in 0..3 * MAX_RECENT {
            assert!(recent.is_news(&workspace(&format!("w-{n}")), None));
        }
        assert!(recent.young.len() <= MAX_RECENT && recent.old.len() <= MAX_RECENT);
    }
}
