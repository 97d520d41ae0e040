//! The trait that a policy implements, and the words it shares with the host.
//!
//! Nothing here knows whether it runs in a component or in a native test.

use alloc::string::String;

use crate::{Context, Secret, Settings};

/// The decisions of a policy: what is cached, for how long, and in what order writes happen.
///
/// The host calls it only when no lease covers the answer, never on a hit. Keep nothing between calls that
/// matters: the host runs many instances and discards one whenever it likes.
pub trait Policy: Sized + 'static {
    /// The policy's description of itself, and the settings it understands.
    const DESCRIPTION: Description;

    /// Takes the operator's settings, once for each instance. An error is shown to the operator as it is.
    fn configure(settings: &Settings<'_>) -> Result<Self, String>;

    /// Answers a read that no lease covers. `Ok(None)` means that the workspace has no secret.
    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError>;

    /// Issues a secret: call [`Context::issue`] first, put afterwards, and return what it returned.
    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError>;
}

/// A policy's description of itself. The operator sees it; the host never trusts it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// A short name, such as `ttl`.
    pub name: &'static str,
    /// The version of the policy; `env!("CARGO_PKG_VERSION")` does.
    pub version: &'static str,
    /// Summary in one sentence: what is cached, and for how long.
    pub summary: &'static str,
    /// Every setting that [`Policy::configure`] understands.
    pub settings: &'static [Setting],
}

/// A setting that the operator can change without a new component.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name: lower-case letters, digits and `-`.
    pub name: &'static str,
    /// The value if the operator gives none.
    pub default: &'static str,
    /// Description in one sentence: what it does, its unit, its range.
    pub doc: &'static str,
}

/// Reason why the database did not carry out a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseError {
    /// The database cannot be reached, or refused the statement.
    Unavailable,
    /// The database did not answer in time. An issue may have been committed all the same.
    Timeout,
    /// An issue found no row to store a secret in.
    UnknownWorkspace,
    /// The host has too many statements waiting.
    Overloaded,
}

/// Behaviour of an issue when a secret is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueMode {
    /// Replace it.
    Rotate,
    /// Keep it, and return it.
    Heal,
}

/// Importance of a line of the log for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A line for the author of the policy.
    Debug,
    /// A decision worth knowing.
    Info,
    /// A problem that the policy can live with.
    Warn,
    /// A problem that the policy cannot put right.
    Error,
}
