//! The check of the runtime that a cache is built on.

use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::error::BuildError;

/// Checks that the cache can live on the current runtime.
pub(super) fn check_runtime() -> Result<(), BuildError> {
    Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
    // There is no other way to find out: a timer panics where there is no clock to drive it. So would each
    // read.
    let timer = catch_unwind(|| drop(sleep(Duration::ZERO)));
    timer.map_err(|_| BuildError::NoTime)
}
