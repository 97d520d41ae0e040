//! The refusal of a policy: its stage and its reason.

use std::fmt;

/// Stages at which a policy can be refused, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The component is empty, or larger than 4 MiB.
    Size,
    /// The digest is none of the pinned ones.
    Digest,
    /// The component is not signed by a trusted key, or is signed under a revision that is older than one
    /// that was active.
    Signature,
    /// The bytes are not a component in the binary format, or the component is too large in some part: more
    /// functions, longer functions, more of anything that takes time and memory to compile than a policy
    /// needs.
    Inspect,
    /// The component is not valid, or was not compiled in time.
    Compile,
    /// The component imports something that the host does not offer, or lacks an export.
    World,
    /// The policy's `describe` or `configure` failed, or refused the settings.
    Configure,
    /// The policy failed when it was driven against a clock and a database of the host's own, before it would
    /// have served.
    Rehearsal,
    /// There is no policy to go back to.
    Rollback,
    /// The machine lacks what loading takes, such as memory, address space or a thread: no fault of the
    /// policy.
    Host,
}

impl Stage {
    /// Returns the word for logs and JSON.
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

/// The refusal of a policy. The policy that was active still is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy was refused at stage {stage}: {reason}")]
#[non_exhaustive]
pub struct SwapError {
    /// Stage of the refusal.
    pub stage: Stage,
    /// Reason, for an operator to act on.
    pub reason: String,
}

impl SwapError {
    pub(crate) fn new(stage: Stage, reason: impl Into<String>) -> Self {
        Self { stage, reason: reason.into() }
    }
}
