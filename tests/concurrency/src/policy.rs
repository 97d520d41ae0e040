//! A policy as the product's files see it: the real call, its record and the active cell, around a policy
//! that is a few lines of Rust.
//!
//! What a policy is given, what it may do and how its answer is judged is the product's. Only the policy
//! itself, which cannot be run under the scheduler, and the rollout around the active cell are stand-ins.

product! {
    call = "../../../host/cache/src/policy/call.rs",
    host_io = "../../../host/cache/src/policy/host_io.rs",
    record = "../../../host/cache/src/policy/record.rs",
}

pub(crate) mod pool;
pub(crate) mod rollout;

pub(crate) use pool::Kind;

/// The reason why the host has replaced a policy. No scenario has one.
#[expect(dead_code, reason = "core.rs names them")]
pub(crate) enum Cause {
    Breaker,
    Probation,
}
