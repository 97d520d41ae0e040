//! The meaning of a failed statement, from what the driver says about it.
//!
//! The invariant: an issue is `Unavailable` only where it is certain that nothing was changed. No text leaves
//! here that could hold a value: a server quotes rows in its details, and a trigger may quote them anywhere.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::sync::Arc;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::tagged::Mismatch;
use crate::DatabaseError;

/// The message for a failure of TLS. Where there is no TLS the driver refuses it, and not this crate: a
/// program may have TLS without our feature, by a feature of sqlx.
const TLS_FAILED: &str = if cfg!(feature = "tls") {
    "TLS failed"
} else {
    "TLS failed (leasehold was built without the feature tls)"
};

/// Kinds of errors of a connection that the other end has closed, before or after we had something to say.
const KINDS_OF_AN_END: [ErrorKind; 4] = [
    ErrorKind::UnexpectedEof,
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionAborted,
    ErrorKind::BrokenPipe,
];
/// The message for a connection that ends before an answer.
const CLOSED: &str = "the other end closed the connection, as a proxy whose server is down does";

/// The reason why there are no rows.
pub(super) enum PostgresFailure {
    /// There was no connection to send the statement on.
    NotSent(sqlx::Error),
    /// The statement was on its way, or had arrived.
    Sent(sqlx::Error),
    /// No answer came within our own limit.
    Silent,
    /// An answer came that does not belong to this statement.
    Mixed(Mismatch),
    /// Nothing is sent for now, for this reason.
    Held(Arc<str>),
    /// There was no time left to send the statement.
    Late,
}

/// Classes of SQLSTATE whose messages speak of the server and not of data: connection, transaction state,
/// login, catalog, resources, limits, object state, operator, system; and what is not supported.
const CLASSES_SAFE_TO_QUOTE: [&str; 10] = ["0A", "08", "25", "28", "3D", "53", "54", "55", "57", "58"];

/// Codes that are safe to quote: missing privilege, missing table, missing column. An operator needs the
/// name, and it is not data.
const CODES_SAFE_TO_QUOTE: [&str; 3] = ["42501", "42P01", "42703"];

/// Classes of failures that concern all rows: not supported, connection, transaction, statement name, login,
/// catalog, rollback, resources, object state, operator.
const CLASSES_OF_ALL_ROWS: [&str; 10] = ["0A", "08", "25", "26", "28", "3D", "40", "53", "55", "57"];

/// Codes of failures that concern all rows: missing privilege, table, column or function.
const CODES_OF_ALL_ROWS: [&str; 4] = ["42501", "42P01", "42703", "42883"];

/// Codes of a pooler that loses prepared statements: a prepared statement that is not there, one that is
/// there already, and one with other parameters.
const CODES_OF_A_MIX_UP: [&str; 3] = ["26000", "42P05", "08P01"];

/// Codes of a stale session: a session that may only read, and a session whose statements were prepared for a
/// table that is another one by now. Either session is closed, and the next one is as good as new.
const CODES_OF_A_STALE_SESSION: [&str; 2] = ["25006", "0A000"];

/// Classes of what stays refused until the table, the role or the value is changed: not supported,
/// cardinality, data, constraint, syntax and access, view; and what a function of the database does wrong or
/// raises: diagnostics, case, triggered change, transaction, SQL routine, external routine, schema name.
const CLASSES_REFUSED_FOR_GOOD: [&str; 15] =
    ["0A", "21", "22", "23", "42", "44", "0Z", "20", "27", "2D", "2F", "38", "39", "3F", "P0"];

/// Codes of the same kind, whose classes have others: the state of an object, and a statement or a trigger
/// that goes too deep, has too many columns or too many arguments. (54000 also says that the server takes no
/// writes before a VACUUM.)
const CODES_REFUSED_FOR_GOOD: [&str; 4] = ["55000", "54001", "54011", "54023"];

impl PostgresFailure {
    /// Returns whether the id is no value of the key column's type, so that there cannot be a row for it.
    pub(super) fn says_no_such_value(&self) -> bool {
        // Not in the form of the type, out of its range, or no such date or time.
        let codes = ["22P02", "22003", "22007", "22008"];
        matches!(self, Self::Sent(error) if server(error).is_some_and(|error| codes.contains(&error.code())))
    }

    /// Returns whether the failure is of the connection, or of the session at its other end.
    pub(super) fn is_of_connection(&self) -> bool {
        let Self::Sent(error) = self else { return false };
        match server(error) {
            Some(answer) => ends_session(answer),
            None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)),
        }
    }

    /// Returns whether the connection must not be used again.
    pub(super) fn spoils_connection(&self) -> bool {
        if self.is_of_connection() || self.is_of_stale_session() || self.is_mix_up() {
            return true;
        }
        self.code().is_some_and(|code| code.starts_with("08") || ["57P01", "57P02", "57P03"].contains(&code))
    }

    /// Returns whether another session would have carried out the statement: this one may not write any more,
    /// or holds on to a table that is gone. Nothing was changed.
    pub(super) fn is_of_stale_session(&self) -> bool {
        self.code().is_some_and(|code| CODES_OF_A_STALE_SESSION.contains(&code))
    }

    /// Returns whether the failure says that prepared statements are not where they were prepared.
    pub(super) fn is_mix_up(&self) -> bool {
        match self {
            Self::Mixed(_) => true,
            // A pooler has one of these codes for all that ends a connection of its own, and sends it with
            // another severity. A function of the database may raise any of them, and has a context.
            Self::Sent(error) => server(error).is_some_and(|error| {
                !ends_session(error) && error.r#where().is_none() && CODES_OF_A_MIX_UP.contains(&error.code())
            }),
            _ => false,
        }
    }

    /// Returns whether the other end does not accept what it was sent.
    pub(super) fn is_protocol_violation(&self) -> bool {
        self.code() == Some("08P01")
    }

    /// Returns whether more than one row answers for a single id.
    pub(super) fn says_several_rows(&self) -> bool {
        self.code() == Some("21000")
    }

    /// Returns whether the server refuses the login, with the name and the password that it was given.
    pub(super) fn is_login_refused(&self) -> bool {
        matches!(
            self,
            Self::NotSent(error) if server(error).is_some_and(|error| error.code().starts_with("28"))
        )
    }

    /// The server's code, where the statement has reached a server.
    fn code(&self) -> Option<&str> {
        let Self::Sent(error) = self else { return None };
        server(error).map(PgDatabaseError::code)
    }

    /// Returns whether a statement for several rows may have failed for the sake of one of them: because of
    /// its content, and not because of the server, the connection, the table or the transaction.
    pub(super) fn may_be_of_one_row(&self) -> bool {
        let Self::Sent(error) = self else { return false };
        server(error).is_some_and(|error| {
            let class = error.code().get(..2).unwrap_or_default();
            let of_all =
                CODES_OF_ALL_ROWS.contains(&error.code()) || CODES_OF_A_MIX_UP.contains(&error.code());
            !CLASSES_OF_ALL_ROWS.contains(&class) && !of_all
        })
    }

    /// Converts the failure of a statement that changes nothing.
    pub(super) fn of_select(self) -> DatabaseError {
        match self {
            Self::Silent => DatabaseError::Timeout,
            Self::Sent(error) if server(&error).is_some_and(|error| error.code() == "57014") => {
                DatabaseError::Timeout
            }
            Self::NotSent(error) | Self::Sent(error) => refused(&error),
            Self::Mixed(mismatch) => DatabaseError::Unavailable(mismatch.words().into()),
            Self::Held(words) => DatabaseError::Unavailable(words.into()),
            Self::Late => DatabaseError::Overloaded,
        }
    }

    /// Converts the failure of an issue.
    pub(super) fn of_issue(self) -> DatabaseError {
        match self {
            Self::Silent => DatabaseError::Timeout,
            Self::NotSent(error) => refused(&error),
            // The statement was not encoded, and so not sent, or the server has answered, which rolls back
            // what it refuses.
            Self::Sent(error) if is_certain(&error) => refused(&error),
            Self::Sent(error) => DatabaseError::Lost(describe(&error).into()),
            // It is not known what became of this statement.
            Self::Mixed(mismatch) => DatabaseError::Lost(mismatch.words().into()),
            Self::Held(words) => DatabaseError::Unavailable(words.into()),
            Self::Late => DatabaseError::Overloaded,
        }
    }
}

/// Returns whether the error says that the statement changed nothing.
fn is_certain(error: &sqlx::Error) -> bool {
    match (error, server(error)) {
        (sqlx::Error::Encode(_), _) => true,
        // A connection that ends with its answer (fatal, 08: protocol) may end after the commit, and 40003
        // says that the server itself does not know. A cancelled statement (57014) is rolled back. A protocol
        // violation (08P01) is found before anything is run: the statement has other parameters.
        (_, Some(error)) => {
            let lost = error.code().starts_with("08") && error.code() != "08P01";
            !ends_session(error) && !lost && error.code() != "40003"
        }
        _ => false,
    }
}

fn ends_session(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

fn refused(error: &sqlx::Error) -> DatabaseError {
    let words = describe(error).into();
    match server(error) {
        Some(error) if error.code() == "25006" => DatabaseError::ReadOnly,
        Some(error) if is_for_good(error) => DatabaseError::Refused(words),
        _ => DatabaseError::Unavailable(words),
    }
}

/// Returns whether the statement will be refused again until something is changed.
fn is_for_good(error: &PgDatabaseError) -> bool {
    let (code, class) = (error.code(), error.code().get(..2).unwrap_or_default());
    // A cursor that is not there is a function's mistake, or a statement that a pooler has lost.
    let of_function = class == "34" && error.r#where().is_some();
    let of_table = CLASSES_REFUSED_FOR_GOOD.contains(&class) || CODES_REFUSED_FOR_GOOD.contains(&code);
    (of_table || of_function) && !CODES_OF_A_MIX_UP.contains(&code)
}

fn server(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// Describes the error in words that cannot hold a value.
pub(super) fn describe(error: &sqlx::Error) -> Cow<'static, str> {
    match error {
        sqlx::Error::Database(_) => match server(error) {
            Some(error) => describe_answer(error).into(),
            None => "the server refused the statement".into(),
        },
        sqlx::Error::Io(error) if KINDS_OF_AN_END.contains(&error.kind()) => CLOSED.into(),
        sqlx::Error::Io(error) => format!("the connection failed: {}", error.kind()).into(),
        sqlx::Error::Tls(error) => format!("{TLS_FAILED}: {error}").into(),
        sqlx::Error::PoolTimedOut => "no connection became free or could be opened in time".into(),
        sqlx::Error::PoolClosed => "the pool is closed".into(),
        sqlx::Error::Protocol(problem) if is_end_before_tls(problem) => CLOSED.into(),
        sqlx::Error::Protocol(_) => "the server broke the protocol".into(),
        sqlx::Error::Encode(_) => "the statement could not be encoded".into(),
        _ => "the driver failed".into(),
    }
}

/// Returns whether the other end closed the connection where it was asked for TLS: the driver takes the end
/// for an answer of zero.
fn is_end_before_tls(problem: &str) -> bool {
    problem.contains("SSLRequest") && problem.contains("0x00")
}

fn describe_answer(error: &PgDatabaseError) -> String {
    let code = error.code();
    let class = code.get(..2).unwrap_or(code);
    // A context says that a function of the database speaks, such as a trigger, which may raise any text
    // under any code.
    let from_server = error.r#where().is_none();
    if from_server && (CLASSES_SAFE_TO_QUOTE.contains(&class) || CODES_SAFE_TO_QUOTE.contains(&code)) {
        return format!("{} (SQLSTATE {code})", error.message());
    }
    match (class, error.constraint()) {
        ("21", _) => "more than one row belongs to one workspace; the key column has to be unique".to_owned(),
        ("26", _) => format!("the prepared statement is not there (SQLSTATE {code})"),
        ("23", Some(constraint)) => format!("the constraint {constraint:?} forbids it (SQLSTATE {code})"),
        ("22", _) => format!("the column cannot hold the value (SQLSTATE {code})"),
        ("40", _) => format!("a concurrent transaction was in the way (SQLSTATE {code})"),
        _ => format!("the server refused the statement (SQLSTATE {code})"),
    }
}

#[cfg(test)]
mod tests;
