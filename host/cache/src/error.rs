//! Errors: everything that can go wrong, each with whose fault it is and whether a retry helps.
//!
//! No error holds a secret, nor text that a database might have quoted one in.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The reason why an id is not a [`WorkspaceId`](crate::WorkspaceId). It is the caller's fault; the same id
/// is refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWorkspace {
    /// The id is the empty string.
    #[error("the workspace id is empty; expected 1 to 256 bytes")]
    Empty,
    /// The id has more than 256 bytes.
    #[error("the workspace id has {bytes} bytes; expected 256 at most")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The id has a control character, such as a line break or NUL.
    #[error("the workspace id has a control character at byte {offset}; expected printable text")]
    ControlCharacter {
        /// The offset of the first one, in bytes from the start.
        offset: usize,
    },
}

/// The reason why a read or an issue gave no secret. Where there is an error behind it,
/// [`source`](StdError::source) returns that error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The workspace has no secret: no row, or its column is NULL or empty. Issue one.
    Absent,
    /// An issue found no row for the workspace, so there was nowhere to store a secret. Nothing was stored.
    UnknownWorkspace,
    /// The database's fault: it could not be reached, or refused the statement for now. Nothing was stored.
    /// Retry later.
    Unavailable(Reason),
    /// The database refuses the statement, and will until the table, its triggers, the role or the value is
    /// changed: no privilege, a constraint, a view that cannot be written, a trigger that swallows the write.
    /// Nothing was stored.
    Refused(Reason),
    /// The database takes no writes for now: a standby, or a database that was set so. Nothing was stored.
    /// Retry later.
    ReadOnly,
    /// The database's fault: it did not answer in time, to a read or to a statement within a transaction of
    /// the program's. Retry later.
    Timeout,
    /// The database's fault: an issue was sent, and its answer was lost or late. It may have been committed
    /// or not; the entry is dropped either way. Read again to learn which.
    OutcomeUnknown(Reason),
    /// The server's fault: too many loads or issues are waiting already, for the database or for a call of
    /// the policy. Retry after a pause.
    Overloaded,
    /// The caller's fault: the runtime on which the cache was built has ended, and with it every task of the
    /// cache. Nothing was sent. Build the cache on a runtime that lives as long as the cache is used.
    RuntimeEnded,
    /// Our fault: a task of the cache ended without an answer. Please report it.
    Internal(Reason),
}

impl Error {
    /// Returns whether the same call may succeed later without any change by an operator or the program.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_)
            | Self::ReadOnly
            | Self::Timeout
            | Self::OutcomeUnknown(_)
            | Self::Overloaded => true,
            Self::Absent
            | Self::UnknownWorkspace
            | Self::Refused(_)
            | Self::RuntimeEnded
            | Self::Internal(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the workspace has no secret"),
            Self::UnknownWorkspace => f.write_str("the workspace has no row in the database"),
            Self::Unavailable(reason) => write!(f, "the database is unavailable: {reason}"),
            Self::Refused(reason) => write!(f, "the database refuses it: {reason}"),
            Self::ReadOnly => f.write_str(READ_ONLY),
            Self::Timeout => f.write_str("the database did not answer in time"),
            Self::OutcomeUnknown(reason) => {
                write!(f, "the issue may or may not have been committed: {reason}")
            }
            Self::Overloaded => f.write_str("too many loads are waiting for the database"),
            Self::RuntimeEnded => f.write_str(RUNTIME_ENDED),
            Self::Internal(reason) => write!(f, "the cache failed: {reason}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unavailable(reason)
            | Self::Refused(reason)
            | Self::OutcomeUnknown(reason)
            | Self::Internal(reason) => reason.cause(),
            Self::Absent
            | Self::UnknownWorkspace
            | Self::ReadOnly
            | Self::Timeout
            | Self::Overloaded
            | Self::RuntimeEnded => None,
        }
    }
}

/// The message of this error wherever it occurs.
pub(crate) const RUNTIME_ENDED: &str = "the runtime on which the cache was built has ended; \
     build the cache on a runtime that lives as long as the cache is used";

const READ_ONLY: &str = "the database is read-only: a standby, or set so";

/// The reason why a [`Database`](crate::Database) did not do what was asked. Where there is an error behind
/// it, [`source`](StdError::source) returns that error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database could not be reached, or refused the statement for now. Nothing was changed.
    Unavailable(Reason),
    /// The database refuses the statement, and will until the table, the role or the value is changed.
    /// Nothing was changed.
    Refused(Reason),
    /// The database takes no writes for now. Nothing was changed.
    ReadOnly,
    /// The connection was lost after the statement was sent, so that its effect is unknown.
    Lost(Reason),
    /// The implementation of [`Database`](crate::Database) is at fault: it panicked, or answered with what it
    /// may not. What became of the statement is unknown.
    Broken(Reason),
    /// The database did not answer in time. A statement that was sent may still take effect.
    Timeout,
    /// An issue found no row to store a secret in.
    UnknownWorkspace,
    /// Too many statements are waiting; this one was not sent.
    Overloaded,
}

impl DatabaseError {
    pub(crate) fn panicked() -> Self {
        Self::Broken("it panicked".into())
    }

    /// Converts the error of an issue after which the outcome is unknown into the caller's error.
    pub(crate) fn into_unknown_outcome(self) -> Error {
        let words = self.to_string();
        Error::OutcomeUnknown(match self {
            Self::Unavailable(reason) | Self::Refused(reason) | Self::Lost(reason) | Self::Broken(reason) => {
                reason.reworded(words)
            }
            Self::ReadOnly | Self::Timeout | Self::UnknownWorkspace | Self::Overloaded => words.into(),
        })
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) | Self::Refused(reason) => reason.fmt(f),
            Self::Lost(reason) => write!(f, "the connection was lost: {reason}"),
            Self::Broken(reason) => write!(f, "the implementation of Database is at fault: {reason}"),
            Self::ReadOnly => f.write_str(READ_ONLY),
            Self::Timeout => f.write_str("no answer in time"),
            Self::UnknownWorkspace => f.write_str("the workspace has no row in the database"),
            Self::Overloaded => f.write_str("too many statements are waiting"),
        }
    }
}

impl StdError for DatabaseError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unavailable(reason) | Self::Refused(reason) | Self::Lost(reason) | Self::Broken(reason) => {
                reason.cause()
            }
            Self::ReadOnly | Self::Timeout | Self::UnknownWorkspace | Self::Overloaded => None,
        }
    }
}

/// A reason in words, and the error behind it where there is one. Two reasons are equal where their words
/// are.
///
/// The words are shown by every error that has the reason; the error behind it is what [`StdError::source`]
/// returns, for programs that look for a type of their own. Neither may hold a secret.
#[derive(Clone)]
pub struct Reason {
    words: Arc<str>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Reason {
    /// Makes a reason of words alone.
    pub fn new(words: impl Into<Arc<str>>) -> Self {
        Self { words: words.into(), cause: None }
    }

    /// Makes a reason of words, and the error behind them. They should not repeat what that error says: a
    /// report shows both.
    pub fn caused_by(words: impl Into<Arc<str>>, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self { words: words.into(), cause: Some(Arc::new(cause)) }
    }

    fn cause(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }

    /// Puts other words before the same error.
    pub(crate) fn reworded(self, words: impl Into<Arc<str>>) -> Self {
        Self { words: words.into(), ..self }
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.words
    }
}

impl From<&str> for Reason {
    fn from(words: &str) -> Self {
        Self::new(words)
    }
}

impl From<String> for Reason {
    fn from(words: String) -> Self {
        Self::new(words)
    }
}

impl From<Cow<'_, str>> for Reason {
    fn from(words: Cow<'_, str>) -> Self {
        Self::new(words)
    }
}

impl From<Arc<str>> for Reason {
    fn from(words: Arc<str>) -> Self {
        Self::new(words)
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.words, f)
    }
}

/// The reason why a database could not be used at all, at start-up. It is the operator's fault, or the
/// network's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A table or column name that cannot be used.
    #[error(
        "{role} {name:?} is not a usable SQL identifier; expected a letter or '_' followed by letters, \
         digits or '_', 63 bytes at most"
    )]
    Identifier {
        /// `table`, `key column` or `secret column`.
        role: &'static str,
        /// The name as it was given.
        name: String,
    },
    /// A URL that cannot be understood.
    #[error("the database URL is not usable: {reason}")]
    Url {
        /// The problem, and what was expected. It never holds the password.
        reason: String,
    },
    /// The database cannot be reached, or refuses the login.
    #[error("cannot connect to the database: {reason}")]
    Unreachable {
        /// The driver's words.
        reason: String,
    },
    /// The database has no such table or column, or has one that cannot be used.
    #[error("{0}")]
    Schema(String),
    /// A pooler in front of the database runs prepared statements on connections where they are other
    /// statements.
    #[error("{0}")]
    Pooler(String),
}
