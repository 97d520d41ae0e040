//! What the record of changes says of a workspace: what was done, by whom, and whether it is known to be
//! done.
//!
//! It knows neither the file nor its thread (`state/journal.rs`), and no secret, no token and no hash: there
//! is no field for one.

use leasehold::{Error, WorkspaceId};

use crate::api::ChangeJson;
use crate::author::Author;
use crate::store::StoreError;

/// Kind of a change, by the word that the record has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A workspace was made, with its first token.
    Create,
    /// A workspace was deleted, with all that it had.
    Delete,
    /// The secret was replaced.
    Rotate,
    /// A heartbeat found no secret, and one was issued for it.
    Heal,
    /// A token was made for a workspace.
    AddToken,
    /// A token was made, and all others of the workspace end.
    RotateTokens,
    /// A token was revoked.
    RevokeToken,
    /// What is cached of a workspace was dropped.
    Forget,
    /// All that is cached was dropped.
    Reset,
}

/// Effect of a change, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Done,
    /// The database may have done it.
    Unknown,
}

/// A change, as its author caused it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditedChange<'a> {
    pub(crate) deed: Deed,
    pub(crate) effect: Effect,
    pub(crate) workspace: Option<&'a WorkspaceId>,
    /// Public id of the token that it is about.
    pub(crate) token: Option<&'a str>,
    pub(crate) author: &'a Author,
}

impl Deed {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Rotate => "rotate",
            Self::Heal => "heal",
            Self::AddToken => "add_token",
            Self::RotateTokens => "rotate_tokens",
            Self::RevokeToken => "revoke_token",
            Self::Forget => "forget",
            Self::Reset => "reset",
        }
    }
}

impl Effect {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unknown => "unknown",
        }
    }

    /// The effect of a statement of the server's own; `None` if it has changed nothing.
    pub(crate) fn of_statement<T>(
        answer: &Result<T, StoreError>,
        has_changed: impl FnOnce(&T) -> bool,
    ) -> Option<Self> {
        match answer {
            Ok(answer) => has_changed(answer).then_some(Self::Done),
            Err(StoreError::OutcomeUnknown(_)) => Some(Self::Unknown),
            Err(_) => None,
        }
    }

    /// The effect of an issue; `None` if it has changed nothing.
    pub(crate) fn of_issue<T>(issued: &Result<T, Error>) -> Option<Self> {
        match issued {
            Ok(_) => Some(Self::Done),
            Err(Error::OutcomeUnknown(_)) => Some(Self::Unknown),
            Err(_) => None,
        }
    }
}

impl<'a> ChangeJson<'a> {
    pub(crate) fn of(at: String, change: &AuditedChange<'a>) -> Self {
        let author = change.author;
        Self {
            at,
            cause: change.deed.as_str(),
            by: author.to_string(),
            credential: Some(&author.credential),
            operator: author.operator.as_deref(),
            peer: &author.peer,
            workspace: change.workspace.map(WorkspaceId::as_str),
            token: change.token,
            outcome: change.effect.as_str(),
        }
    }

    /// The line of a heal, whose author is the heartbeat.
    pub(crate) fn of_heal(at: String, workspace: &'a WorkspaceId, effect: Effect, peer: &'a str) -> Self {
        Self {
            at,
            cause: Deed::Heal.as_str(),
            by: format!("heartbeat from {peer}"),
            credential: None,
            operator: None,
            peer,
            workspace: Some(workspace.as_str()),
            token: None,
            outcome: effect.as_str(),
        }
    }
}
