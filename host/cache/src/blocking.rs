//! Work on a thread that may block, where the system has a thread to give. This file knows nothing of what is
//! done there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::spawn_blocking;

/// Runs `work` on a thread of the runtime's that may block. It fails, with a message, where the system has
/// none: the runtime panics then, which would end the task.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let task = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)))
        .map_err(|_| "the system has no thread for it; raise the limit, or try again later".to_owned())?;
    task.await.map_err(|error| format!("its thread ended early: {error}"))
}
