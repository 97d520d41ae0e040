//! The whole cache in one thread, with everything that can go wrong decided by a seed, and every answer
//! checked.
//!
//! The component, the host code and the runtime are the real ones; time, chance and the database are the
//! seed's. Each run is checked step by step against what the database knows (`simulation/checker.rs`). A run
//! that breaks a rule prints its seed and how to see it again:
//!
//!     SEED=42 tests/run -p leasehold-tests --test suite -- simulation
//!
//! runs one seed and prints its trace; `SEEDS=500` runs so many.

#![expect(clippy::disallowed_methods, reason = "a replay says so in the environment")]

mod checker;
mod client;
mod database;
mod outside;
mod plan;
mod rng;
mod row;
mod run;
mod time;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::io::{Write as _, stderr};

use leasehold::{Clock as _, SystemClock};
use leasehold_tests::Tier;

use run::{Policies, Report, run};

/// Events that must have happened at least once in all runs together: a simulation in which they do not tests
/// nothing.
const EXPECTED: &[&str] = &[
    "hits",
    "misses",
    "reads renewed",
    "stale reads",
    "heals",
    "reads past a policy that failed",
    "reads of an absence",
    "lookups without a lease",
    "issues acknowledged",
    "issues without a row",
    "secrets verified",
    "secrets refused by verify",
    "dropped reads",
    "dropped issues",
    "dropped heals",
    "selects of several rows",
    "removals",
    "resets",
    "swaps",
    "rollbacks",
    "errors: unavailable",
    "errors: timeout",
    "errors: overloaded",
    "errors: outcome unknown",
    "acknowledgements lost after the commit",
    "commits after the connection was lost",
    "statements lost before they arrived",
    "statements refused",
    "statements while the database was unreachable",
    "statements lost in a failover",
    "commits lost in a failover",
    "updates by others",
    "rows deleted by others",
    "suspensions",
    "loads joined",
    "loads beside one that was too old to join",
    "refreshes ahead of an end",
    "faults of a policy",
    "entries swept",
];

#[test]
fn no_seed_breaks_a_guarantee() {
    let policies = Policies::compile();
    if let Some(seed) = number("SEED") {
        let report = run(seed, &policies);
        print(&format!("{}\n", report.trace.join("\n")));
        return check(seed, &report);
    }
    let seeds = number("SEEDS").unwrap_or_else(|| Tier::current().pick(2_000, 20_000));
    let (clock, mut operations) = (SystemClock::new(), 0);
    let started = clock.now();
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 1..=seeds {
        let report = run(seed, &policies);
        check(seed, &report);
        operations += report.operations;
        for (what, count) in report.tally {
            *tally.entry(what).or_default() += count;
        }
    }
    let seconds = clock.now().saturating_since(started).as_secs();
    let counts: Vec<String> = tally.iter().map(|(what, count)| format!("{count} {what}")).collect();
    print(&format!(
        "simulation: seeds 1 to {seeds}, {operations} operations, 0 violations, {seconds} s\nsimulation: \
         {}\n",
        counts.join(", ")
    ));
    let missing: Vec<&&str> = EXPECTED.iter().filter(|what| !tally.contains_key(**what)).collect();
    assert!(missing.is_empty() || seeds < 1_000, "these never happened: {missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let policies = Policies::compile();
    // The first run of anything is slow, and a call that takes a millisecond of the processor lets others
    // run.
    drop(run(0, &policies));
    for seed in number("SEED").map_or(1..=200, |seed| seed..=seed) {
        let (first, second) = (run(seed, &policies).trace, run(seed, &policies).trace);
        let differs = first.iter().zip(&second).position(|(one, other)| one != other);
        if let Some(line) = differs {
            panic!("seed {seed}, line {line}:\n  {}\n  {}", first[line], second[line]);
        }
        assert_eq!(first.len(), second.len(), "seed {seed}: one trace is longer");
    }
}

fn check(seed: u64, report: &Report) {
    if let Some(violation) = &report.violation {
        panic!(
            "seed {seed} breaks \"{}\": {}\n\nthe trace up to there:\n{}\nto see it again: \
             SEED={seed} tests/run -p leasehold-tests --test suite -- simulation\n",
            violation.rule, violation.story, report.tail
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, got {text:?}")))
}

/// Prints past the capture of the test harness: the figures of a run are worth seeing where nothing failed.
fn print(text: &str) {
    // The other end may be gone.
    let _ = stderr().write_all(text.as_bytes());
}
