//! The SELECTs that wait for a statement, in the order in which they came.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant as Deadline;

use super::waiter::BatchWaiter;
use crate::WorkspaceId;

/// Maximum time that a SELECT waits for the statement before it until one more begins beside that: much
/// longer than a healthy statement takes, and a hundredth of what a load may wait by default.
pub(super) const LINGER: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Queue {
    pub(super) pending: VecDeque<Pending>,
    /// Statements in flight. A task that has sent one sends the next one when it has ended, hands that on to
    /// a worker, or leaves it to a newer worker.
    pub(super) in_flight: usize,
    /// The number of SELECTs that have waited so far, which is the number of the next one.
    pub(super) count: u64,
    /// The number of batches that workers have sent so far.
    pub(super) sent: u64,
    /// The last of those batches, while it is in flight.
    pub(super) newest: Option<u64>,
}

pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) workspace: WorkspaceId,
    pub(super) since: Deadline,
    /// The moment after which nothing waits for the answer any more.
    pub(super) deadline: Deadline,
    pub(super) waiter: BatchWaiter,
}

impl Pending {
    pub(super) fn has_no_patience(&self, now: Deadline) -> bool {
        now.duration_since(self.since) >= LINGER
    }
}

impl Queue {
    /// Finds the position of a pending SELECT. Numbers rise from the front to the back.
    pub(super) fn position(&self, number: u64) -> Result<usize, usize> {
        self.pending.binary_search_by_key(&number, |pending| pending.number)
    }
}
