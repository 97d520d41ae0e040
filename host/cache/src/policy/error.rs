//! A policy that is refused: at which stage, and why.

use std::fmt;

/// Where a policy can be refused, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Empty, or larger than 4 MiB.
    Size,
    /// None of the digests that are pinned.
    Digest,
    /// Not signed by a trusted key, or signed under a revision that is older than one that was active.
    Signature,
    /// Not a component in the binary format, or one that is too large in some part: more functions, longer functions,
    /// more of anything that takes time and memory to compile than a policy needs.
    Inspect,
    /// Not valid, or not compiled in time.
    Compile,
    /// Imports something that the host does not offer, or lacks an export.
    World,
    /// Its `describe` or `configure` failed, or refused the settings.
    Configure,
    /// It failed when it was driven against a clock and a database of the host's own, before it would have served.
    Rehearsal,
    /// Nothing to go back to.
    Rollback,
    /// No fault of the policy: the machine lacks what loading it takes, such as memory, address space or a
    /// thread.
    Host,
}

impl Stage {
    /// The word for logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Inspect => "inspect",
            Self::Compile => "compile",
            Self::World => "world",
            Self::Configure => "configure",
            Self::Rehearsal => "rehearsal",
            Self::Rollback => "rollback",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy was refused. The policy that was active still is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy was refused at stage {stage}: {reason}")]
#[non_exhaustive]
pub struct SwapError {
    /// Where.
    pub stage: Stage,
    /// Why, for an operator to act on.
    pub reason: String,
}

impl SwapError {
    pub(crate) fn new(stage: Stage, reason: impl Into<String>) -> Self {
        Self { stage, reason: reason.into() }
    }
}
