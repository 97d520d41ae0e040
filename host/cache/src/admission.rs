//! Admission of loads: which ask the policy now, which wait, and which are rejected.
//!
//! Each permit comes with an instance of the policy, so permits are few, with a queue of bounded length in
//! front of them: a load that would have to wait behind it is rejected at once, while its caller can still do
//! something else. Admission knows neither what a load does nor for whom, and does not decide how many
//! statements are sent (`batcher.rs`).

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::Error;
use crate::sync::{Deadline, timeout_at};

/// Permits, and a queue in front of them.
pub(crate) struct Admission {
    /// Queue slots: one for each load that runs or waits.
    slots: Arc<Semaphore>,
    /// Shares: one for each load in flight of the callers that begin many.
    shares: Arc<Semaphore>,
    /// Permits: one for each load that asks the policy. They have cache lines of their own: each load writes
    /// there, and each hit reads what is beside them.
    permits: CachePadded<Semaphore>,
}

/// The right to wait for a permit. Dropping it makes room in the queue.
pub(crate) struct QueueSlot {
    #[expect(dead_code, reason = "held for its drop")]
    permit: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held for its drop")]
    share: Option<Share>,
}

/// A share in the loads that callers that begin many may have in flight together. It belongs to the load, so
/// that a caller that does not ask how its loads go on keeps no other caller waiting.
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl QueueSlot {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { permit, share: None }
    }

    /// Adds the share of a load whose caller begins many.
    pub(crate) fn with_share(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }
}

/// Loads in flight for each permit on behalf of all callers that begin many: enough that statements are full
/// while the policy is asked about the rows of the last ones, and few enough that the last of the loads waits
/// for a few statements only. Half of the slots are left to others in any case.
const LOADS_PER_PERMIT: usize = 4;

impl Admission {
    /// Makes room for `permits` loads at once, and `queue` more that wait.
    pub(crate) fn new(permits: usize, queue: usize) -> Self {
        let slots = permits.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let shares = permits.saturating_mul(LOADS_PER_PERMIT).min(slots / 2).max(1);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            shares: Arc::new(Semaphore::new(shares)),
            permits: Semaphore::new(permits).into(),
        }
    }

    /// Joins the queue, or fails at once if it is full.
    pub(crate) fn try_enqueue(&self) -> Result<QueueSlot, Error> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map(QueueSlot::new).map_err(|_| Error::Overloaded)
    }

    /// Waits for a slot in the queue, ahead of the loads that come later.
    pub(crate) async fn enqueue_in_turn(&self) -> Result<QueueSlot, Error> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.map(QueueSlot::new).map_err(|_| Error::Overloaded)
    }

    /// Takes a share for one more load of a caller that begins many, if there is one left.
    pub(crate) fn try_share(&self) -> Option<Share> {
        Arc::clone(&self.shares).try_acquire_owned().ok().map(Share)
    }

    /// Waits for a share.
    pub(crate) async fn share(&self) -> Result<Share, Error> {
        Arc::clone(&self.shares).acquire_owned().await.map(Share).map_err(|_| Error::Overloaded)
    }

    /// Waits for a permit until `deadline`: a permit that is not free in time is not needed any more.
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
    async fn as_many_run_as_there_are_permits_and_a_full_queue_rejects_at_once() {
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
