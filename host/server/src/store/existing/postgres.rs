//! A table of PostgreSQL that was there already.
//!
//! One query for each column, by the simple protocol. Names are checked identifiers (`Column::new`), so that
//! they can stand in a literal.

use std::time::Duration;

use anyhow::Context as _;
use leasehold::{KeyForm, Postgres, PostgresPool};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::timeout;

use super::super::layout::{Layout, NamedColumn};
use super::{DatabaseReport, describe};

/// Time that an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Answers about a column, as text.
struct Looked(PgRow);

/// Finds out what is there, and returns the layout with what was found.
pub(in crate::store) async fn examine(
    connection: &mut PgConnection,
    pool: &PostgresPool,
    layout: &Layout,
    report: &mut DatabaseReport,
) -> anyhow::Result<Layout> {
    let mut layout = layout.clone();
    let secrets = Looked::at(connection, &layout.secrets).await?;
    let tokens = Looked::at(connection, &layout.tokens).await?;
    report.fact("server", format!("PostgreSQL {}", secrets.text("server")?));
    let is_read_only = secrets.text("read_only")? == "on";
    report.fact("access", if is_read_only { "read-only: a standby, or set so" } else { "read and write" });
    // What cannot be updated is read: that is what it is there for.
    layout.secrets.is_read_only |= secrets.is("has_column")? && !secrets.is("is_updatable")?;
    let before = report.lacks.len();
    secrets.lacks(&layout.secrets, report)?;
    tokens.lacks(&layout.tokens, report)?;
    let mut key_type = String::new();
    if report.lacks.len() == before {
        // What the columns are, the library finds out.
        let found = Postgres::new(pool, layout.secrets.column()?).await;
        match found {
            Ok(found) => layout.form = found.key_form(),
            Err(error) => report.lack(error.to_string()),
        }
        if let Err(error) = Postgres::new(pool, layout.tokens.column()?).await {
            report.lack(error.to_string());
        }
        key_type = format!(", of type {}", secrets.text("key_type")?);
    }
    if layout.form == KeyForm::Other {
        tracing::warn!(
            "ids are compared with the key column one by one: its type is none of those known here"
        );
    }
    describe(report, &layout, &key_type);
    let may = if report.lacks.len() == before { "may do all that is needed" } else { "may not do all" };
    report.fact("user", format!("{} {may}", secrets.text("role")?));
    Ok(layout)
}

impl Looked {
    async fn at(connection: &mut PgConnection, named: &NamedColumn) -> anyhow::Result<Self> {
        let query = sqlx::raw_sql(AssertSqlSafe(look(named))).fetch_one(&mut *connection);
        let row = timeout(ANSWER, query).await;
        let row = row.with_context(|| format!("no answer within {ANSWER:?}"))?;
        Ok(Self(row.with_context(|| format!("cannot look at the table {}", named.table))?))
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.0.try_get(name)?)
    }

    fn is(&self, name: &str) -> anyhow::Result<bool> {
        Ok(self.text(name)? == "true")
    }

    /// Reports what is missing, with the statement that mends it.
    fn lacks(&self, named: &NamedColumn, report: &mut DatabaseReport) -> anyhow::Result<()> {
        let NamedColumn { table, key, column, is_read_only, .. } = named;
        let (role, schema) = (self.text("role")?, named.schema_and_table().0.unwrap_or_default());
        if !self.is("has_schema")? {
            report.lack(format!("there is no schema {schema:?}; names are case-sensitive"));
        } else if !self.is("may_use")? {
            report.lack(format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
        } else if !self.is("has_table")? {
            let hint = if schema.is_empty() { ", and a schema may be named (SCHEMA.TABLE)" } else { "" };
            report.lack(format!("there is no table or view {table}; names are case-sensitive{hint}"));
        } else {
            for (name, there) in [(key, "has_key"), (column, "has_column")] {
                if !self.is(there)? {
                    report.lack(format!("{table} has no column {name:?}; names are case-sensitive"));
                }
            }
            if self.is("has_key")? && self.is("has_column")? {
                if !(self.is("reads_key")? && self.is("reads_column")?) {
                    report.lack(format!("GRANT SELECT ({key}, {column}) ON {table} TO {role}"));
                }
                if !is_read_only && !self.is("writes_column")? {
                    report.lack(format!(
                        "GRANT UPDATE ({column}) ON {table} TO {role} (or say --read-only-column, where \
                         secrets are never to be rotated here)"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn look(named: &NamedColumn) -> String {
    let (schema, table) = named.schema_and_table();
    let (found, namespace) = match schema {
        Some(schema) => (
            format!(
                "c.relname = '{table}' AND c.relnamespace = \
                 (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = '{schema}')"
            ),
            format!("nspname = '{schema}'"),
        ),
        // The first schema of the search path that has it.
        None => (format!("c.oid = to_regclass('\"{table}\"')"), "nspname = 'pg_catalog'".to_owned()),
    };
    let column = |alias: &str, name: &str| {
        format!(
            "LEFT JOIN pg_catalog.pg_attribute {alias} ON {alias}.attrelid = c.oid AND {alias}.attnum > 0 \
             AND NOT {alias}.attisdropped AND {alias}.attname = '{name}'"
        )
    };
    let may = |alias: &str, what: &str| {
        format!("coalesce(has_column_privilege(c.oid, {alias}.attnum, '{what}'), false)::text")
    };
    // A column of a view can be updated by itself, or by a trigger or a rule in the place of an UPDATE.
    let is_updatable = "coalesce(c.relkind IN ('r', 'p') \
        OR pg_catalog.pg_column_is_updatable(c.oid, v.attnum, false) \
        OR EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 80 = 80) \
        OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '2' \
        AND r.is_instead), false)::text";
    format!(
        "SELECT current_user::text AS role, current_setting('server_version') AS server, \
         current_setting('transaction_read_only') AS read_only, \
         EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE {namespace})::text AS has_schema, \
         coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace \
         WHERE {namespace}), false)::text AS may_use, \
         (c.oid IS NOT NULL)::text AS has_table, (k.attnum IS NOT NULL)::text AS has_key, \
         (v.attnum IS NOT NULL)::text AS has_column, \
         coalesce(format_type(k.atttypid, k.atttypmod), '') AS key_type, \
         {} AS reads_key, {} AS reads_column, {} AS writes_column, {is_updatable} AS is_updatable \
         FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_class c ON {found} {} {}",
        may("k", "SELECT"),
        may("v", "SELECT"),
        may("v", "UPDATE"),
        column("k", &named.key),
        column("v", &named.column)
    )
}
