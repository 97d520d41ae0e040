//! Everything that can go wrong, each with whose fault it is and whether trying again helps.
//!
//! No error holds a secret, nor text that a database might have quoted one in.

use std::sync::Arc;

/// Why an id is not a [`WorkspaceId`](crate::WorkspaceId). The caller's fault; the same id is refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWorkspace {
    /// The empty string.
    #[error("the workspace id is empty; expected 1 to 256 bytes")]
    Empty,
    /// More than 256 bytes.
    #[error("the workspace id has {bytes} bytes; expected 256 at most")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A control character, such as a line break or NUL.
    #[error("the workspace id has a control character at byte {offset}; expected printable text")]
    ControlCharacter {
        /// Where the first one is, in bytes from the start.
        offset: usize,
    },
}

/// Why a read or an issue gave no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The workspace has no secret: no row, or its column is NULL or empty. Issue one.
    #[error("the workspace has no secret")]
    Absent,
    /// An issue found no row for the workspace, so that there was nowhere to store a secret. Nothing was stored.
    #[error("the workspace has no row in the database")]
    UnknownWorkspace,
    /// The database's fault: it could not be reached, or refused the statement for now. Nothing was stored. Retry later.
    #[error("the database is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The database refuses the statement, and will until somebody changes the table, its triggers, the role or the value: no
    /// privilege, a constraint, a view that cannot be written, a trigger that swallows the write. Nothing was stored.
    #[error("the database refuses it: {0}")]
    Refused(Arc<str>),
    /// The database's fault: it did not answer a read in time. Retry later.
    #[error("the database did not answer in time")]
    Timeout,
    /// The database's fault: an issue was sent, and its answer was lost or late. It may have been committed or not; the
    /// entry is dropped either way. Read again to learn which.
    #[error("the issue may or may not have been committed: {0}")]
    OutcomeUnknown(Arc<str>),
    /// The server's fault: too many loads are waiting already, for the database or for a call of the policy. Retry after a
    /// pause.
    #[error("too many loads are waiting for the database")]
    Overloaded,
    /// Our fault: a task of the cache ended without an answer. Please report it.
    #[error("the cache failed: {0}")]
    Internal(Arc<str>),
}

impl Error {
    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Timeout | Self::OutcomeUnknown(_) | Self::Overloaded => true,
            Self::Absent | Self::UnknownWorkspace | Self::Refused(_) | Self::Internal(_) => false,
        }
    }
}

/// Why a [`Database`](crate::Database) did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// It could not be reached, or refused the statement for now. Nothing was changed.
    #[error("{0}")]
    Unavailable(Arc<str>),
    /// It refuses the statement, and will until somebody changes the table, the role or the value. Nothing was changed.
    #[error("{0}")]
    Refused(Arc<str>),
    /// The connection was lost after the statement was sent, so that its effect is unknown.
    #[error("the connection was lost: {0}")]
    Lost(Arc<str>),
    /// It did not answer in time. A statement that was sent may still take effect.
    #[error("no answer in time")]
    Timeout,
    /// An issue found no row to store a secret in.
    #[error("the workspace has no row in the database")]
    UnknownWorkspace,
    /// Too many statements are waiting; this one was not sent.
    #[error("too many statements are waiting")]
    Overloaded,
}

/// Why a database could not be used at all, at start-up. The operator's fault, or the network's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A table or column name that cannot be used.
    #[error(
        "{role} {name:?} is not a usable SQL identifier; expected a letter or '_' followed by letters, digits or '_', \
         63 bytes at most"
    )]
    Identifier {
        /// `table`, `key column` or `secret column`.
        role: &'static str,
        /// The name as it was given.
        name: String,
    },
    /// A URL that says nothing we understand.
    #[error("the database URL is not usable: {reason}")]
    Url {
        /// What is wrong and what was expected. It never holds the password.
        reason: String,
    },
    /// The database cannot be reached, or does not let us in.
    #[error("cannot connect to the database: {reason}")]
    Unreachable {
        /// What the driver said.
        reason: String,
    },
    /// The database has no such table or column, or one that cannot be used.
    #[error("{0}")]
    Schema(String),
    /// A pooler between us and the database runs prepared statements on connections where they are other statements.
    #[error("the database is behind a pooler that cannot be used: {0}")]
    Pooler(String),
}
