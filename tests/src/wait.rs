//! Waiting for a condition, with a bound.

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::MAX_WAIT;

/// Waits until the condition holds. `what` is for the error.
pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !holds()? {
        ensure!(started.elapsed() < MAX_WAIT, "it never came to that: {what}");
    }
    Ok(())
}
