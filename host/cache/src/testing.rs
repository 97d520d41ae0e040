//! What the tests of a program that embeds the cache need: a [`Database`](crate::Database) in memory, and a
//! clock that goes with tokio's paused time. Behind the feature `testing`, which belongs in a program's
//! `[dev-dependencies]`.
//!
//! The cache is the real one, the policy a component as ever. So a test sees what the program will see:
//!
//! ```
//! use std::time::Duration;
//!
//! use leasehold::testing::{InMemory, TokioClock};
//! use leasehold::{DatabaseError, Error, SecretCache, Status, WorkspaceId};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! // In a test of yours this is the body of a function under `#[tokio::test(start_paused = true)]`.
//! let database = InMemory::new();
//! database.store("acme", "s3cret");
//! let cache = SecretCache::builder().database(database.clone()).clock(TokioClock::new()).build().await?;
//! let acme = WorkspaceId::new("acme")?;
//!
//! assert_eq!(cache.read(&acme).await?.status, Status::Miss);
//! assert_eq!(cache.read(&acme).await?.status, Status::Hit);
//! assert_eq!(database.selects(), 1);
//!
//! // Five minutes go by at once, and the lease with them. The database is down by then.
//! tokio::time::advance(Duration::from_secs(301)).await;
//! database.fail_with(DatabaseError::Unavailable("down".into()));
//! assert_eq!(cache.read(&acme).await.unwrap_err(), Error::Unavailable("down".into()));
//!
//! // It is slow. No caller waits for longer than the cache allows: a second, which is over at once.
//! database.recover();
//! database.hold();
//! assert_eq!(cache.read(&acme).await.unwrap_err(), Error::Timeout);
//! database.release();
//! assert!(cache.verify(&acme, b"s3cret").await?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod in_memory;
mod tokio_clock;

pub use in_memory::InMemory;
pub use tokio_clock::TokioClock;

/// Words of SQL that the fuzz targets of this repository read back. It is no part of the interface.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[doc(hidden)]
pub mod sql {
    use crate::Column;

    /// Returns the table, the key column, the secret column and the target of an assignment, as a statement
    /// has them.
    pub fn words_of(column: &Column) -> [String; 4] {
        column.words()
    }
}
