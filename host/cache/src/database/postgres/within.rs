//! Statements within a transaction of the program's own, over its connection.
//!
//! Nothing is tried again here, on this connection or on another one: what came before it in the transaction
//! would be missing. After an error of the server the transaction can only be rolled back.

use sqlx::{PgConnection, Row as _};

use super::failure::PostgresFailure;
use super::tagged::{ANSWER, Parameter};
use super::{Postgres, WriteOutcome, says_exists};
use crate::database::TransactionConnection;
use crate::{DatabaseError, Secret, WorkspaceId};

/// Stores a secret, and returns what the row holds in the transaction.
pub(super) async fn write(
    database: &Postgres,
    connection: TransactionConnection<'_>,
    workspace: &WorkspaceId,
    minted: Secret,
) -> Result<Secret, DatabaseError> {
    let connection = connection.of_postgres()?;
    let text = database.writable(&minted)?;
    // If the statement were sent, it would fail the transaction.
    if !database.key.may_be(workspace.as_str()) {
        return Err(DatabaseError::UnknownWorkspace);
    }
    let parameters = [Parameter::Text(workspace.as_str()), Parameter::Text(text)];
    let sent = database.link.send_within(connection, &database.statements.rotate_within, &parameters);
    let rows = match sent.await {
        Ok(rows) => rows,
        Err(failure) if failure.says_no_such_value() => {
            return Err(database.refused("has keys of a type that the workspace's id is no value of"));
        }
        Err(failure) => return Err(database.of_row(failure, PostgresFailure::of_issue)),
    };
    let stored = match database.outcome(&rows)? {
        WriteOutcome::Stored(stored) => stored,
        WriteOutcome::Rewritten => {
            select(database, connection, workspace).await.map_err(|error| database.unread(&error))?
        }
        // The row may have gone while the statement waited for it.
        WriteOutcome::Nothing { existed } if existed && exists(database, connection, workspace).await? => {
            return Err(database.swallowed());
        }
        WriteOutcome::Nothing { .. } => return Err(DatabaseError::UnknownWorkspace),
    };
    stored.ok_or_else(|| database.stays_empty())
}

/// Returns the number of the open transaction, if there is one that has written.
pub(super) async fn open_transaction(
    database: &Postgres,
    connection: TransactionConnection<'_>,
) -> Result<Option<i64>, DatabaseError> {
    let connection = connection.of_postgres()?;
    let sent = database.link.send_within(connection, &database.statements.open_transaction, &[]);
    let rows = sent.await.map_err(PostgresFailure::of_select)?;
    let number = rows.first().map(|row| row.try_get(ANSWER));
    number.transpose().map(Option::flatten).map_err(|_| database.refused("is asked for with other columns"))
}

/// Runs what the transaction has deferred, under a time limit. PostgreSQL puts no limit on a COMMIT: a
/// deferred trigger that waits for a lock there is waited for without end, and its COMMIT takes effect after
/// the client is gone.
pub(super) async fn prepare_commit(
    database: &Postgres,
    connection: TransactionConnection<'_>,
) -> Result<(), DatabaseError> {
    let connection = connection.of_postgres()?;
    let sent = database.link.send_within(connection, &database.statements.limit_deferred, &[]);
    sent.await.map_err(PostgresFailure::of_select)?;
    // This statement has no name, so that no pooler takes it for another one.
    let run = sqlx::raw_sql("SET CONSTRAINTS ALL IMMEDIATE").execute(connection).await;
    run.map(drop).map_err(|error| PostgresFailure::Sent(error).of_select())
}

async fn select(
    database: &Postgres,
    connection: &mut PgConnection,
    workspace: &WorkspaceId,
) -> Result<Option<Secret>, DatabaseError> {
    let parameters = [Parameter::Text(workspace.as_str())];
    let sent = database.link.send_within(connection, &database.statements.select, &parameters);
    let rows = sent.await.map_err(|failure| database.of_row(failure, PostgresFailure::of_select))?;
    database.decode_first(&rows, ANSWER)
}

async fn exists(
    database: &Postgres,
    connection: &mut PgConnection,
    workspace: &WorkspaceId,
) -> Result<bool, DatabaseError> {
    let parameters = [Parameter::Text(workspace.as_str())];
    let sent = database.link.send_within(connection, &database.statements.exists, &parameters);
    let rows = sent.await.map_err(PostgresFailure::of_select)?;
    Ok(says_exists(&rows))
}
