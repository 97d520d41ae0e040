//! Housekeeping, done now and then: drop entries that may not be served any more and instances that are not
//! needed any more, notice a suspended machine, and look at a policy that is on probation.
//!
//! There is one task for each cache. It holds the cache weakly and ends with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};

use super::SecretCache;
use crate::blocking;
use crate::core::Core;
use crate::stats::add;

/// Interval at which the machine is asked whether it was suspended.
const LOOK: Duration = Duration::from_secs(1);
/// Number of looks between two sweeps of the table. An entry outlives its lease by this much at most; it is
/// never served then.
const LOOKS_PER_SWEEP: u32 = 30;
/// Minimum span that counts as a suspension: the two clocks are read one after the other, and resume one
/// after the other.
const SUSPENSION: Duration = Duration::from_millis(100);

pub(super) fn start(core: &Arc<Core>) {
    let weak = Arc::downgrade(core);
    let suspended = core.clock.suspended();
    core.statements.runtime.spawn(keep_house(weak, suspended));
}

async fn keep_house(core: Weak<Core>, mut suspended: Duration) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    loop {
        looks.tick().await;
        let Some(core) = core.upgrade() else { return };
        let cache = SecretCache { core };
        // A clock may be the program's own, and so may the collector of the log.
        if catch_unwind(AssertUnwindSafe(|| cache.look(&mut suspended))).is_err() {
            error!("looking after the cache failed once; it goes on");
        }
        count = count.wrapping_add(1);
        if count.is_multiple_of(LOOKS_PER_SWEEP) {
            // A million entries would keep a worker of the runtime from all other tasks for tens of
            // milliseconds. Where there is no thread for the sweep, it is left to the next time.
            if let Err(reason) = blocking::run(move || cache.sweep()).await {
                warn!(reason, "the entries cannot be swept now");
            }
        }
    }
}

impl SecretCache {
    /// Does what is due once a second.
    fn look(&self, suspended: &mut Duration) {
        let core = &self.core;
        self.void_after_suspension(suspended);
        core.count_replaced(core.rollout.supervise());
        core.rollout.active().loaded().drop_unneeded();
        core.rollout.look_for_shortage();
    }

    /// Drops the entries whose lease has run out altogether. The cache does this by itself every 30 s, on a
    /// thread that may block: a sweep looks at each entry, and completes any growth of the map.
    pub fn sweep(&self) {
        let core = &self.core;
        add(&core.counters.swept, core.table.sweep(core.clock.now()) as u64);
    }

    /// Drops every entry after a suspension: the monotonic clock stands still then, and every lease with it,
    /// so no lease can be trusted afterwards.
    fn void_after_suspension(&self, known: &mut Duration) {
        let suspended = self.core.clock.suspended();
        if suspended.saturating_sub(*known) >= SUSPENSION {
            warn!(
                for_s = (suspended - *known).as_secs(),
                "the machine was suspended; every entry is dropped"
            );
            self.reset();
        }
        // The clock may say too little, never too much.
        *known = suspended.max(*known);
    }
}
