//! Statements of a program's own that answer with rows of texts.
//!
//! They are tagged, guarded and held against their answers as the cache's own are. Each is one statement that
//! commits by itself, however many tables it changes. What the texts mean is not known here, and none of them
//! is in an error.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::Instant as Deadline;

use super::{OWN_LIMIT, PostgresPool};
use crate::DatabaseError;
use crate::database::postgres::failure::PostgresFailure;
use crate::database::postgres::tagged::{ANSWER, Parameter, Tagged};

/// A statement of a program's own that answers with rows of texts, for [`PostgresPool::query`].
#[derive(Clone, Debug)]
pub struct PostgresQuery {
    statement: Tagged,
    columns: usize,
    effect: QueryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryKind {
    Reads,
    Changes,
}

impl PostgresQuery {
    /// Makes a statement for `purpose`, which is in its tag, that changes nothing. `select` makes it from the
    /// condition without which it must find nothing: a `SELECT` of so many columns, all of them texts, the
    /// first of which is never NULL. Its own parameters begin with `$4`.
    pub fn read(purpose: &str, columns: usize, select: impl FnOnce(&str) -> String) -> Self {
        let statement = Tagged::read(purpose, |guard| found(&select(guard)));
        Self { statement, columns, effect: QueryKind::Reads }
    }

    /// Makes a statement that changes rows. `steps` makes the parts of its `WITH` from the condition without
    /// which none of them may change anything; `select` reads what they return, as in [`read`](Self::read).
    pub fn change(purpose: &str, columns: usize, steps: impl FnOnce(&str) -> String, select: &str) -> Self {
        let statement = Tagged::steps(purpose, steps, &found(select));
        Self { statement, columns, effect: QueryKind::Changes }
    }

    fn texts(&self, row: &PgRow) -> Result<Vec<Option<String>>, sqlx::Error> {
        (ANSWER..ANSWER + self.columns).map(|column| row.try_get(column)).collect()
    }
}

impl PostgresPool {
    /// Sends a statement of a program's own, with its parameters as text, and returns its rows.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Timeout`] and [`DatabaseError::Lost`] say that the outcome is unknown. After any
    /// other error nothing was changed.
    pub async fn query(
        &self,
        query: &PostgresQuery,
        parameters: &[&str],
    ) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(|text| Parameter::Text(text)).collect();
        let link = self.link();
        let rows = match query.effect {
            QueryKind::Reads => {
                link.read(&query.statement, &parameters).await.map_err(PostgresFailure::of_select)?
            }
            QueryKind::Changes => {
                let send_by = Deadline::now() + OWN_LIMIT;
                let sent = link.write(&query.statement, &parameters, send_by).await;
                sent.map_err(PostgresFailure::of_issue)?
            }
        };
        let texts = rows.iter().map(|row| query.texts(row)).collect::<Result<Vec<_>, sqlx::Error>>();
        let texts = texts.map_err(|_| DatabaseError::Lost("it has answered with other columns".into()))?;
        // A row without values stands for no row.
        Ok(texts.into_iter().filter(|row| row.first().is_some_and(Option::is_some)).collect())
    }
}

/// Makes the end of a statement that answers with at least one row.
fn found(select: &str) -> String {
    format!("found.* FROM (SELECT 1) AS one LEFT JOIN ({select}) AS found ON true")
}
