//! Leasehold's shipped policies as components, built from `guest/` by this crate's build script.
//!
//! Each constant is the whole component: give it to `leasehold::Policy::from_bytes`, or write it to a file.

#![no_std]
#![forbid(unsafe_code)]

/// The default policy, `guest/ttl`: a secret is cached for a fixed time, absence not at all.
pub const TTL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ttl.wasm"));

/// Every shipped policy by the name under which an operator selects it.
pub const ALL: &[(&str, &[u8])] = &[("ttl", TTL)];
