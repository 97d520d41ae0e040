//! Containment of a panic to the statement that it occurred in: the code of a database may be the user's.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// The error of a statement that ended in a panic.
pub(crate) struct Panicked;

/// Contains a panic to the statement that it occurred in: others wait for the task that sent it.
pub(crate) async fn contained<T>(statement: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(statement).catch_unwind().await.map_err(|_| Panicked)
}
