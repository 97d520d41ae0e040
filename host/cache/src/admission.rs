//! Who may ask the policy now, who has to wait, and who is turned away.
//!
//! Each permit comes with an instance of the policy, so there are few, and a queue of a bounded length in front of them: a load
//! that would have to wait behind it is refused at once, while its caller can still do something else. It knows neither what
//! a load does nor for whom, and how many statements are sent is not its business (`batcher.rs`).

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant as Deadline, timeout_at};

use crate::Error;

/// Seats, and a queue in front of them.
pub(crate) struct Admission {
    /// One for each load that runs or waits.
    slots: Arc<Semaphore>,
    /// One for each load under way of those who begin many.
    shares: Arc<Semaphore>,
    /// One for each load that asks the policy. On cache lines of its own: each load writes there, and each hit reads what is
    /// beside it.
    permits: CachePadded<Semaphore>,
}

/// The right to wait for a permit. Dropping it makes room in the queue.
pub(crate) struct QueueSlot {
    #[expect(dead_code, reason = "held for its drop")]
    permit: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held for its drop")]
    share: Option<Share>,
}

/// A share in the loads that callers who begin many may have under way together. It belongs to the load, so
/// that a caller who does not ask how its loads go on keeps nobody else waiting.
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl QueueSlot {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { permit, share: None }
    }

    /// The same for a load of somebody who begins many.
    pub(crate) fn with_share(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }
}

/// Loads under way for each permit on behalf of all callers that begin many: so many that statements are full
/// while the policy is asked about what the last ones brought, and so few that the last of them waits for a
/// few statements only. Half of the queue is left to others in any case.
const LOADS_PER_PERMIT: usize = 4;

impl Admission {
    /// `permits` loads at once, and `queue` more that wait.
    pub(crate) fn new(permits: usize, queue: usize) -> Self {
        let slots = permits.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let shares = permits.saturating_mul(LOADS_PER_PERMIT).min(slots / 2).max(1);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            shares: Arc::new(Semaphore::new(shares)),
            permits: Semaphore::new(permits).into(),
        }
    }

    /// Joins the queue, or says at once that it is full.
    pub(crate) fn try_enqueue(&self) -> Result<QueueSlot, Error> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map(QueueSlot::new).map_err(|_| Error::Overloaded)
    }

    /// Waits for room in the queue, ahead of those who come later.
    pub(crate) async fn enqueue_in_turn(&self) -> Result<QueueSlot, Error> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.map(QueueSlot::new).map_err(|_| Error::Overloaded)
    }

    /// The right to one more load under way of those who begin many, if there is one left.
    pub(crate) fn try_share(&self) -> Option<Share> {
        Arc::clone(&self.shares).try_acquire_owned().ok().map(Share)
    }

    /// Waits for such a right.
    pub(crate) async fn share(&self) -> Result<Share, Error> {
        Arc::clone(&self.shares).acquire_owned().await.map(Share).map_err(|_| Error::Overloaded)
    }

    /// Waits for a permit. One that is not free in time is not needed any more.
    pub(crate) async fn acquire(
        &self,
        _: &QueueSlot,
        deadline: Deadline,
    ) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        match timeout_at(deadline, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Error::Overloaded),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn as_many_run_as_there_are_seats_and_who_finds_the_queue_full_is_told_at_once() {
        let admission = Admission::new(2, 1);
        let deadline = Deadline::now() + Duration::from_secs(1);
        let slots: Vec<QueueSlot> = (0..3).map(|_| admission.try_enqueue().unwrap()).collect();
        assert_eq!(admission.try_enqueue().err(), Some(Error::Overloaded));
        let first = admission.acquire(&slots[0], deadline).await.unwrap();
        let _second = admission.acquire(&slots[1], deadline).await.unwrap();
        assert_eq!(admission.acquire(&slots[2], deadline).await.err(), Some(Error::Overloaded));
        assert!(Deadline::now() >= deadline, "it waited for a permit until its deadline");
        drop(first);
        let later = deadline + Duration::from_secs(1);
        assert!(admission.acquire(&slots[2], later).await.is_ok());
        drop(slots);
        assert!(admission.try_enqueue().is_ok());
    }
}
