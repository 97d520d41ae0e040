//! The cache beside a real database, in real time, by many tasks at once, half of whose futures are dropped:
//! 0 violations.
//!
//! What callers saw is held against the order of commits, which triggers write down in the database itself.
//! Each engine is run with pools of 1, 2 and 10 connections, each with triggers that the cache sees, so that
//! it reads back what it has written, and with others that it does not see. Chance decides which operation is
//! called, with which arguments and for how long it is waited for; a seed decides chance, but not the
//! interleaving of the threads:
//!
//!     SEED=42 tests/run --test checker -- --nocapture
//!     tests/run --long --release --test checker -- --nocapture
//!
//! The second command makes 10,000,000 operations, and `OPERATIONS=200000` in front of either sets the
//! number.

#![expect(clippy::disallowed_methods, reason = "a run is described in the environment")]

mod caller;
mod patience;
mod policies;
mod segment;
mod site;
mod slow;
mod tally;
mod transactions;
mod world;
mod writer;

use std::env;
use std::io::{Write as _, stderr};

use leasehold_tests::{Engine, Tier};
use tokio::time::Instant;

use segment::Plan;
use site::Triggers;
use tally::Tally;

/// Operations of all segments of both engines together. Without optimisation the long form is a tenth of what
/// it is with it.
const GATE: u64 = 18_000;
const LONG: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };

const POOLS: [u32; 3] = [1, 2, 10];

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn nothing_that_callers_of_sqlite_see_breaks_a_rule() {
    check(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn nothing_that_callers_of_postgresql_see_breaks_a_rule() {
    check(Engine::Postgres).await;
}

async fn check(engine: Engine) {
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let operations = number("OPERATIONS").unwrap_or_else(|| Tier::current().pick(GATE, LONG));
    let (began, mut total) = (Instant::now(), Tally::default());
    print(&format!("checker: {engine:?}: SEED={seed}\n"));
    let segments = POOLS.into_iter().flat_map(|pool| [(pool, Triggers::Hidden), (pool, Triggers::Seen)]);
    for (number, (pool, triggers)) in (0..).zip(segments) {
        // Two engines, three pools, two kinds of triggers.
        let plan =
            Plan { engine, pool, triggers, operations: operations.div_ceil(12), seed: seed ^ (number << 32) };
        let tally =
            segment::run(&plan).await.unwrap_or_else(|error| panic!("SEED={seed}, {plan}: {error:?}"));
        let (made, dropped, seconds) = (tally.operations(), tally.dropped, began.elapsed().as_secs());
        print(&format!(
            "checker: {plan}: {made} operations, {dropped} dropped while they waited, until {seconds} s\n"
        ));
        total.add(&tally);
    }
    let seconds = began.elapsed().as_secs();
    print(&format!("checker: {engine:?}: {total}, 0 violations, {seconds} s\n"));
    total.check();
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
