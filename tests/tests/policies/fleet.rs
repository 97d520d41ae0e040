//! The cost of a fleet of heartbeats under the shipped policies with their defaults, in the mean and in its
//! busiest second.
//!
//! 600 workspaces beat once a minute each: all in the same second, as after a restart of everything, or one
//! every 100 ms. The first leases spread them; the measurement comes after that. The tokens' cache runs `ttl`
//! as it is here.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{ManualClock, Policy, SecretCache, WorkspaceId};
use leasehold_policies::{NEGATIVE, RESILIENT, TTL, WATCHED};
use leasehold_tests::scripted::Scripted;

const WORKSPACES: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);
/// Time to settle: two leases of the longest kind.
const SETTLING_MINUTES: usize = 10;
const MINUTES: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Together,
    Apart,
}

/// A fleet of one policy, and the statements of each step in which some of it beat.
struct Fleet {
    cache: SecretCache,
    database: Scripted,
    clock: Arc<ManualClock>,
    ids: Vec<WorkspaceId>,
}

impl Fleet {
    async fn new(policy: Policy) -> Self {
        let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
        let builder = leasehold_tests::hostile::builder().database(database.clone());
        let cache =
            builder.clock(Arc::clone(&clock)).policy(policy).build().await.expect("the defaults are good");
        let ids =
            (0..WORKSPACES).map(|n| WorkspaceId::new(format!("{n:08x}-0000-4000-8000-{:012x}", n * 7919)));
        let ids: Vec<_> = ids.map(|id| id.expect("a usable id")).collect();
        for id in &ids {
            database.store(id.as_str(), Some("stored"));
        }
        Self { cache, database, clock, ids }
    }

    /// Sends one heartbeat of each workspace within a minute, and returns how many statements each step of it
    /// took. All of them are one step where they beat together, else those of 10 s are.
    async fn minute(&self, start: Start) -> Vec<u64> {
        let steps = if start == Start::Together { 1 } else { 6 };
        let mut statements = Vec::new();
        for some in self.ids.chunks(self.ids.len() / steps) {
            let before = self.database.selects();
            for id in some {
                self.cache.read(id).await.expect("the row is there");
                while self.cache.stats().in_flight > 0 {
                    tokio::task::yield_now().await;
                }
                if start == Start::Apart {
                    self.clock.advance(MINUTE / WORKSPACES);
                }
            }
            statements.push(self.database.selects() - before);
        }
        if start == Start::Together {
            self.clock.advance(MINUTE);
        }
        statements
    }
}

/// Returns the statements per heartbeat, and the ratio of the busiest step to the mean one.
async fn cost(policy: Policy, start: Start) -> (f64, f64) {
    let fleet = Fleet::new(policy).await;
    for _ in 0..SETTLING_MINUTES {
        fleet.minute(start).await;
    }
    let mut steps = Vec::new();
    for _ in 0..MINUTES {
        steps.extend(fleet.minute(start).await);
    }
    let (sum, most) =
        (steps.iter().sum::<u64>() as f64, steps.iter().copied().max().unwrap_or_default() as f64);
    (sum / (MINUTES * fleet.ids.len()) as f64, most * steps.len() as f64 / sum)
}

async fn holds(component: &'static [u8], per_heartbeat: f64) {
    for start in [Start::Together, Start::Apart] {
        let (mean, busiest) = cost(Policy::from_bytes(component), start).await;
        println!("{start:?}: {mean:.4} statements per heartbeat, {busiest:.2} times the mean at the busiest");
        assert!((mean - per_heartbeat).abs() <= 0.01, "{start:?}: {mean:.4} statements per heartbeat");
        assert!(busiest <= 2.0, "{start:?}: {busiest:.2} times the mean");
    }
}

#[tokio::test]
async fn a_fleet_under_ttl_costs_a_fifth_of_a_statement_for_each_heartbeat_and_does_not_ask_in_step() {
    holds(TTL, 0.2).await;
}

#[tokio::test]
async fn so_does_one_under_watched_without_a_channel() {
    holds(WATCHED, 0.2).await;
}

#[tokio::test]
async fn so_does_one_under_negative() {
    holds(NEGATIVE, 0.2).await;
}

#[tokio::test]
async fn one_under_resilient_asks_a_tenth_of_its_time_ahead_and_not_in_step_either() {
    holds(RESILIENT, 0.2 / 0.9).await;
}

#[tokio::test]
async fn without_jitter_what_was_read_together_expires_together() {
    let (mean, busiest) = cost(Policy::from_bytes(TTL).setting("jitter", "0s"), Start::Together).await;
    assert_eq!((mean, busiest), (0.2, 5.0));
}
