//! The shared parts of the integration tests: throwaway databases and servers, each test its own.
//!
//! Nothing here knows what is tested. A fixture that cannot be had is an error that says what to do, never a
//! test that is skipped: a skipped test looks like one that passed.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "fixtures ask the environment where the servers are")]

pub mod acknowledged;
pub mod artifacts;
pub mod cluster;
mod fixture;
pub mod guest_memory;
pub mod hostile;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod scripted;
pub mod server;
pub mod sqlite;
mod tier;
pub mod tls;
mod wait;

pub use fixture::{Engine, Fixture, MAX_WAIT, WORKSPACES};
pub use tier::Tier;
pub use wait::until;

/// The example in the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
