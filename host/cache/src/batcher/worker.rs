//! A place among the statements under way: whoever has it sends one after the other until nobody waits.

use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::Instant as Deadline;

use super::{Batcher, Pending, Queue};

/// The right to send statements, one after the other.
pub(super) struct Worker {
    batcher: Arc<Batcher>,
    is_held: bool,
    /// The number of the last one that it has sent, if it has.
    sent: Option<u64>,
}

impl Worker {
    /// One that has been counted.
    pub(super) fn of(batcher: &Arc<Batcher>) -> Self {
        Self { batcher: Arc::clone(batcher), is_held: true, sent: None }
    }

    /// Sends statements until nobody waits, or others send them.
    pub(super) async fn send_all(mut self) {
        while let Some(batch) = self.take() {
            self.batcher.send(batch).await;
            // Those who were answered may ask again before the next one goes, and travel along: their loads go on in the one
            // turn, and most of them in the other.
            yield_now().await;
            yield_now().await;
        }
    }

    /// The next of those that wait, as many as one statement asks for. Where there are none the place is given up, in the
    /// same critical section: whoever comes next finds it free. So it is where they are not worth a statement and a younger
    /// one is under way: when that ends they go with all who have come until then, unless their patience ends before.
    fn take(&mut self) -> Option<Vec<Pending>> {
        let mut queue = self.batcher.queue();
        self.ends_its_statement(&mut queue);
        let are_few = queue.pending.len() < self.batcher.min_batch();
        let are_patient = !queue.pending.front().is_some_and(|first| first.has_no_patience(Deadline::now()));
        if queue.pending.is_empty() || (are_few && are_patient && queue.newest.is_some()) {
            queue.in_flight -= 1;
            self.is_held = false;
            return None;
        }
        queue.sent += 1;
        (self.sent, queue.newest) = (Some(queue.sent), Some(queue.sent));
        let count = queue.pending.len().min(self.batcher.batch_size);
        Some(queue.pending.drain(..count).collect())
    }

    fn ends_its_statement(&self, queue: &mut Queue) {
        if queue.newest == self.sent {
            queue.newest = None;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_held {
            // The runtime is being shut down, and would take no other task: nobody is to wait for one.
            let mut queue = self.batcher.queue();
            self.ends_its_statement(&mut queue);
            queue.in_flight -= 1;
            let pending = std::mem::take(&mut queue.pending);
            // Whoever is told by being dropped is told outside the lock.
            drop(queue);
            drop(pending);
        }
    }
}
