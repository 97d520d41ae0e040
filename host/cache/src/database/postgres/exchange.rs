//! The exchange of one statement over one connection, with the answer held against the statement.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::failure::PostgresFailure;
use super::tagged::{Nonce, Parameter, Tagged};

/// Sends a statement, and holds the answer against it. Returns the rows, and the server's process that has
/// answered.
pub(super) async fn exchange(
    connection: &mut PgConnection,
    statement: &Tagged,
    nonce: &Nonce,
    parameters: &[Parameter<'_>],
) -> Result<(Vec<PgRow>, i32), PostgresFailure> {
    let rows =
        statement.query(nonce, parameters).fetch_all(connection).await.map_err(PostgresFailure::Sent)?;
    let process = statement.check(nonce, &rows).map_err(PostgresFailure::Mixed)?;
    Ok((rows, process))
}
