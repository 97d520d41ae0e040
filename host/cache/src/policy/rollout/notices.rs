//! Notices to the program's own observer about changes of the policy: in the order of the changes, outside
//! all locks.
//!
//! A change puts its notice here under the lock of the history, and delivers it once that lock is gone. One
//! task delivers at a time, including the notices that others put in meanwhile. The observer is not ours: it
//! may take its time, look at the cache, change the policy and panic.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::error;

use crate::policy::report::{PolicyChange, RetainedPolicy, SwapRecord};

/// Callback that is notified of every change, in order.
pub(crate) type Observer = Box<dyn Fn(&PolicyChange<'_>) + Send + Sync>;

thread_local! {
    /// `true` while this thread is in an observer.
    static OBSERVES: Cell<bool> = const { Cell::new(false) };
}

/// A change and the policies as they were at its moment.
pub(super) struct Notice {
    pub(super) record: SwapRecord,
    pub(super) active: RetainedPolicy,
    pub(super) previous: Vec<RetainedPolicy>,
    pub(super) highest_revision: u64,
}

pub(super) struct Notices {
    observer: Option<Observer>,
    outbox: Mutex<Outbox>,
    /// Number of delivered notices.
    delivered: watch::Sender<u64>,
}

#[derive(Default)]
struct Outbox {
    /// Notices to be delivered: one for each change whose caller waits, and a few for changes that the host
    /// made by itself.
    waiting: VecDeque<Notice>,
    put_in: u64,
    is_delivering: bool,
}

impl Notices {
    pub(super) fn new(observer: Option<Observer>) -> Self {
        Self { observer, outbox: Mutex::default(), delivered: watch::Sender::new(0) }
    }

    /// Returns whether there is an observer.
    pub(super) fn is_wanted(&self) -> bool {
        self.observer.is_some()
    }

    /// Puts in a notice. The caller holds the lock that orders the changes.
    pub(super) fn put_in(&self, notice: Notice) {
        let mut outbox = self.outbox();
        outbox.waiting.push_back(notice);
        outbox.put_in += 1;
    }

    /// Delivers the notices that were put in, unless another task is delivering. The caller holds no lock.
    pub(super) fn deliver(&self) {
        let Some(observer) = &self.observer else { return };
        let mut is_mine = false;
        while let Some(notice) = self.next(&mut is_mine) {
            let Notice { record, active, previous, highest_revision } = notice;
            let change = PolicyChange { record: &record, active, previous, highest_revision };
            OBSERVES.set(true);
            // Nothing of ours is shared with it but the change.
            let observed = catch_unwind(AssertUnwindSafe(|| observer(&change)));
            OBSERVES.set(false);
            if observed.is_err() {
                let cause = record.cause.as_str();
                // The log's subscriber is the program's own too, and no other task delivers until this is
                // over.
                let _ = catch_unwind(|| {
                    error!(cause, "the observer of policy changes panicked; the change stands");
                });
            }
            self.delivered.send_modify(|delivered| *delivered += 1);
        }
    }

    /// Waits until the notices that were put in before are delivered. An observer that waits for a change of
    /// its own does not wait for itself.
    pub(super) async fn delivered(&self) {
        if self.observer.is_none() || OBSERVES.get() {
            return;
        }
        let put_in = self.outbox().put_in;
        // It can fail only once `self` has gone.
        let _ = self.delivered.subscribe().wait_for(|delivered| *delivered >= put_in).await;
    }

    /// Returns the next notice to deliver: the task that took the first one delivers (`is_mine`) until there
    /// is none left.
    fn next(&self, is_mine: &mut bool) -> Option<Notice> {
        let mut outbox = self.outbox();
        if outbox.is_delivering && !*is_mine {
            return None;
        }
        let next = outbox.waiting.pop_front();
        (outbox.is_delivering, *is_mine) = (next.is_some(), next.is_some());
        next
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Nothing that may panic is done under the lock.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
