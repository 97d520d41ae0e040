//! What a failed statement means, from what the driver says about it.
//!
//! The invariant: an issue is `Unavailable` only where it is certain that nothing was changed. No text leaves here that
//! could hold a value: a server quotes rows in its details, and a trigger may quote them anywhere.

use std::borrow::Cow;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::DatabaseError;

/// Why there are no rows.
pub(super) enum Failure {
    /// There was no connection to send the statement on.
    NotSent(sqlx::Error),
    /// The statement was on its way, or had arrived.
    Sent(sqlx::Error),
    /// No answer came within our own limit.
    Silent,
}

/// Classes of SQLSTATE whose messages speak of the server and of nobody's data: connection, transaction state, login,
/// catalog, resources, limits, object state, operator, system.
const CLASSES_SAFE_TO_QUOTE: [&str; 9] = ["08", "25", "28", "3D", "53", "54", "55", "57", "58"];

/// Missing privilege, missing table, missing column: an operator needs the name, and it is not data.
const CODES_SAFE_TO_QUOTE: [&str; 3] = ["42501", "42P01", "42703"];

/// Not supported, and: connection, transaction, statement name, login, catalog, rollback, resources, object state, operator.
const CLASSES_OF_ALL_ROWS: [&str; 10] = ["0A", "08", "25", "26", "28", "3D", "40", "53", "55", "57"];

/// Missing privilege, table, column or function.
const CODES_OF_ALL_ROWS: [&str; 4] = ["42501", "42P01", "42703", "42883"];

impl Failure {
    /// Whether the id is no value of the key column's type, so that there cannot be a row for it.
    pub(super) fn says_no_such_value(&self) -> bool {
        // Not the form of the type, out of its range, or no such date or time.
        let codes = ["22P02", "22003", "22007", "22008"];
        matches!(self, Self::Sent(error) if server(error).is_some_and(|error| codes.contains(&error.code())))
    }

    /// Whether it is the connection that has failed, or the session at its other end.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Silent => false,
            Self::Sent(error) => match server(error) {
                Some(answer) => ends_session(answer),
                None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)),
            },
        }
    }

    /// Whether a statement for several rows may have failed for the sake of one of them: by what is in it, and not by what
    /// befell the server, the connection, the table or the transaction.
    pub(super) fn may_be_of_one_row(&self) -> bool {
        let Self::Sent(error) = self else { return false };
        server(error).is_some_and(|error| {
            let class = error.code().get(..2).unwrap_or_default();
            !CLASSES_OF_ALL_ROWS.contains(&class) && !CODES_OF_ALL_ROWS.contains(&error.code())
        })
    }

    /// The failure of a statement that changes nothing.
    pub(super) fn of_select(self) -> DatabaseError {
        match self {
            Self::Silent => DatabaseError::Timeout,
            Self::Sent(error) if server(&error).is_some_and(|error| error.code() == "57014") => {
                DatabaseError::Timeout
            }
            Self::NotSent(error) | Self::Sent(error) => unavailable(&error),
        }
    }

    /// The failure of an issue.
    pub(super) fn of_issue(self) -> DatabaseError {
        match self {
            Self::Silent => DatabaseError::Timeout,
            Self::NotSent(error) => unavailable(&error),
            // Not encoded, so not sent, or an answer of the server, which rolls back what it refuses.
            Self::Sent(error) if is_certain(&error) => unavailable(&error),
            Self::Sent(error) => DatabaseError::Lost(describe(&error).into()),
        }
    }
}

/// Whether the error says that the statement changed nothing.
fn is_certain(error: &sqlx::Error) -> bool {
    match (error, server(error)) {
        (sqlx::Error::Encode(_), _) => true,
        // A connection that ends with its answer (fatal, 08: protocol) may end after the commit, and 40003 says that the
        // server itself does not know. A cancelled statement (57014) is rolled back.
        (_, Some(error)) => {
            !ends_session(error) && !error.code().starts_with("08") && error.code() != "40003"
        }
        _ => false,
    }
}

fn ends_session(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

fn unavailable(error: &sqlx::Error) -> DatabaseError {
    DatabaseError::Unavailable(describe(error).into())
}

fn server(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The error in words that cannot hold a value.
pub(super) fn describe(error: &sqlx::Error) -> Cow<'static, str> {
    match error {
        sqlx::Error::Database(_) => match server(error) {
            Some(error) => describe_answer(error).into(),
            None => "the server refused the statement".into(),
        },
        sqlx::Error::Io(error) => format!("the connection failed: {}", error.kind()).into(),
        sqlx::Error::Tls(error) => format!("TLS failed: {error}").into(),
        sqlx::Error::PoolTimedOut => "no connection became free or could be opened in time".into(),
        sqlx::Error::PoolClosed => "the pool is closed".into(),
        sqlx::Error::Protocol(_) => "the server broke the protocol".into(),
        sqlx::Error::Encode(_) => "the statement could not be encoded".into(),
        _ => "the driver failed".into(),
    }
}

fn describe_answer(error: &PgDatabaseError) -> String {
    let code = error.code();
    let class = code.get(..2).unwrap_or(code);
    // A context says that a function of the database speaks, such as a trigger, which may say anything under any code.
    let from_server = error.r#where().is_none();
    if from_server && (CLASSES_SAFE_TO_QUOTE.contains(&class) || CODES_SAFE_TO_QUOTE.contains(&code)) {
        return format!("{} (SQLSTATE {code})", error.message());
    }
    match (class, error.constraint()) {
        ("23", Some(constraint)) => format!("the constraint {constraint:?} forbids it (SQLSTATE {code})"),
        ("22", _) => format!("the column cannot hold the value (SQLSTATE {code})"),
        ("40", _) => format!("a concurrent transaction was in the way (SQLSTATE {code})"),
        _ => format!("the server refused the statement (SQLSTATE {code})"),
    }
}
