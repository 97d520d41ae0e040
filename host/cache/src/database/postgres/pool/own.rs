//! Statements of a program's own that read rows: each with a tag, as everything that is sent.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::PostgresPool;
use crate::DatabaseError;
use crate::database::postgres::failure::PostgresFailure;
use crate::database::postgres::tagged::{ANSWER, Parameter, Tagged};

/// A statement of a program's own that reads rows of texts, for [`PostgresPool::read`].
#[derive(Clone, Debug)]
pub struct PostgresRead(Tagged);

impl PostgresRead {
    /// Makes a statement for `purpose`, which is in its tag. `select` makes its end from the condition
    /// without which it must find nothing: columns of texts, and where they are from. Its own parameters
    /// begin with `$4`. Where it finds nothing it has to give one row of NULLs, such as by `found.a, found.b
    /// FROM (SELECT 1) AS one LEFT JOIN (SELECT ...) AS found ON true`.
    pub fn new(purpose: &str, select: impl FnOnce(&str) -> String) -> Self {
        Self(Tagged::read(purpose, select))
    }
}

impl PostgresPool {
    /// Sends a statement of a program's own that changes nothing, with its parameters as text, and returns
    /// the columns of each row. A row without any value, which stands for no row, is left out.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if it is not answered, or with something else than texts.
    pub async fn read(
        &self,
        statement: &PostgresRead,
        parameters: &[&str],
    ) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(|text| Parameter::Text(text)).collect();
        let rows = self.link().read(&statement.0, &parameters).await.map_err(PostgresFailure::of_select)?;
        let texts = |row: &PgRow| -> Result<Vec<Option<String>>, sqlx::Error> {
            (ANSWER..row.len()).map(|column| row.try_get(column)).collect()
        };
        let rows: Result<Vec<_>, sqlx::Error> = rows.iter().map(texts).collect();
        let mut rows = rows.map_err(|error| PostgresFailure::Sent(error).of_select())?;
        rows.retain(|row| row.iter().any(Option::is_some));
        Ok(rows)
    }
}
