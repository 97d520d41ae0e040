//! Percentiles, processor time and memory of this process, and how they are printed.
//!
//! It knows nothing of caches.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The processor time that this thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A precise clock for short spans.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

pub(crate) fn percentile(spans: &mut [Duration], percent: usize) -> Duration {
    spans.sort_unstable();
    spans[(spans.len() * percent / 100).min(spans.len() - 1)]
}

/// The resources that a process has.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    /// Resident memory, counted page by page: the figure in `status` lags behind.
    resident_kib: i64,
    mappings: usize,
}

impl Footprint {
    const MAX_GROWTH_KIB: i64 = 2048;
    /// The greatest growth in mappings that is no leak: a few come and go with the allocator.
    const MAX_MAPPINGS: usize = 64;

    /// The footprint of a process by its id, or of `self`.
    pub(crate) fn of(process: &str) -> Self {
        let read = |name| fs::read_to_string(format!("/proc/{process}/{name}")).expect("the kernel shows it");
        let rollup = read("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("it has this line");
        let resident_kib = line.trim().trim_end_matches(" kB").parse().expect("a number");
        Self { resident_kib, mappings: read("maps").lines().count() }
    }

    /// Prints both footprints, and returns whether the second is hardly larger than this one.
    pub(crate) fn compare(self, what: &str, after: Self) -> bool {
        let growth = after.resident_kib - self.resident_kib;
        let good = growth < Self::MAX_GROWTH_KIB && after.mappings < self.mappings + Self::MAX_MAPPINGS;
        println!(
            "  {what}: resident {} -> {} KiB ({growth:+}), mappings {} -> {} {}",
            self.resident_kib,
            after.resident_kib,
            self.mappings,
            after.mappings,
            verdict(good)
        );
        good
    }
}

/// Prints the medians of both sides, and returns whether the second is at most three times the first.
pub(crate) fn compare(what: &str, idle: &mut [Duration], busy: &mut [Duration]) -> bool {
    let (idle, busy) = (percentile(idle, 50), percentile(busy, 50));
    let ratio = busy.as_secs_f64() / idle.as_secs_f64();
    let good = ratio <= 3.0;
    println!("{what:52} p99 idle {idle:>10.1?}  busy {busy:>10.1?}  ratio {ratio:>6.2} {}", verdict(good));
    good
}

pub(crate) fn verdict(good: bool) -> &'static str {
    if good { "" } else { " <-- ABOVE THE LIMIT" }
}
