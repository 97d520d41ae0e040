//! The product's active cell under loom: every execution that its atomic orderings allow, not only every
//! interleaving.
//!
//! Shuttle runs each atomic operation as if it were SeqCst, so that it would not notice a `Release` that is
//! missing. Loom does, and pays for it: only a small piece can be explored. `policy/rollout/active.rs` is
//! compiled here from its place, with this crate's `sync` in place of the product's.
//!
//! A failing test prints what was asserted. Run it again with `LOOM_LOG=trace LOOM_LOCATION=1` to see the
//! execution.
//!
//! Under `cfg(test)` the crate is empty: the product's files would bring their unit tests, which run where
//! they belong.

#![cfg(not(test))]
#![forbid(unsafe_code)]

pub mod scenarios;
mod sync;

#[path = "../../../../host/cache/src/policy/rollout/active.rs"]
mod active;
#[path = "../../../../host/cache/src/clock.rs"]
#[allow(dead_code, unreachable_pub, reason = "the file is shared; what is not used here is used there")]
mod clock;
#[path = "../../../../host/cache/src/lease.rs"]
#[allow(dead_code, reason = "the file is shared; what is not used here is used there")]
mod lease;

// Under the name by which `lease.rs` knows it.
use clock::Instant;
