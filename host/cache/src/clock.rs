//! The clocks: the only place that reads the machine's time. (Deadlines and timers are by tokio's clock.)
//!
//! Leases live on the monotonic clock: setting the wall clock changes nothing. The clock stands still while
//! the machine is suspended, so a clock also says for how long it has stood still, and the cache drops
//! everything when that jumps.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_utils::CachePadded;
use rustix::time::{ClockId, clock_getres, clock_gettime};

/// A point in time: nanoseconds on the clock of one cache. Only comparison and difference mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Makes an instant from nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the instant in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the instant that is later by `span`, or the far future if that does not fit.
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// Returns the time since `earlier`, or zero if `earlier` is the later of the two.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the same moment in whole milliseconds, rounded down: what a policy gets to see.
    pub(crate) const fn rounded(self) -> Self {
        Self(self.0 / 1_000_000 * 1_000_000)
    }
}

/// The time of a cache: [`SystemClock`] in a server, [`ManualClock`] in a test.
pub trait Clock: Send + Sync + 'static {
    /// The present instant. It never goes back.
    fn now(&self) -> Instant;

    /// An instant that is not before [`now`](Self::now), and at most a few milliseconds after it: cheap
    /// enough to read on every hit. Rounding up makes a lease end early, never late.
    fn now_coarse(&self) -> Instant;

    /// The time in all that the clock has stood still because the machine was suspended.
    fn suspended(&self) -> Duration;

    /// The time of day, for people to read. Nothing is decided by it.
    #[expect(clippy::disallowed_methods, reason = "this is where it is read")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    /// The most that the coarse clock may lag: one tick of the kernel's timer, and once more for a tick that
    /// comes late. It has a cache line of its own: each hit reads it, and other threads may write what lies
    /// beside it on the heap.
    lag_ns: CachePadded<u64>,
}

impl SystemClock {
    /// Asks the kernel how coarse its coarse clock is.
    pub fn new() -> Self {
        Self { lag_ns: CachePadded::new(2 * timespec_nanos(clock_getres(ClockId::MonotonicCoarse))) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant(timespec_nanos(clock_gettime(ClockId::Monotonic)))
    }

    #[inline]
    fn now_coarse(&self) -> Instant {
        Instant(timespec_nanos(clock_gettime(ClockId::MonotonicCoarse)).wrapping_add(*self.lag_ns))
    }

    fn suspended(&self) -> Duration {
        // In this order a pause between the two reads makes the answer too small, never too large.
        let boottime = timespec_nanos(clock_gettime(ClockId::Boottime));
        Duration::from_nanos(boottime.saturating_sub(timespec_nanos(clock_gettime(ClockId::Monotonic))))
    }
}

/// A clock that a test drives by hand.
#[derive(Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
    suspended_ns: AtomicU64,
}

impl ManualClock {
    /// Makes a clock that stands at one second.
    pub fn new() -> Self {
        Self { now_ns: AtomicU64::new(1_000_000_000), suspended_ns: AtomicU64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        self.now_ns.fetch_add(nanos(span), Ordering::SeqCst);
    }

    /// Lets time pass as the machine sees it in suspension: the monotonic clock does not move.
    pub fn suspend(&self, span: Duration) {
        self.suspended_ns.fetch_add(nanos(span), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.now_ns.load(Ordering::SeqCst))
    }

    fn now_coarse(&self) -> Instant {
        self.now()
    }

    fn suspended(&self) -> Duration {
        Duration::from_nanos(self.suspended_ns.load(Ordering::SeqCst))
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn now_coarse(&self) -> Instant {
        (**self).now_coarse()
    }

    fn suspended(&self) -> Duration {
        (**self).suspended()
    }

    fn wall(&self) -> SystemTime {
        (**self).wall()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

/// The machine's monotonic time, for measuring and for nothing that is decided about an entry.
pub(crate) fn monotonic() -> Duration {
    Duration::from_nanos(timespec_nanos(clock_gettime(ClockId::Monotonic)))
}

/// The processor time that this thread has used. Reading it is a system call: half a microsecond.
pub(crate) fn thread_cpu_time() -> Duration {
    Duration::from_nanos(timespec_nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn timespec_nanos(time: rustix::time::Timespec) -> u64 {
    // Both fields of a monotonic clock are never negative, and 584 years of nanoseconds fit: a hit need not
    // check that.
    time.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_never_behind_and_little_ahead() {
        let clock = SystemClock::new();
        for _ in 0..100_000 {
            let before = clock.now();
            let coarse = clock.now_coarse();
            let after = clock.now();
            assert!(coarse >= before, "a lease would end late: {coarse:?} < {before:?}");
            assert!(coarse.saturating_since(after) <= Duration::from_millis(20), "{coarse:?} {after:?}");
        }
    }

    #[test]
    fn instants_saturate() {
        let late = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(late.saturating_add(Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(Instant::default().saturating_since(late), Duration::ZERO);
    }
}
