//! An in-process, read-through and write-through cache of per-workspace secrets kept in one column of a SQL
//! database. Its policy (how long a value is kept, what is done while the database is down) is a WebAssembly
//! component that can be swapped while the program runs.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! use leasehold::{Column, SecretCache, Sqlite, Status, WorkspaceId};
//! use sqlx::sqlite::SqlitePoolOptions;
//!
//! let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! sqlx::raw_sql("CREATE TABLE workspaces (id TEXT PRIMARY KEY, secret TEXT);
//!                INSERT INTO workspaces VALUES ('acme', NULL)").execute(&pool).await?;
//!
//! let column = Column::new("workspaces", "id", "secret")?;
//! let cache = SecretCache::builder().database(Sqlite::from_pool(pool, column).await?).build().await?;
//!
//! let acme = WorkspaceId::new("acme")?;
//! let secret = cache.issue(&acme).await?;
//! assert_eq!(cache.read(&acme).await?.status, Status::Hit);
//! assert!(cache.verify(&acme, secret.expose()).await?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! # How it works
//!
//! The policy grants *leases*, and the cache answers under them. A hit is a look into a concurrent map and a
//! comparison of instants: no policy runs, no statement is sent, no lock is taken, nothing is allocated. On
//! a miss one load per workspace asks the policy, which asks the database; all that miss meanwhile wait for
//! that one. An issue mints a secret, stores it in the database, and replaces the entry.
//!
//! # Guarantees
//!
//! - *You read your issues.* Once an issue has returned a secret, every read that starts later in this
//!   process returns that one or a newer one.
//! - *Age is bounded.* No value is answered past its lease, and no policy grants one beyond the ceilings of
//!   the [`Builder`].
//! - *Nothing uncommitted is served.* A failed issue changes nothing; one whose outcome is unknown
//!   ([`Error::OutcomeUnknown`]) drops the entry.
//! - *No policy reaches another workspace,* nor the bytes of any secret; one that traps, spins or lies is
//!   answered for from the database, and replaced.
//! - *One load* serves all that wait. A caller that goes away cancels nothing.
//! - *A swap is atomic.* When it returns, no hit is served under an older policy's lease.
//! - *No plaintext* in logs, errors or `Debug`; what the cache holds is wiped with its last handle.
//! - *An answer belongs to its question,* and *what is answered is what the row holds*: what a pooler mixes
//!   up, or a trigger changes, is an error or the stored value, never something else.
//!
//! Another process's writes are seen when the lease ends: 5 minutes by default.
//!
//! # Errors and panics
//!
//! [`Error`] says whose fault it was, and [`Error::is_transient`] whether the same call may succeed later.
//! No method panics, whatever a policy, a database or an implementation of [`Database`] does; what that
//! panics in is an error of the call. A cache needs a tokio runtime with a timer, on which it is built and
//! which lives as long as it is used.
//!
//! # Where to look
//!
//! [`SecretCache`] has everything that a request path calls, [`SecretCache::builder`] every setting,
//! [`SecretCache::on_behalf_of`] what an operator does, [`Transaction`] issues along with other statements.
//! `examples/` in the repository has a web server, a worker, a database of one's own and tests with a clock.
//!
//! # Features
//!
//! - `postgres`: [`Postgres`], [`PostgresPool`] and what belongs to them, over sqlx. On by default.
//! - `sqlite`: [`Sqlite`], with a SQLite of its own. On by default. Cargo links one SQLite only, so that a
//!   program with another one leaves this out.
//! - `tls`: TLS to PostgreSQL, by rustls with Mozilla's roots. On by default. Without it connections are
//!   plain where the URL leaves the choice (`sslmode=prefer`, the default), and refused where it does not
//!   (`require`, `verify-ca`, `verify-full`), unless the program has another TLS by a feature of sqlx.
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
mod core;
mod database;
mod error;
mod fill;
mod flight;
mod hits;
mod issue;
mod key_types;
mod lease;
mod lookup;
mod policy;
mod rehearsal;
mod reread;
mod secret;
mod start;
mod statements;
mod stats;
mod sync;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod workspace;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use cache::Transaction;
pub use cache::{BuildError, Builder, EntryInfo, EntryState, Operator, SecretCache, WarmReport};
pub use clock::{Clock, Instant, ManualClock, SystemClock};
#[cfg(feature = "sqlite")]
pub use database::Sqlite;
pub use database::{Answer, Answers, Changes, Database, IssueMode, RowChange};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use database::{Column, Engine, TransactionConnection};
#[cfg(feature = "postgres")]
pub use database::{
    Health, KeyForm, Postgres, PostgresOptions, PostgresPool, PostgresQuery, PostgresWrite, Sessions,
};
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
