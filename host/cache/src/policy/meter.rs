//! How much processor time a call has used, and when that is too much.
//!
//! The limit covers all of a call: the instance that it may need, its configuration, the policy's own code and the host's
//! work for it, but no wait. A call of microseconds is not worth two system calls to be measured, so the processor's
//! clock is read only once a call has met the ticker; what it used until then is taken from the cheap monotonic clock,
//! up to a bound, since a thread that was preempted there has used less.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::ticker::TICK;
use crate::clock::{monotonic, thread_cpu_time};

/// The most that is charged for the time before a call first meets the ticker: a tick, and the longest instruction that
/// cannot be interrupted, which fills the whole memory of an instance.
const UNMEASURED: Duration = Duration::from_millis(3);

/// One for each instance: it runs one call at a time. All in nanoseconds.
// Relaxed everywhere: a call is polled by one thread at a time, and whoever polls it next synchronises with the last.
pub(super) struct Meter {
    limit: u64,
    used: AtomicU64,
    /// When the call last went on, by the monotonic clock.
    resumed_at: AtomicU64,
    /// The thread's processor time when it was last looked at, if the call has met the ticker.
    seen_at: AtomicU64,
    /// Whether the call has met the ticker.
    is_measured: AtomicBool,
    /// Whether it was seen to run for most of a tick.
    is_long: AtomicBool,
}

/// What becomes of a call that has met the ticker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoesOn,
    /// The other tasks of its thread have waited for a tick.
    Yields,
    /// It would be over the limit by the next tick.
    Ends,
}

impl Meter {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit: nanos(limit),
            used: AtomicU64::new(0),
            resumed_at: AtomicU64::new(0),
            seen_at: AtomicU64::new(0),
            is_measured: AtomicBool::new(false),
            is_long: AtomicBool::new(false),
        }
    }

    /// A new call begins.
    pub(super) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
        self.is_measured.store(false, Ordering::Relaxed);
        self.is_long.store(false, Ordering::Relaxed);
    }

    /// Whether the call was seen to run for most of a tick at once.
    pub(super) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
    }

    /// The processor time of the call so far. A short one is taken to have run for as long as it took.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Runs a part of the call under the meter.
    pub(super) async fn run<F: Future>(&self, part: F) -> F::Output {
        let mut part = pin!(part);
        poll_fn(|context| {
            self.resume();
            let polled = part.as_mut().poll(context);
            self.pause();
            polled
        })
        .await
    }

    /// To be asked at each tick that the call meets.
    pub(super) fn tick(&self) -> Verdict {
        let ran = if self.is_measured.swap(true, Ordering::Relaxed) {
            self.measure()
        } else {
            // Perhaps it was only preempted: the next tick knows.
            self.charge(self.unmeasured());
            self.seen_at.store(nanos(thread_cpu_time()), Ordering::Relaxed);
            0
        };
        let is_long = ran > nanos(TICK) / 2;
        if is_long {
            self.is_long.store(true, Ordering::Relaxed);
        }
        if self.used.load(Ordering::Relaxed) + nanos(TICK) > self.limit {
            Verdict::Ends
        } else if is_long {
            Verdict::Yields
        } else {
            Verdict::GoesOn
        }
    }

    fn resume(&self) {
        if self.is_measured.load(Ordering::Relaxed) {
            self.seen_at.store(nanos(thread_cpu_time()), Ordering::Relaxed);
        } else {
            self.resumed_at.store(nanos(monotonic()), Ordering::Relaxed);
        }
    }

    fn pause(&self) {
        if self.is_measured.load(Ordering::Relaxed) {
            self.measure();
        } else {
            self.charge(self.unmeasured());
        }
    }

    /// Charges what the thread has used since it was last looked at.
    fn measure(&self) -> u64 {
        let now = nanos(thread_cpu_time());
        let ran = now.saturating_sub(self.seen_at.swap(now, Ordering::Relaxed));
        self.charge(ran);
        ran
    }

    fn unmeasured(&self) -> u64 {
        let passed = nanos(monotonic()).saturating_sub(self.resumed_at.load(Ordering::Relaxed));
        passed.min(nanos(UNMEASURED)).min(self.limit / 4)
    }

    fn charge(&self, ran: u64) {
        self.used.store(self.used.load(Ordering::Relaxed) + ran, Ordering::Relaxed);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses processor time as a policy would that never ends, a tick at a time.
    fn spin_until(meter: &Meter, wanted: Verdict) -> Duration {
        let started = thread_cpu_time();
        loop {
            let tick = thread_cpu_time();
            while thread_cpu_time() - tick < TICK {}
            if meter.tick() == wanted {
                return thread_cpu_time() - started;
            }
            assert!(thread_cpu_time() - started < Duration::from_secs(1), "it never said {wanted:?}");
        }
    }

    #[tokio::test]
    async fn a_call_that_never_ends_is_ended_in_the_last_tick_of_its_limit() {
        let limit = Duration::from_millis(10);
        let meter = Meter::new(limit);
        let used = meter.run(async { spin_until(&meter, Verdict::Ends) }).await;
        assert!(used <= limit + 2 * TICK, "{used:?}");
        // Not much earlier either, unless the machine was so busy that the bound on what is not measured came in.
        assert!(used >= limit - UNMEASURED - 2 * TICK, "{used:?}");
    }

    #[tokio::test]
    async fn the_first_tick_is_nobodys_fault_and_the_second_yields() {
        let meter = Meter::new(Duration::from_millis(20));
        meter
            .run(async {
                assert_eq!(meter.tick(), Verdict::GoesOn);
                assert_eq!(meter.tick(), Verdict::GoesOn, "it has hardly run since");
                spin_until(&meter, Verdict::Yields);
            })
            .await;
    }

    #[tokio::test]
    async fn waiting_is_free_and_a_new_call_starts_at_nothing() {
        let limit = Duration::from_millis(10);
        let meter = Meter::new(limit);
        for _ in 0..2 {
            meter.reset();
            meter.run(async { spin_until(&meter, Verdict::Yields) }).await;
            for _ in 0..1_000 {
                meter.run(tokio::task::yield_now()).await;
            }
            assert!(meter.used.load(Ordering::Relaxed) < nanos(limit), "1,000 waits have used it up");
        }
    }
}
