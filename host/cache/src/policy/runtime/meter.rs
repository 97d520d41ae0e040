//! The processor time that a call has used, and the limit on it.
//!
//! The limit covers all of a call: the instance that it may need, its configuration, the policy's own code
//! and the host's work for it, but no wait. A policy yields every now and then (`fuel.rs`), and each time the
//! time is checked here, on its own thread. The processor's clock is a system call and so is read only once a
//! call has run for longer than that costs; the time until then is taken from the cheap monotonic clock, up
//! to a bound, since a thread that was preempted there has used less.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use thiserror::Error;

use crate::clock::{monotonic, thread_cpu_time};

/// Maximum length of a turn that is charged by the monotonic clock alone: once a turn took longer, the
/// processor's clock is read from the next turn on.
const SHORT: Duration = Duration::from_micros(50);
/// Maximum charge by the monotonic clock: one instruction can fill the whole memory of an instance.
const UNMEASURED: Duration = Duration::from_millis(2);
/// Margin before its limit at which a call is ended, since it may run on for about as long before the next
/// look.
const MARGIN: Duration = Duration::from_millis(1);
/// Processor time above which a call is a long one.
const LONG: Duration = Duration::from_millis(1);

/// Meter of one instance, which runs one call at a time. All times are in nanoseconds.
// Relaxed everywhere: a call is polled by one thread at a time, and the next thread that polls it
// synchronises with the last.
pub(super) struct Meter {
    limit: u64,
    /// Time that was taken from the monotonic clock.
    estimated: AtomicU64,
    /// Time that the processor's clock has shown.
    measured: AtomicU64,
    /// `true` once the processor's clock is read.
    is_measured: AtomicBool,
}

/// The end of a call that had used up its limit.
#[derive(Debug, Error)]
#[error("it ran for longer than its limit of processor time")]
pub(super) struct OverLimit;

impl Meter {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit: nanos(limit),
            estimated: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            is_measured: AtomicBool::new(false),
        }
    }

    /// Resets the meter: a new call begins.
    pub(super) fn reset(&self) {
        self.estimated.store(0, Ordering::Relaxed);
        self.measured.store(0, Ordering::Relaxed);
        self.is_measured.store(false, Ordering::Relaxed);
    }

    /// Returns whether the call was seen to run for long. A call that was only preempted is not long.
    pub(super) fn is_long(&self) -> bool {
        self.measured.load(Ordering::Relaxed) > nanos(LONG)
    }

    /// Returns the processor time of the call so far. A short call is taken to have run for as long as it
    /// took.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos())
    }

    /// Runs a part of the call under the meter, and leaves it when the call is at its limit.
    pub(super) async fn run<F: Future>(&self, mut part: Pin<&mut F>) -> Result<F::Output, OverLimit> {
        poll_fn(|context| match self.charge(|| part.as_mut().poll(context)) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.used_nanos() + nanos(MARGIN) > self.limit => Poll::Ready(Err(OverLimit)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Charges the processor time of one turn.
    fn charge<T>(&self, turn: impl FnOnce() -> T) -> T {
        if self.is_measured.load(Ordering::Relaxed) {
            let before = thread_cpu_time();
            let result = turn();
            add(&self.measured, nanos(thread_cpu_time().saturating_sub(before)));
            return result;
        }
        let before = monotonic();
        let result = turn();
        let took = monotonic().saturating_sub(before);
        if took > SHORT {
            self.is_measured.store(true, Ordering::Relaxed);
        }
        add(&self.estimated, nanos(took.min(UNMEASURED)).min(self.limit / 4));
        result
    }

    fn used_nanos(&self) -> u64 {
        self.estimated.load(Ordering::Relaxed) + self.measured.load(Ordering::Relaxed)
    }
}

fn add(sum: &AtomicU64, nanos: u64) {
    sum.store(sum.load(Ordering::Relaxed) + nanos, Ordering::Relaxed);
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(10);
    const TURN: Duration = Duration::from_micros(100);

    /// Uses processor time as a policy does, a turn at a time.
    async fn spin_for(span: Duration) {
        let started = thread_cpu_time();
        while thread_cpu_time() - started < span {
            let turn = thread_cpu_time();
            while thread_cpu_time() - turn < TURN {}
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_call_that_never_ends_is_ended_just_before_its_limit() {
        let meter = Meter::new(LIMIT);
        let started = thread_cpu_time();
        assert!(meter.run(pin!(spin_for(Duration::from_secs(1)))).await.is_err(), "it ran for a second");
        let used = thread_cpu_time() - started;
        assert!(used <= LIMIT + 2 * TURN, "{used:?}");
        // Not much earlier either, unless the first turn was preempted.
        assert!(used >= LIMIT - MARGIN - UNMEASURED, "{used:?}");
    }

    #[tokio::test]
    async fn the_parts_of_a_call_have_one_limit() {
        let meter = Meter::new(LIMIT);
        assert!(meter.run(pin!(spin_for(LIMIT / 2))).await.is_ok());
        assert!(meter.run(pin!(spin_for(LIMIT / 2))).await.is_err());
        meter.reset();
        assert!(meter.run(pin!(spin_for(LIMIT / 2))).await.is_ok(), "a new call starts at nothing");
    }

    #[tokio::test]
    async fn a_call_is_long_when_it_was_seen_to_run_for_long() {
        let meter = Meter::new(LIMIT);
        let preempted = async {
            let (_sender, nothing) = std::sync::mpsc::channel::<()>();
            assert!(nothing.recv_timeout(4 * LONG).is_err());
            tokio::task::yield_now().await;
        };
        assert!(meter.run(pin!(preempted)).await.is_ok());
        assert!(!meter.is_long(), "it was preempted");
        assert!(meter.run(pin!(spin_for(2 * LONG))).await.is_ok());
        assert!(meter.is_long());
    }

    #[tokio::test]
    async fn waiting_is_free() {
        let meter = Meter::new(LIMIT);
        assert!(meter.run(pin!(spin_for(LONG))).await.is_ok());
        let wait = tokio::time::timeout(2 * LIMIT, std::future::pending::<()>());
        assert!(
            meter.run(pin!(wait)).await.is_ok_and(|waited| waited.is_err()),
            "20 ms of waiting have used up 10 ms"
        );
    }
}
