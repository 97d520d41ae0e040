//! The product's own meeting points of threads, under a scheduler that chooses every interleaving.
//!
//! A read from its caller to the table (`start.rs`, `fill.rs`), an issue (`issue.rs`), what both share
//! (`core.rs`), the register, the table and the active cell, a policy's call and its record are compiled here
//! from their places, and take their primitives from this crate's `sync` in place of the product's. So the
//! explored code is the code that ships, and the product has no switch for it.
//!
//! # What is not the product's
//!
//! - A policy, which a WebAssembly engine would run: `policy/runtime/pool.rs` has a few that matter for
//!   interleavings, and what they do goes through the product's `policy/call.rs` and is judged by its
//!   `policy/record.rs`.
//! - The rollout, whose swap compiles a component: `policy/rollout.rs` is the product's active cell.
//! - The statements (`statements.rs`): the product's batcher and what it knows of a late issue go by timers
//!   of tokio, and the scheduler has no time. Here a SELECT is a statement of its own, and an issue has
//!   ended when the database says so. The batcher has tests of its own; the real `SentIssue` is in
//!   `races.rs` of the suite, with a database that a test steers.
//! - A deadline (`sync/time.rs`): it never passes, or at any moment.
//! - `SecretCache::{read, read_or_issue}`, which are spans and counters around calls of `start.rs`:
//!   `model.rs` repeats them, in twelve lines. `verify`, `get_many` and issues in a program's transaction
//!   have ways of their own into a flight, and are not explored here: the suite's simulation and the
//!   checker call them.
//!
//! A stand-in has the name and the signatures of its original, so that a change of the product that it does
//! not follow does not compile.
//!
//! # A failure, and how to see it again
//!
//! A failing test prints its schedule: a line of hexadecimal digits below `failing schedule:`. The same test
//! with that schedule runs that one interleaving, any number of times, with a debugger or with prints added
//! to the product:
//!
//! ```text
//! LEASEHOLD_SCHEDULE=91021db3f9... cargo test -p leasehold-concurrency --test concurrency -- \
//!     --exact fills::a_fill_beside_an_issue_stores_nothing_older_than_the_issue
//! ```
//!
//! The schedule holds for the code that it was found in: with one scheduling point more or less, as after a
//! fix, the replay ends with `scheduled task is not runnable`. `tests/run --long` explores fifty times as
//! many interleavings as the gate, from another seed every time.
//!
//! Under `cfg(test)` the crate is empty: the product's files would bring their unit tests, which run where
//! they belong.

#![cfg(not(test))]
#![forbid(unsafe_code)]

/// Declares files of the product as modules, unchanged and whole, although the scenarios need only a part of
/// some.
macro_rules! product {
    ($($name:ident = $path:literal,)*) => {
        $(
            #[path = $path]
            #[allow(
                dead_code,
                unreachable_pub,
                unfulfilled_lint_expectations,
                reason = "the file is shared; what is not used here is used there"
            )]
            pub(crate) mod $name;
        )*
    };
}

product! {
    admission = "../../../host/cache/src/admission.rs",
    clock = "../../../host/cache/src/clock.rs",
    core = "../../../host/cache/src/core.rs",
    error = "../../../host/cache/src/error.rs",
    fill = "../../../host/cache/src/fill.rs",
    flight = "../../../host/cache/src/flight.rs",
    hits = "../../../host/cache/src/hits.rs",
    issue = "../../../host/cache/src/issue.rs",
    lease = "../../../host/cache/src/lease.rs",
    lookup = "../../../host/cache/src/lookup.rs",
    reread = "../../../host/cache/src/reread.rs",
    secret = "../../../host/cache/src/secret.rs",
    start = "../../../host/cache/src/start.rs",
    stats = "../../../host/cache/src/stats.rs",
    table = "../../../host/cache/src/table.rs",
    workspace = "../../../host/cache/src/workspace.rs",
}

mod database;
mod explore;
mod model;
mod policy;
pub mod scenarios;
mod statements;
mod sync;

pub use explore::{exhaust, explore, is_deterministic};

/// The amount of work of a test: the suite's own module.
#[path = "../../src/tier.rs"]
#[allow(unreachable_pub, reason = "the file is shared; it is public there")]
#[expect(clippy::disallowed_methods, reason = "the environment says which tier this is")]
mod tier;

// The names by which the product's files know each other.
use clock::{Clock, Instant};
use database::IssueMode;
use error::{DatabaseError, Error, InvalidWorkspace};
use lookup::{Lookup, Status};
use policy::Cause;
use secret::Secret;
use workspace::WorkspaceId;
