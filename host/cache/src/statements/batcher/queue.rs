//! The SELECTs that wait for a statement, in the order in which they came.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant as Deadline;

use super::waiter::BatchWaiter;
use crate::WorkspaceId;

/// How long one waits for the statement before it until one more begins beside that: much longer than one takes that nothing is
/// wrong with, and a hundredth of what a load may wait by default.
pub(super) const LINGER: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Queue {
    pub(super) pending: VecDeque<Pending>,
    /// Statements. Who sends one sends the next one when it has ended, sees to it that it is sent, or leaves it to a younger
    /// one.
    pub(super) in_flight: usize,
    /// How many have waited so far: the number of the next one.
    pub(super) count: u64,
    /// How many times those who wait have been sent on their way.
    pub(super) sent: u64,
    /// The last one of those statements, while it is under way.
    pub(super) newest: Option<u64>,
}

pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) workspace: WorkspaceId,
    pub(super) since: Deadline,
    /// When nobody waits for it any more.
    pub(super) deadline: Deadline,
    pub(super) waiter: BatchWaiter,
}

impl Pending {
    pub(super) fn has_no_patience(&self, now: Deadline) -> bool {
        now.duration_since(self.since) >= LINGER
    }
}

impl Queue {
    /// Where one waits. Numbers rise from the front to the back.
    pub(super) fn position(&self, number: u64) -> Result<usize, usize> {
        self.pending.binary_search_by_key(&number, |pending| pending.number)
    }
}
