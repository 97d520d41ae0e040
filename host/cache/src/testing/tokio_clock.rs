//! A clock that goes with tokio's: where a test pauses and advances tokio's clock, leases end with it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant as TokioInstant;

use crate::{Clock, Instant};

/// The time that tokio's timers of one runtime go by: real time, or where it is paused (`start_paused`,
/// `tokio::time::pause`) the time that `tokio::time::advance` and waiting tasks let pass. Pausing takes the
/// feature `test-util` of tokio.
#[derive(Clone, Debug)]
pub struct TokioClock {
    runtime: Handle,
    start: TokioInstant,
}

impl TokioClock {
    /// Makes the clock of the current runtime. It begins at one second.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[expect(clippy::new_without_default, reason = "it depends on the runtime that it is called on")]
    #[must_use]
    pub fn new() -> Self {
        Self { runtime: Handle::current(), start: TokioInstant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        // A policy that computes for long is asked on a thread that belongs to no runtime, and would be given
        // real time.
        let _entered = self.runtime.enter();
        Instant::from_nanos(1_000_000_000).saturating_add(self.start.elapsed())
    }

    fn now_coarse(&self) -> Instant {
        self.now()
    }

    fn suspended(&self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_tokios_paused_time_on_every_thread() {
        let clock = TokioClock::new();
        let begun = clock.now();
        assert_eq!(begun, Instant::from_nanos(1_000_000_000));
        tokio::time::advance(Duration::from_secs(300)).await;
        let elsewhere = clock.clone();
        let there = std::thread::spawn(move || elsewhere.now()).join().unwrap();
        for now in [clock.now(), clock.now_coarse(), there] {
            assert_eq!(now.saturating_since(begun), Duration::from_secs(300));
        }
        assert_eq!(clock.suspended(), Duration::ZERO);
    }
}
