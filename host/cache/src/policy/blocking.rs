//! Work on a thread that may block, where the system has one to give.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::spawn_blocking;

use crate::{Stage, SwapError};

/// Runs this on a thread of the runtime's that may block.
///
/// # Errors
///
/// [`Stage::Host`] where the system has no thread for it: the runtime panics then, which is nobody's fault
/// here.
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SwapError> {
    let refuse = |reason: String| SwapError::new(Stage::Host, reason);
    let task = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)))
        .map_err(|_| refuse("the system has no thread for it; raise the limit, or try again later".into()))?;
    task.await.map_err(|error| refuse(format!("its thread ended early: {error}")))
}
