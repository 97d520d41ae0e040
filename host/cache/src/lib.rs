//! Leasehold: an in-process, read-through and write-through cache of per-workspace secrets kept in a SQL database.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod admission;
mod batcher;
mod blocking;
mod cache;
mod clock;
mod database;
mod error;
mod flight;
mod hits;
mod key_types;
mod lease;
mod load;
mod lookup;
mod policy;
mod reread;
mod secret;
mod source;
mod stats;
mod sync;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod workspace;

pub use cache::{BuildError, Builder, Operator, SecretCache, Transaction, WarmReport};
pub use clock::{Clock, Instant, ManualClock, SystemClock};
pub use database::{
    Answer, Answers, Column, Database, Engine, Health, IssueMode, Postgres, PostgresOptions, PostgresPool,
    PostgresWrite, Sessions, Sqlite, TransactionConnection,
};
pub use error::{ConnectError, DatabaseError, Error, InvalidWorkspace, Reason};
pub use lookup::{Lookup, Status};
pub use policy::{
    BreakerStatus, Cause, CompileCacheError, Execution, InvalidKey, Measure, OnError, Policy, PolicyCard,
    PolicyChange, PolicyStatus, Probation, PublicKey, Signed, SigningKey, Spread, Stage, Standing, SwapError,
    SwapRecord, SwapReport, Trip, WriteOrder, compile_cache,
};
pub use secret::Secret;
pub use stats::Stats;
pub use workspace::WorkspaceId;
