//! The reasons why a cache cannot be built.

use crate::SwapError;

/// The reason why a cache could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A required part that was not given.
    #[error("SecretCache needs a {0}: call Builder::{0}")]
    Missing(&'static str),
    /// A bound that cannot be kept.
    #[error("{name} is out of range: {expected}")]
    OutOfRange {
        /// The builder's method.
        name: &'static str,
        /// The values that it accepts.
        expected: &'static str,
    },
    /// `build` was not called on a tokio runtime.
    #[error("SecretCache must be built inside a tokio runtime: its loads run as tasks there")]
    NoRuntime,
    /// `build` was called on a tokio runtime without a timer. That is found out by asking for a timer, so the
    /// panic hook has been called as well.
    #[error(
        "SecretCache needs a tokio runtime with time enabled, and this one has none: call enable_time or \
         enable_all on the runtime's builder"
    )]
    NoTime,
    /// The first policy was refused.
    #[error(transparent)]
    Policy(#[from] SwapError),
}
