//! The exploration of a scenario: at random, with few preemptions, to exhaustion where it is small, or once
//! again.
//!
//! The gate takes the same interleavings every time, so that it never fails for an unchanged tree; the long
//! tier takes others every time. It knows no scenario.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, Runner};

use crate::tier::Tier;

/// Number of interleavings that the gate takes of each scenario: at random, and of those with few
/// preemptions.
const RANDOM: u64 = 8_000;
const PREEMPTED: u64 = 2_000;
/// Factor by which the long tier takes more.
const LONG: u64 = 50;
/// Number of preemptions that is enough to meet a bug, in all but rare cases.
const PREEMPTIONS: usize = 3;
/// The first seed of the gate. Any number would do.
const SEED: u64 = 0x1ea5_e401d;
/// Stack size for unoptimised code.
const STACK_BYTES: usize = 256 * 1024;
/// Maximum number of steps. A run has some hundred; a run with so many turns in a circle.
const MAX_STEPS: usize = 100_000;

/// Explores a scenario at random, or replays the one interleaving that the environment names.
pub fn explore(scenario: fn()) {
    if replayed(scenario) {
        return;
    }
    let tier = Tier::current();
    let count = |gate: u64| tier.pick(gate, gate * LONG) as usize;
    let (random, preempted) = match tier {
        Tier::Gate => (
            RandomScheduler::new_from_seed(SEED, count(RANDOM)),
            PctScheduler::new_from_seed(SEED, PREEMPTIONS, count(PREEMPTED)),
        ),
        Tier::Long => (RandomScheduler::new(count(RANDOM)), PctScheduler::new(PREEMPTIONS, count(PREEMPTED))),
    };
    run(random, scenario);
    run(preempted, scenario);
}

/// Takes every interleaving of a scenario. Only for a small one: their number grows exponentially with the
/// steps.
pub fn exhaust(scenario: fn()) {
    if !replayed(scenario) {
        let taken = run(DfsScheduler::new(None, false), scenario);
        println!("{taken} interleavings: all there are");
    }
}

/// Checks that a schedule of this scenario leads to the same run every time: else a failure could not be
/// replayed.
pub fn is_deterministic(scenario: fn()) {
    run(UncontrolledNondeterminismCheckScheduler::new(RandomScheduler::new_from_seed(SEED, 100)), scenario);
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = shuttle::MaxSteps::FailAfter(MAX_STEPS);
    // The warning is that orderings weaker than SeqCst are not modelled: `loom/` does that.
    config.silence_warnings = true;
    let progress = Progress::default();
    let begun = Arc::clone(&progress.0);
    Runner::new(scheduler, config).run(move || {
        begun.fetch_add(1, Ordering::Relaxed);
        scenario();
    })
}

/// Number of interleavings that were begun. Prints it if one of them failed.
#[derive(Default)]
struct Progress(Arc<AtomicU64>);

impl Drop for Progress {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it was interleaving {} of its sort", self.0.load(Ordering::Relaxed));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a person who replays a failure says so in the environment")]
fn replayed(scenario: fn()) -> bool {
    let schedule = env::var("LEASEHOLD_SCHEDULE").ok();
    if let Some(schedule) = &schedule {
        run(ReplayScheduler::new_from_encoded(schedule), scenario);
    }
    schedule.is_some()
}
