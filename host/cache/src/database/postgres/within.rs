//! Statements within a transaction of the program's own, over its connection.
//!
//! Nothing is tried again here, on this connection or on another one: what came before it in the transaction
//! would be missing. After an error of the server the transaction can only be rolled back.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::failure::Failure;
use super::tagged::{ANSWER, Parameter, Tagged};
use super::{Postgres, WriteOutcome};
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
    let parameters = [Parameter::Text(workspace.as_str()), Parameter::Text(database.writable(&minted)?)];
    let rows = send(database, connection, &database.statements.rotate_within, &parameters).await;
    let rows = rows.map_err(|failure| database.of_row(failure, Failure::of_issue))?;
    let stored = match database.outcome(&rows)? {
        WriteOutcome::Stored(stored) => stored,
        WriteOutcome::Rewritten => {
            select(database, connection, workspace).await.map_err(|error| database.unread(&error))?
        }
        WriteOutcome::Nothing { existed: true } => return Err(database.swallowed()),
        WriteOutcome::Nothing { existed: false } => return Err(DatabaseError::UnknownWorkspace),
    };
    stored.ok_or_else(|| database.stays_empty())
}

/// Reads what the row holds in the transaction.
pub(super) async fn read(
    database: &Postgres,
    connection: TransactionConnection<'_>,
    workspace: &WorkspaceId,
) -> Result<Option<Secret>, DatabaseError> {
    select(database, connection.of_postgres()?, workspace).await
}

async fn select(
    database: &Postgres,
    connection: &mut PgConnection,
    workspace: &WorkspaceId,
) -> Result<Option<Secret>, DatabaseError> {
    let parameters = [Parameter::Text(workspace.as_str())];
    let rows = send(database, connection, &database.statements.select, &parameters).await;
    let rows = rows.map_err(|failure| database.of_row(failure, Failure::of_select))?;
    database.decode_first(&rows, ANSWER)
}

async fn send(
    database: &Postgres,
    connection: &mut PgConnection,
    statement: &Tagged,
    parameters: &[Parameter<'_>],
) -> Result<Vec<PgRow>, Failure> {
    database.link.send_within(connection, statement, parameters).await
}
