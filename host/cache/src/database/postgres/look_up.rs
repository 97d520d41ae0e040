//! The look-up of the table: whether it has the column, and what its key is.

use sqlx::Row as _;
use tokio::time::timeout;

use super::connect::CONNECT_TIMEOUT;
use super::failure::{PostgresFailure, describe};
use super::pool::Link;
use super::statements::PostgresSql;
use super::tagged::{ANSWER, Parameter, Tagged};
use crate::database::Column;
use crate::{ConnectError, IssueMode};

/// The statement for each column of a table, with the type that it is declared as and the one that it is
/// based on if that is a domain. `-1` as the modifier leaves a length out, and makes `character` what it is
/// here: of any length.
const COLUMNS: &str = "SELECT CAST(a.attname AS text), format_type(a.atttypid, a.atttypmod), \
     format_type(b.oid, -1), CAST(b.typcategory AS text), \
     r.relkind NOT IN ('r', 'p') OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid \
     AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 1 \
     AND i.indkey[0] = a.attnum) \
     FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_class r ON r.oid = a.attrelid \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_type b ON b.oid = COALESCE(NULLIF(t.typbasetype, 0), t.oid) \
     WHERE a.attrelid = to_regclass($4) AND a.attnum > 0 AND NOT a.attisdropped";

/// Checks that the database has the column, and that its key column is unique. Returns the key's type if it
/// is not text.
pub(super) async fn check(link: &Link, column: &Column) -> Result<Option<String>, ConnectError> {
    match timeout(CONNECT_TIMEOUT, look_up(link, column)).await {
        Ok(checked) => checked,
        Err(_elapsed) => {
            let reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            Err(ConnectError::Unreachable { reason })
        }
    }
}

async fn look_up(link: &Link, column: &Column) -> Result<Option<String>, ConnectError> {
    let table = column.quoted_table();
    let columns = Tagged::read("columns", |guard| {
        format!("c.* FROM (SELECT 1) AS one LEFT JOIN ({COLUMNS} AND {guard}) AS c ON true")
    });
    // Everything goes over one connection, which the first SELECT uses next.
    let mut glance = link.glance().await.map_err(failed)?;
    let rows = glance.read(&columns, &[Parameter::Text(&table)]).await.map_err(failed)?;
    let mut types = Vec::with_capacity(rows.len());
    for row in &rows {
        types.extend(ColumnType::read(row).map_err(|error| failed(PostgresFailure::Sent(error)))?);
    }
    if types.is_empty() {
        return Err(ConnectError::Schema(format!(
            "the database has no table {table}; names are case-sensitive"
        )));
    }
    let find = |name: &str, role: &str| {
        types.iter().find(|candidate| candidate.column == name).ok_or_else(|| {
            ConnectError::Schema(format!(
                "the table {table} has no {role} {name:?}; names are case-sensitive"
            ))
        })
    };
    let key = find(column.key(), "key column")?;
    let secret = find(column.secret(), "secret column")?;
    // A `name` is a string too, but is cut off at 63 bytes without an error.
    if secret.category != "S" || secret.base == "name" {
        return Err(ConnectError::Schema(format!(
            "the secret column {column} has the type {}; expected text, varchar or char",
            secret.declared
        )));
    }
    if !key.is_unique && !column.is_assumed_unique() {
        return Err(column.not_unique());
    }
    let key_type = (key.base != "text").then(|| key.base.clone());
    let statements = PostgresSql::new(column, key_type.as_deref());
    // Anything else that is wrong (an index in place of a table, a key type that has no equality, a view that
    // cannot be written) shows when the statements are parsed.
    let both = [(&statements.select, 1, "read"), (statements.issue(IssueMode::Rotate), 2, "written")];
    for (statement, texts, done) in both.into_iter().take(if column.is_read_only() { 1 } else { 2 }) {
        glance.prepare(statement, texts).await.map_err(|failure| {
            ConnectError::Schema(format!(
                "the column {column} cannot be {done} by the key column {:?} of type {}: {}",
                column.key(),
                key.declared,
                failure.of_select()
            ))
        })?;
    }
    glance.end();
    Ok(key_type)
}

fn failed(failure: PostgresFailure) -> ConnectError {
    match failure {
        PostgresFailure::NotSent(error) => {
            ConnectError::Unreachable { reason: describe(&error).into_owned() }
        }
        failure => ConnectError::Schema(format!("the table could not be looked up: {}", failure.of_select())),
    }
}

struct ColumnType {
    column: String,
    /// The type as it is declared, for messages: `character varying(64)`.
    declared: String,
    /// The type that it is compared as: the one below a domain, without a length.
    base: String,
    /// PostgreSQL's own grouping of types; `S` is strings.
    category: String,
    /// Whether no two rows can have the same value, as far as that can be seen: for a view it is assumed.
    is_unique: bool,
}

impl ColumnType {
    /// Reads a row; `None` for the row that stands for no column.
    fn read(row: &sqlx::postgres::PgRow) -> Result<Option<Self>, sqlx::Error> {
        let Some(column) = row.try_get(ANSWER)? else { return Ok(None) };
        Ok(Some(Self {
            column,
            declared: row.try_get(ANSWER + 1)?,
            base: row.try_get(ANSWER + 2)?,
            category: row.try_get(ANSWER + 3)?,
            is_unique: row.try_get(ANSWER + 4)?,
        }))
    }
}
