//! The product's own meeting points of threads, under a scheduler that chooses every interleaving.
//!
//! `flight.rs`, `table.rs` and `policy/active.rs` are compiled here from their places, with what they need,
//! and take their primitives from this crate's `sync` in place of the product's. So the explored code is the
//! code that ships, and the product has no switch for it. The steps of `load.rs` and `cache.rs` around them
//! cannot be had without a policy engine and a database; `model.rs` repeats them one by one, and has to
//! follow them when they change.
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

mod explore;
mod model;
pub mod scenarios;
mod sync;

pub use explore::{exhaust, explore, is_deterministic};

/// Declares files of the product as modules, unchanged and whole, although the scenarios need only a part of
/// some.
macro_rules! product {
    ($($name:ident = $path:literal,)*) => {
        $(
            #[path = $path]
            #[allow(
                dead_code,
                unreachable_pub,
                reason = "the file is shared; what is not used here is used there"
            )]
            mod $name;
        )*
    };
}

product! {
    active = "../../../host/cache/src/policy/active.rs",
    clock = "../../../host/cache/src/clock.rs",
    error = "../../../host/cache/src/error.rs",
    flight = "../../../host/cache/src/flight.rs",
    hits = "../../../host/cache/src/hits.rs",
    lease = "../../../host/cache/src/lease.rs",
    lookup = "../../../host/cache/src/lookup.rs",
    secret = "../../../host/cache/src/secret.rs",
    table = "../../../host/cache/src/table.rs",
    workspace = "../../../host/cache/src/workspace.rs",
}

/// The amount of work of a test: the suite's own module.
#[path = "../../src/tier.rs"]
#[allow(unreachable_pub, reason = "the file is shared; it is public there")]
#[expect(clippy::disallowed_methods, reason = "the environment says which tier this is")]
mod tier;

// The names by which the product's files know each other.
use clock::Instant;
use error::{Error, InvalidWorkspace};
use lookup::{Lookup, Status};
use secret::Secret;
use workspace::WorkspaceId;
