//! Leasehold: an in-process, read-through and write-through cache of per-workspace secrets kept in a SQL
//! database.
//!
//! # Features
//!
//! - `postgres`: [`Postgres`], [`PostgresPool`] and what belongs to them, over sqlx. On by default.
//! - `sqlite`: [`Sqlite`], with a SQLite of its own. On by default. Cargo links one SQLite only, so
//!   that a program with another one leaves this out.
//! - `tls`: TLS to PostgreSQL, by rustls with Mozilla's roots. On by default. Without it connections
//!   are plain where the URL leaves the choice (`sslmode=prefer`, the default), and refused where it
//!   does not (`require`, `verify-ca`, `verify-full`), unless the program has another TLS by a feature
//!   of sqlx.
//! - `testing`: the module `testing`, for a program's own tests.
//! - `uuid`: a [`WorkspaceId`] from a `uuid::Uuid`.
//!
//! Without `postgres` and `sqlite` a cache is built over a [`Database`] of the program's own. [`Column`]
//! comes with either.

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
mod rehearsal;
mod reread;
mod secret;
mod statements;
mod stats;
mod sync;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod workspace;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use cache::Transaction;
pub use cache::{BuildError, Builder, Operator, SecretCache, WarmReport};
pub use clock::{Clock, Instant, ManualClock, SystemClock};
#[cfg(feature = "sqlite")]
pub use database::Sqlite;
pub use database::{Answer, Answers, Database, IssueMode};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use database::{Column, Engine, TransactionConnection};
#[cfg(feature = "postgres")]
pub use database::{Health, Postgres, PostgresOptions, PostgresPool, PostgresWrite, Sessions};
pub use error::{ConnectError, DatabaseError, Error, InvalidWorkspace, Reason};
pub use lookup::{Lookup, Status};
pub use policy::{
    BreakerStatus, Cause, CompileCacheError, Execution, InvalidKey, Measure, OnError, Policy, PolicyCard,
    PolicyChange, PolicyFailure, PolicyStatus, Probation, PublicKey, Range, RetainedPolicy, Signed,
    SigningKey, Stage, SwapError, SwapRecord, SwapReport, WriteOrder, compile_cache,
};
pub use secret::Secret;
pub use stats::Stats;
pub use workspace::WorkspaceId;
