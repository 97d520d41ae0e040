//! The meaning of a failed statement, from SQLite's result code.
//!
//! The invariant: an issue is `Unavailable` only where it is certain that nothing was changed. SQLite's own
//! messages are not passed on: a trigger may raise one that quotes a row.

use std::borrow::Cow;

use crate::DatabaseError;

/// SQLITE_IOERR: reading or writing the file failed, possibly between the commit's record and its sync.
const IO_ERROR: u32 = 10;

/// The reason why there are no rows.
pub(super) enum SqliteFailure {
    /// There was no connection to run the statement on.
    NotSent(sqlx::Error),
    /// The statement was run, or handed to the thread that runs it.
    Sent(sqlx::Error),
}

impl SqliteFailure {
    /// Returns whether a statement for several rows may have failed for the sake of one of them: for what is
    /// computed from it, or because its page is damaged or cannot be read.
    pub(super) fn may_be_of_one_row(&self) -> bool {
        matches!(self, Self::Sent(error) if matches!(primary_code(error), Some(1 | IO_ERROR | 11 | 18)))
    }

    /// Converts the failure of a statement that changes nothing.
    pub(super) fn of_select(self) -> DatabaseError {
        let (Self::NotSent(error) | Self::Sent(error)) = self;
        refused(&error)
    }

    /// Converts the failure of an issue.
    pub(super) fn of_issue(self) -> DatabaseError {
        match self {
            // SQLite undoes a statement that it fails, unless it is the disk that fails it.
            Self::Sent(error) if !matches!(error, sqlx::Error::Encode(_)) => match primary_code(&error) {
                None | Some(IO_ERROR) => DatabaseError::Lost(describe(&error).into()),
                Some(_) => refused(&error),
            },
            Self::NotSent(error) | Self::Sent(error) => refused(&error),
        }
    }
}

/// Codes of what stays refused until the table, the rights or the value is changed: SQL that does not fit the
/// table, rights, size, constraint, type.
const REFUSED_FOR_GOOD: [u32; 6] = [1, 3, 18, 19, 20, 23];

fn refused(error: &sqlx::Error) -> DatabaseError {
    let words = describe(error).into();
    match primary_code(error) {
        Some(8) => DatabaseError::ReadOnly,
        Some(code) if REFUSED_FOR_GOOD.contains(&code) => DatabaseError::Refused(words),
        _ => DatabaseError::Unavailable(words),
    }
}

/// Returns the result code without its extension, which is in the bits above the lowest eight.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Describes the error in words that cannot hold a value.
pub(super) fn describe(error: &sqlx::Error) -> Cow<'static, str> {
    let Some(code) = primary_code(error) else {
        return match error {
            sqlx::Error::PoolTimedOut => "no connection became free in time".into(),
            sqlx::Error::PoolClosed => "the pool is closed".into(),
            sqlx::Error::Io(error) => format!("the file cannot be used: {}", error.kind()).into(),
            _ => "the driver failed".into(),
        };
    };
    let words = match code {
        1 => "the statement was refused; the table may have changed",
        3 | 23 => "access was denied",
        5 | 6 => "the database is locked by another writer",
        8 => "the database is read-only",
        9 => "the statement was interrupted",
        IO_ERROR => "reading or writing the file failed",
        11 | 26 => "the file is damaged or not a database",
        13 => "the disk is full",
        14 => "the file does not exist or cannot be opened",
        17 => "the schema is changing",
        18 => "the value is too long",
        19 => "a constraint or a trigger forbids it",
        _ => "the statement failed",
    };
    format!("{words} (SQLite code {code})").into()
}

#[cfg(test)]
mod tests;
