//! Expiry without storms: the spread over time of the loads of a fleet that was started together, and the
//! statements that a heartbeat costs in a day. Time is a clock of the benchmark's own; the cache and the
//! policies are real.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{ManualClock, Policy, SecretCache, WorkspaceId};
use leasehold_policies as policies;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use crate::fleet::{Full, ids};
use crate::report::{Report, Table, times};

const RESILIENT: Choice = ("`resilient`", policies::RESILIENT, &[]);
const FLEET: usize = 100_000;
const SECONDS: u64 = 1_200;
const DAY_FLEET: usize = 1_000;
const DAY_MINUTES: u64 = 24 * 60;
/// Reads between two waits for background refreshes: more of them may not be queued.
const READS_AT_ONCE: usize = 64;

/// A policy and its settings.
type Choice = (&'static str, &'static [u8], &'static [(&'static str, &'static str)]);

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Expiry without storms",
        "100,000 workspaces that are read for the first time in the same second, and then each of them in \
         every second for 20 minutes: the loads of the busiest second after the first, and of the mean one.",
    );
    let mut table = Table::new(&["policy", "loads in the busiest second", "in the mean second", "ratio"]);
    let spread: [Choice; 3] =
        [("`ttl`, jitter 0s", policies::TTL, &[("jitter", "0s")]), ("`ttl`", policies::TTL, &[]), RESILIENT];
    for choice in spread {
        let loads = loads_each_second(choice, FLEET);
        let most = loads.iter().copied().max().unwrap_or_default() as f64;
        let mean = loads.iter().sum::<u64>() as f64 / loads.len() as f64;
        table.row([choice.0.to_owned(), format!("{most:.0}"), format!("{mean:.0}"), times(most / mean)]);
        if choice.2.is_empty() {
            report.at_most(&format!("busiest second, to the mean: {}", choice.0), most / mean, 2.0);
        }
    }
    report.table(&table);

    let mut table =
        Table::new(&["1,000 workspaces, a day of heartbeats each minute", "statements per heartbeat"]);
    table.row(["a SELECT for each heartbeat".to_owned(), "1.000".to_owned()]);
    let day: [Choice; 5] = [
        ("`passthrough`", policies::PASSTHROUGH, &[]),
        ("`ttl`", policies::TTL, &[]),
        RESILIENT,
        ("`watched`", policies::WATCHED, &[]),
        ("`negative`", policies::NEGATIVE, &[]),
    ];
    for choice in day {
        table.row([choice.0.to_owned(), format!("{:.3}", statements_per_heartbeat(choice))]);
    }
    report.table(&table);
}

/// Returns the loads of the busiest second for a fleet of so many.
pub(crate) fn busiest_second_of_resilient(count: usize) -> u64 {
    loads_each_second(RESILIENT, count).into_iter().max().unwrap_or_default()
}

/// A fleet, its cache and its clock.
struct Fleet {
    cache: SecretCache,
    clock: Arc<ManualClock>,
    ids: Vec<WorkspaceId>,
}

impl Fleet {
    async fn start((_, component, settings): Choice, count: usize) -> Self {
        let settings = settings.iter();
        let policy = settings
            .fold(Policy::from_bytes(component), |policy, (name, value)| policy.setting(*name, *value));
        let clock = Arc::new(ManualClock::new());
        clock.advance(Duration::from_secs(3600));
        let builder = SecretCache::builder().database(Full).clock(Arc::clone(&clock)).policy(policy);
        let cache = builder.build().await.expect("a shipped policy");
        Self { cache, clock, ids: ids(count) }
    }

    /// Reads every workspace, and returns how many loads that took, those in the background included.
    async fn read_all(&self) -> u64 {
        let before = self.cache.stats().selects;
        for some in self.ids.chunks(READS_AT_ONCE) {
            for id in some {
                self.cache.read(id).await.expect("everyone has a secret");
            }
            if self.cache.stats().refreshes > 0 {
                self.settle().await;
            }
        }
        self.settle().await;
        self.cache.stats().selects - before
    }

    async fn settle(&self) {
        while self.cache.stats().in_flight > 0 {
            yield_now().await;
        }
    }
}

fn loads_each_second(choice: Choice, count: usize) -> Vec<u64> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let fleet = Fleet::start(choice, count).await;
        fleet.read_all().await;
        let mut loads = Vec::new();
        for _ in 0..SECONDS {
            fleet.clock.advance(Duration::from_secs(1));
            loads.push(fleet.read_all().await);
        }
        loads
    })
}

fn statements_per_heartbeat(choice: Choice) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let fleet = Fleet::start(choice, DAY_FLEET).await;
        let mut loads = 0;
        for _ in 0..DAY_MINUTES {
            loads += fleet.read_all().await;
            fleet.clock.advance(Duration::from_secs(60));
        }
        loads as f64 / (DAY_FLEET as u64 * DAY_MINUTES) as f64
    })
}
