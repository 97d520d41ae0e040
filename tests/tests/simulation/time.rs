//! Virtual time: the paused clock of the run's own runtime, and the cache's clock read off the same hands.
//!
//! Time passes only when every task waits, and then jumps to the next moment that one of them waits for: no
//! real time is spent. The cache's clock is a view of the runtime's, so that deadlines and leases can never
//! disagree.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use leasehold::{Clock, Instant};
use tokio::time::{Instant as Virtual, timeout_at};

/// The start of the cache's clock: not at zero, and not on a whole millisecond.
const EPOCH_NS: u64 = 7_000_654_321;
/// The resolution of the clock that hits are served by; it rounds up.
const COARSE_NS: u64 = 4_000_000;

/// The time of one run. Clones are hands of the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    origin: Virtual,
    suspended_ms: Arc<AtomicU64>,
}

impl Time {
    /// Starts at zero. The runtime's clock must be paused.
    pub(crate) fn start() -> Self {
        Self { origin: Virtual::now(), suspended_ms: Arc::default() }
    }

    /// Returns the milliseconds since the start.
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from((Virtual::now() - self.origin).as_millis()).expect("a run takes minutes")
    }

    /// Waits for a moment. A moment that has passed is not waited for at all.
    pub(crate) async fn until(&self, ms: u64) {
        if ms > self.ms() {
            // The timeout always ends by the deadline: that is the wait.
            let _ = timeout_at(self.origin + Duration::from_millis(ms), pending::<()>()).await;
        }
    }

    /// Waits for so long. Zero is no wait: no other task runs in between.
    pub(crate) async fn pass(&self, ms: u64) {
        self.until(self.ms() + ms).await;
    }

    /// Suspends the machine: the clock does not move, and only says so.
    pub(crate) fn suspend(&self, ms: u64) {
        self.suspended_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        let since = u64::try_from((Virtual::now() - self.origin).as_nanos()).expect("a run takes minutes");
        Instant::from_nanos(EPOCH_NS + since)
    }

    fn now_coarse(&self) -> Instant {
        Instant::from_nanos(self.now().as_nanos().next_multiple_of(COARSE_NS))
    }

    fn suspended(&self) -> Duration {
        Duration::from_millis(self.suspended_ms.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// Goes to the end of the queue of tasks that can run: every other task takes one step, at the same moment.
pub(crate) async fn step_aside() {
    let mut aside = false;
    poll_fn(|context| {
        if std::mem::replace(&mut aside, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future until it has been left pending so many times, and drops it there.
pub(crate) async fn cut<T>(polls: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left = left.saturating_sub(1);
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}
