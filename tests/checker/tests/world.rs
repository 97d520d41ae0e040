//! The state that the tasks of a segment share: the cache, the clock, and the keys that were seen lately.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use leasehold::{Policy, Secret, SecretCache, WorkspaceId};
use leasehold_checker::{Content, Did, Operation, Span, ValueId};
use tokio::time::Instant;

use crate::policies;
use crate::slow::Losses;
use crate::tally::Tally;
use crate::transactions::Transactions;

/// Number of workspaces, few enough that several tasks meet on each at once.
pub(crate) const WORKSPACES: usize = 128;
/// Number of workspaces that take a third of the operations; another third is on a single one.
const HOT: usize = 6;

/// Old keys of a workspace that are presented again.
const RECENT: usize = 6;

pub(crate) struct World {
    pub(crate) cache: SecretCache,
    pub(crate) ids: Vec<WorkspaceId>,
    pub(crate) policies: Vec<Policy>,
    began: Instant,
    pub(crate) losses: Arc<Losses>,
    pub(crate) transactions: Transactions,
    recent: Vec<Mutex<VecDeque<Arc<str>>>>,
    /// Operations of this round that no caller has begun.
    left: AtomicU64,
}

/// The operations and observations of one task.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) operations: Vec<Operation>,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(
        cache: SecretCache,
        began: Instant,
        losses: Arc<Losses>,
        transactions: Transactions,
    ) -> Self {
        let id = |number| WorkspaceId::new(format!("w{number}")).expect("a good id");
        Self {
            cache,
            ids: (0..WORKSPACES).map(id).collect(),
            policies: policies::all(),
            began,
            losses,
            transactions,
            recent: (0..WORKSPACES).map(|_| Mutex::default()).collect(),
            left: AtomicU64::new(0),
        }
    }

    /// Returns the moment, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.began)
    }

    pub(crate) fn begin_round(&self, operations: u64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    /// Takes one operation of the round, if there is one left.
    pub(crate) fn claim(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Returns a workspace for the next operation.
    pub(crate) fn draw_workspace(rng: &mut fastrand::Rng) -> usize {
        let bound = [1, HOT, WORKSPACES][rng.usize(..3)];
        rng.usize(..bound)
    }

    pub(crate) fn remember(&self, workspace: usize, text: &str) {
        let mut recent = self.recent[workspace].lock().unwrap_or_else(PoisonError::into_inner);
        if recent.back().is_some_and(|last| **last == *text) {
            return;
        }
        recent.push_back(text.into());
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }

    /// Returns the last key that was seen of the workspace, or one from before it.
    pub(crate) fn recall(&self, workspace: usize, rng: &mut fastrand::Rng) -> Option<Arc<str>> {
        let recent = self.recent[workspace].lock().unwrap_or_else(PoisonError::into_inner);
        let age = if rng.bool() { 0 } else { rng.usize(..RECENT) };
        recent.iter().nth_back(age).or(recent.back()).cloned()
    }
}

impl Log {
    pub(crate) fn note(&mut self, workspace: usize, (start, end): (u64, u64), did: Did) {
        self.operations.push(Operation { workspace, span: Span { start, end }, did });
    }
}

/// Returns the time since `began`. A clock and not a counter: a counter that all tasks share would order more
/// than they would without it.
pub(crate) fn nanos(began: Instant) -> u64 {
    began.elapsed().as_nanos().try_into().expect("not for centuries")
}

pub(crate) fn value(secret: &Secret) -> ValueId {
    ValueId::of(text(secret))
}

pub(crate) fn content(secret: &Secret) -> Content {
    Content::Value(value(secret))
}

pub(crate) fn text(secret: &Secret) -> &str {
    secret.expose_str().expect("the column holds text")
}
