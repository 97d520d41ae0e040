//! Containment of a panic to the statement that it occurred in: the code of a database may be the user's.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// The error of a statement that ended in a panic.
pub(crate) struct Panicked;

/// Contains a panic to the statement that it occurred in: others wait for the task that sent it.
pub(crate) async fn contained<T>(statement: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut statement = pin!(statement);
    poll_fn(|context| poll_contained(statement.as_mut(), context)).await
}

/// Polls a future that is not polled again after a panic.
pub(super) fn poll_contained<F: Future + ?Sized>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<Result<F::Output, Panicked>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}
