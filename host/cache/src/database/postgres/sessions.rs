//! The other end of a connection: a session of its own, or one that is lent by the transaction.
//!
//! A pooler that lends server connections by the transaction, and does not carry prepared statements along,
//! loses those of every program that uses the driver's. That is found out before anything is written: one
//! client prepares a statement that no other client has, a second client takes the server connection that it
//! was prepared on, and the first client runs it again. This file knows no table and no column.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::time::timeout;

use super::exchange::exchange;
use super::failure::{PostgresFailure, describe};

use super::tagged::{Nonce, Parameter, Tagged};
use super::url::{SessionKind, WantedSession};
use crate::{ConnectError, DatabaseError};

/// Number of rounds, for poolers that lend their connections in turn, or to other clients meanwhile.
const ROUNDS: usize = 4;
/// Maximum time of the first client while the second one holds the connection: a pooler with a single
/// connection has none left.
const HELD: Duration = Duration::from_millis(500);
/// Maximum time of all rounds together.
const LIMIT: Duration = Duration::from_secs(5);

/// The message for a pooler that loses prepared statements.
pub(super) const LOST: &str = "the pooler before the database lends server connections by the transaction \
     and does not keep prepared statements, so that a statement can be run as another one; set up PgBouncer \
     1.21 or newer with max_prepared_statements above 0 (its default is 200), or pool_mode=session, or \
     connect to PostgreSQL itself";

/// The message until it is known what is at the other end.
pub(super) const SUSPECTED: &str = "statements do not reach the session that they were prepared in, and \
     nothing is sent before it is known what is between here and the database";

/// The message for a pooler that lends by the statement.
const BY_STATEMENT: &str = "the pooler before the database lends server connections by the statement; set up \
     pool_mode=session, or PgBouncer 1.21 or newer with pool_mode=transaction and max_prepared_statements \
     above 0, or connect to PostgreSQL itself";

/// The fate of a session between two statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sessions {
    /// Each connection has a session of its own: a server, or a pooler that lends by the session.
    Own,
    /// A pooler lends sessions by the transaction, and takes prepared statements along.
    PerTransaction,
}

/// The observation of one round.
enum Seen {
    /// Nothing that a server would not do.
    Own,
    /// The first client's statement was run in another session, and was the right one.
    Stays,
    /// The statement was lost, or another one was run.
    Lost,
    /// There was no second server connection, or something else failed.
    Nothing,
}

/// Looks at what is at the other end. An error says that it cannot be used, or that it cannot be reached.
pub(super) async fn look(options: &PgConnectOptions) -> Result<Sessions, ConnectError> {
    match timeout(LIMIT, look_in_rounds(options)).await {
        Ok(seen) => seen,
        Err(_elapsed) => {
            let reason = format!("two connections gave no answer within {} s", LIMIT.as_secs());
            Err(ConnectError::Unreachable { reason })
        }
    }
}

async fn look_in_rounds(options: &PgConnectOptions) -> Result<Sessions, ConnectError> {
    let unreachable =
        |error: sqlx::Error| ConnectError::Unreachable { reason: describe(&error).into_owned() };
    let mut first = PgConnection::connect_with(options).await.map_err(unreachable)?;
    let mut second = match PgConnection::connect_with(options).await {
        Ok(second) => second,
        // The role or the server has no second connection to give. Then no other client is lent the first one
        // either.
        Err(error) if says_too_many(&error) => {
            let _ = first.close().await;
            return Ok(Sessions::Own);
        }
        Err(error) => return Err(unreachable(error)),
    };
    let mut sessions = Sessions::Own;
    // The text of the statement has never been prepared before: a statement that was left behind cannot
    // answer for it.
    let (statement, nonce) = probe().map_err(|reason| ConnectError::Unreachable { reason })?;
    for _ in 0..ROUNDS {
        match round(&mut first, &mut second, &statement, &nonce).await? {
            Seen::Lost => return Err(ConnectError::Pooler(LOST.to_owned())),
            Seen::Stays => sessions = Sessions::PerTransaction,
            Seen::Own | Seen::Nothing => {}
        }
    }
    // A connection that is left open is closed with the process; a server that has gone since does not matter
    // here.
    let _ = first.close().await;
    let _ = second.close().await;
    Ok(sessions)
}

async fn round(
    first: &mut PgConnection,
    second: &mut PgConnection,
    statement: &Tagged,
    nonce: &Nonce,
) -> Result<Seen, ConnectError> {
    let before = match ask(first, statement, nonce).await {
        Ok(process) => process,
        Err(failure) => return failed(failure),
    };
    // These are not prepared: nothing of the second client's can be mixed up with what the first one has
    // left.
    if let Err(error) = sqlx::raw_sql("BEGIN").execute(&mut *second).await {
        let begun = PostgresFailure::Sent(error);
        return if begun.is_protocol_violation() {
            Err(ConnectError::Pooler(BY_STATEMENT.to_owned()))
        } else {
            Err(unavailable(begun))
        };
    }
    let taken = process(second).await;
    let after = timeout(HELD, ask(first, statement, nonce)).await;
    let ended = sqlx::raw_sql("ROLLBACK").execute(&mut *second).await;
    if let Err(error) = ended {
        return Err(unavailable(PostgresFailure::Sent(error)));
    }
    match (taken, after) {
        (_, Ok(Err(failure))) => failed(failure),
        (_, Ok(Ok(after))) if after != before => Ok(Seen::Stays),
        (Ok(taken), Ok(Ok(_))) if taken != before => Ok(Seen::Own),
        // The second client is in the session in which the first one still answers: a pooler that shares one
        // session among several clients at once.
        (Ok(_), Ok(Ok(_))) => Ok(Seen::Lost),
        (Err(error), _) => Err(unavailable(PostgresFailure::Sent(error))),
        // All server connections are held by the second client. The same name on the same connection shows as
        // much.
        (Ok(_), Err(_elapsed)) => alone(first, second, statement, nonce).await,
    }
}

/// Looks where there is a single server connection for both clients.
async fn alone(
    first: &mut PgConnection,
    second: &mut PgConnection,
    statement: &Tagged,
    nonce: &Nonce,
) -> Result<Seen, ConnectError> {
    // The first client's answer is still on its way, and that client reads past it.
    let (again, also) = probe().map_err(|reason| ConnectError::Unreachable { reason })?;
    let process = match ask(second, &again, &also).await {
        Ok(process) => process,
        Err(failure) => return failed(failure),
    };
    match timeout(HELD, ask(first, statement, nonce)).await {
        // Both are in one session, each with its own statement. Two sessions show nothing: the first one was
        // only slow.
        Ok(Ok(same)) if same == process => Ok(Seen::Stays),
        Ok(Ok(_)) => Ok(Seen::Nothing),
        Ok(Err(failure)) => failed(failure),
        Err(_elapsed) => Ok(Seen::Nothing),
    }
}

fn failed(failure: PostgresFailure) -> Result<Seen, ConnectError> {
    if failure.is_mix_up() { Ok(Seen::Lost) } else { Err(unavailable(failure)) }
}

fn unavailable(failure: PostgresFailure) -> ConnectError {
    let reason = match failure.of_select() {
        DatabaseError::Unavailable(words) | DatabaseError::Refused(words) => words.to_string(),
        other => other.to_string(),
    };
    ConnectError::Unreachable { reason }
}

/// Makes a statement with a text of its own, and a nonce for it.
fn probe() -> Result<(Tagged, Nonce), String> {
    let mut name = [0; 12];
    getrandom::fill(&mut name).map_err(|error| format!("no random bytes: {error}"))?;
    let [a, b, c, d, ..] = name;
    let purpose = format!("look:{}", hex::encode(name));
    Ok((Tagged::read(&purpose, |guard| format!("{guard} AND $4 = ''")), Nonce::new([a, b, c, d], 0)))
}

async fn ask(
    connection: &mut PgConnection,
    statement: &Tagged,
    nonce: &Nonce,
) -> Result<i32, PostgresFailure> {
    exchange(connection, statement, nonce, &[Parameter::Text("")]).await.map(|(_, process)| process)
}

/// Asks a session for a sign of life, without a prepared statement. Returns the server's process, or `None`
/// where the session is of another kind than the one that is wanted.
pub(super) async fn alive(
    connection: &mut PgConnection,
    wanted: WantedSession,
) -> Result<Option<i32>, sqlx::Error> {
    if !wanted.is_strict() {
        return process(connection).await.map(Some);
    }
    let sql = "SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let session = SessionKind { is_standby: row.try_get(1)?, is_read_only: row.try_get(2)? };
    Ok(if wanted.fits(session) { Some(row.try_get(0)?) } else { None })
}

/// Returns the server's process at the other end, asked for without a prepared statement.
pub(super) async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe("SELECT pg_backend_pid()")).fetch_all(connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    row.try_get(0)
}

fn says_too_many(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("53"))
}
