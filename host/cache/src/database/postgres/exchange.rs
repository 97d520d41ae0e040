//! One statement over one connection, and its answer held against it.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::failure::Failure;
use super::tagged::{Nonce, Parameter, Tagged};

/// Sends a statement, and holds the answer against it: the rows, and the server's process that has answered.
pub(super) async fn exchange(
    connection: &mut PgConnection,
    statement: &Tagged,
    nonce: &Nonce,
    parameters: &[Parameter<'_>],
) -> Result<(Vec<PgRow>, i32), Failure> {
    let rows = statement.query(nonce, parameters).fetch_all(connection).await.map_err(Failure::Sent)?;
    let process = statement.check(nonce, &rows).map_err(Failure::Mixed)?;
    Ok((rows, process))
}
