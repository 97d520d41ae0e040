//! The trait that a policy implements, and the words it shares with the host.
//!
//! Nothing here knows whether it runs in a component or in a native test.

use alloc::string::String;

use crate::{Context, Secret, Settings};

/// Decides what is cached, for how long, and in what order writes happen.
///
/// The host calls it only when no lease covers the answer, never on a hit. Keep nothing between calls that matters:
/// the host runs many instances and discards one whenever it likes.
pub trait Policy: Sized + 'static {
    /// What the policy says of itself, and the settings it understands.
    const DESCRIPTION: Description;

    /// Takes the operator's settings, once for each instance. An error is shown to the operator as it is.
    fn configure(settings: &Settings<'_>) -> Result<Self, String>;

    /// Answers a read that no lease covers. `Ok(None)` says that the workspace has no secret.
    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError>;

    /// Issues a secret: call [`Context::issue`] first, put afterwards, and return what it returned.
    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError>;
}

/// What a policy says of itself. The operator sees it; the host never trusts it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// A short name, such as `ttl`.
    pub name: &'static str,
    /// The version of the policy; `env!("CARGO_PKG_VERSION")` does.
    pub version: &'static str,
    /// One sentence: what is cached, and for how long.
    pub summary: &'static str,
    /// Every setting that [`Policy::configure`] understands.
    pub settings: &'static [Setting],
}

/// A setting that the operator can change without a new component.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Lower-case letters, digits and `-`.
    pub name: &'static str,
    /// The value when the operator says nothing.
    pub default: &'static str,
    /// One sentence: what it does, its unit, its range.
    pub doc: &'static str,
}

/// Why the database did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseError {
    /// It cannot be reached, or refused the statement.
    Unavailable,
    /// It did not answer in time. An issue may have been committed all the same.
    Timeout,
    /// An issue found no row to store a secret in.
    UnknownWorkspace,
    /// The host has too many statements waiting.
    Overloaded,
}

/// What an issue does when a secret is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueMode {
    /// Replace it.
    Rotate,
    /// Keep it, and return it.
    Heal,
}

/// How much the operator should care about a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of use to the author of the policy.
    Debug,
    /// A decision worth knowing.
    Info,
    /// Something is wrong that the policy can live with.
    Warn,
    /// Something is wrong that the policy cannot put right.
    Error,
}
