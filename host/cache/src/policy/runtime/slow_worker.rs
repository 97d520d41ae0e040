//! A thread of its own for calls that take long, so that a policy that spins holds up no task of the server.
//!
//! A call begins where its caller is, since a change of threads costs more than most calls. A call that still
//! runs after a millisecond goes on here, and where a policy has been slow lately its calls begin here. All
//! of them share one thread, of low priority: that is the most that slow calls can take from a server. This
//! file knows nothing of what a call does.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::thread;

use tokio::runtime::{Builder, Handle};

use super::priority::{SLOW_CALLS, lower_priority};

/// The thread for long calls. It lives as long as the process.
pub(super) struct SlowWorker(Handle);

/// Number of a policy's next calls that begin in the slow worker.
#[derive(Default)]
pub(super) struct Slowness(AtomicU32);

impl SlowWorker {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let slow_worker = Self(runtime.handle().clone());
        thread::Builder::new().name("leasehold-slow".into()).spawn(move || {
            lower_priority(SLOW_CALLS);
            runtime.block_on(std::future::pending::<()>());
        })?;
        Ok(slow_worker)
    }

    /// Runs a call where the caller is until it `is_long`, and from then on here.
    pub(super) async fn run_if_long<T: Send + 'static>(
        &self,
        mut call: Pin<Box<impl Future<Output = T> + Send + 'static>>,
        is_long: impl Fn() -> bool,
    ) -> T {
        let done = poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if is_long() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match done.await {
            Some(done) => done,
            None => self.run(call).await,
        }
    }

    /// Runs a call here.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        mut call: Pin<Box<impl Future<Output = T> + Send + 'static>>,
    ) -> T {
        // The timers that it waits for are those of its caller's runtime.
        let home = Handle::current();
        let task = self.0.spawn(async move {
            poll_fn(|context| {
                let _home = home.enter();
                call.as_mut().poll(context)
            })
            .await
        });
        // The slow worker is never shut down, and nothing aborts the task: what is left is a panic.
        task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }
}

impl Slowness {
    /// Number of quick calls in a row after which a policy that was slow is trusted again.
    const MEMORY: u32 = 64;

    pub(super) fn is_slow(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Notes a call. Of two at once one may go uncounted, which only delays the result of `is_slow`.
    pub(super) fn note(&self, was_long: bool) {
        // Relaxed: a number that orders nothing else.
        let slow = self.0.load(Ordering::Relaxed);
        if was_long {
            self.0.store(Self::MEMORY, Ordering::Relaxed);
        } else if slow > 0 {
            self.0.store(slow - 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn a_short_call_ends_where_it_began_and_a_long_one_in_the_lane() {
        let slow_worker = SlowWorker::start().unwrap();
        let home = here();
        assert_eq!(slow_worker.run_if_long(Box::pin(async { here() }), || true).await, home);
        let call = async {
            tokio::task::yield_now().await;
            here()
        };
        assert_eq!(slow_worker.run_if_long(Box::pin(call), || true).await.as_deref(), Some("leasehold-slow"));
        assert_eq!(slow_worker.run(Box::pin(async { here() })).await.as_deref(), Some("leasehold-slow"));
    }

    #[tokio::test]
    async fn a_call_in_the_lane_waits_by_the_timers_of_its_caller() {
        tokio::time::pause();
        let slow_worker = SlowWorker::start().unwrap();
        let minute = std::time::Duration::from_secs(60);
        let before = tokio::time::Instant::now();
        let never = async move { tokio::time::timeout(minute, std::future::pending::<()>()).await };
        assert!(slow_worker.run(Box::pin(never)).await.is_err());
        assert!(before.elapsed() >= minute);
    }

    #[test]
    fn a_policy_is_slow_until_enough_of_its_calls_were_quick() {
        let slowness = Slowness::default();
        slowness.note(false);
        assert!(!slowness.is_slow());
        slowness.note(true);
        for _ in 0..Slowness::MEMORY {
            assert!(slowness.is_slow());
            slowness.note(false);
        }
        assert!(!slowness.is_slow());
    }
}
