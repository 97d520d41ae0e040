//! Leasehold's shipped policies as components, built from `guest/` by this crate's build script.
//!
//! Each constant is the whole component: give it to `leasehold::Policy::from_bytes`, or write it to a file.

#![no_std]
#![forbid(unsafe_code)]

/// The default policy, `guest/ttl`: a secret is cached for a fixed time, absence not at all.
pub const TTL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ttl.wasm"));

/// The policy `guest/resilient`: as [`TTL`], with refreshes ahead; while the database fails, a kept value is
/// the answer.
pub const RESILIENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/resilient.wasm"));

/// The policy `guest/watched`: long leases while the host's invalidation channel is up, and [`TTL`] while
/// there is none.
pub const WATCHED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/watched.wasm"));

/// The policy `guest/negative`: as [`TTL`], with absence cached for a short time.
pub const NEGATIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/negative.wasm"));

/// The policy `guest/passthrough`: stores nothing.
pub const PASSTHROUGH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/passthrough.wasm"));

/// Every shipped policy by the name under which an operator selects it.
pub const ALL: &[(&str, &[u8])] = &[
    ("ttl", TTL),
    ("resilient", RESILIENT),
    ("watched", WATCHED),
    ("negative", NEGATIVE),
    ("passthrough", PASSTHROUGH),
];
