//! A table of SQLite that was there already.

use leasehold::Sqlite;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::super::layout::{Layout, NamedColumn};
use super::{DatabaseReport, describe};

const KIND: &str =
    "SELECT type FROM sqlite_schema WHERE name = $1 COLLATE NOCASE AND type IN ('table', 'view')";

/// Finds out what is there, and returns the layout with what was found.
pub(in crate::store) async fn examine(
    connection: &mut SqliteConnection,
    options: &sqlx::sqlite::SqliteConnectOptions,
    layout: &Layout,
    report: &mut DatabaseReport,
) -> anyhow::Result<Layout> {
    let mut layout = layout.clone();
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
    report.fact("library", format!("SQLite {version}"));
    layout.secrets.is_read_only |= is_fixed(connection, &layout.secrets).await?;
    // A pool of its own, which is gone before the server opens its: the library looks through one.
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    for named in [&layout.secrets, &layout.tokens] {
        if let Err(error) = Sqlite::from_pool(pool.clone(), named.column()?).await {
            report.lack(error.to_string());
        }
    }
    pool.close().await;
    describe(report, &layout, "");
    Ok(layout)
}

/// Returns whether it is a view that cannot be updated, since it has no trigger that takes the place of an
/// UPDATE.
async fn is_fixed(connection: &mut SqliteConnection, named: &NamedColumn) -> anyhow::Result<bool> {
    let (_, table) = named.schema_and_table();
    let kind: Option<String> = sqlx::query_scalar(KIND).bind(table).fetch_optional(&mut *connection).await?;
    if kind.as_deref() != Some("view") {
        return Ok(false);
    }
    let column = &named.column;
    let update = format!("EXPLAIN UPDATE \"{table}\" SET \"{column}\" = NULL WHERE 0");
    Ok(sqlx::raw_sql(AssertSqlSafe(update)).fetch_all(connection).await.is_err())
}
