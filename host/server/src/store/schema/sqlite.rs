//! The schema in SQLite: one transaction that begins with the write lock.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::{DatabaseReport, FoundSchema, LOCK_TIMEOUT, Migrate, Migrated, PAUSE, VERSION};

const WORKSPACES: &str = include_str!("../../../migrations/sqlite/0001_workspaces.sql");
const COLUMNS: &str = "SELECT name FROM pragma_table_info('workspaces')";
const IS_RECORDED: &str = "SELECT count(*) FROM pragma_table_info('leasehold_schema')";
const KEPT: &str = "SELECT max(version) FROM leasehold_schema";

/// Brings the schema up to date, as far as that is allowed.
pub(in crate::store) async fn migrate(
    connection: &mut SqliteConnection,
    shown: &str,
    how: Migrate,
) -> anyhow::Result<Migrated> {
    let cannot = || format!("cannot bring the schema of {shown} up to date");
    if look(connection).await.with_context(cannot)?.is_current(shown, how)? {
        return Ok(Migrated::WasCurrent);
    }
    let statements = format!(
        "BEGIN IMMEDIATE; {WORKSPACES}
         CREATE TABLE IF NOT EXISTS leasehold_schema (
             version INTEGER PRIMARY KEY NOT NULL,
             applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
         ) STRICT;
         INSERT OR IGNORE INTO leasehold_schema (version) VALUES ({VERSION});
         COMMIT"
    );
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        let made = sqlx::raw_sql(AssertSqlSafe(statements.clone())).execute(&mut *connection).await;
        let Err(error) = made else { return Ok(Migrated::Created) };
        // In case it has failed half-way. If it has not begun, there is nothing to roll back, and this fails.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
        // Another server may have been first.
        if look(connection).await.with_context(cannot)?.is_current(shown, how)? {
            return Ok(Migrated::WasCurrent);
        }
        if !is_busy(&error) {
            return Err(error).with_context(cannot);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{}: another program has kept it locked for {LOCK_TIMEOUT:?}; end that, and start again",
            cannot()
        );
        sleep(PAUSE).await;
    }
}

/// Reports the findings of a look.
pub(in crate::store) async fn describe(
    connection: &mut SqliteConnection,
    report: &mut DatabaseReport,
) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
    report.fact("library", format!("SQLite {version}"));
    look(connection).await?.describe(report);
    Ok(())
}

/// Checks that the database is ours, for a backup.
pub(in crate::store) async fn check(connection: &mut SqliteConnection, shown: &str) -> anyhow::Result<()> {
    let found = look(connection).await.with_context(|| format!("cannot read the schema of {shown}"))?;
    anyhow::ensure!(
        found != FoundSchema::Missing,
        "{shown} has no table workspaces: it is no database of this server's"
    );
    found.is_current(shown, Migrate::Never).map(drop)
}

async fn look(connection: &mut SqliteConnection) -> sqlx::Result<FoundSchema> {
    let columns: Vec<String> = sqlx::query_scalar(COLUMNS).fetch_all(&mut *connection).await?;
    let is_recorded: i64 = sqlx::query_scalar(IS_RECORDED).fetch_one(&mut *connection).await?;
    let version = match is_recorded {
        0 => None,
        _ => sqlx::query_scalar(KEPT).fetch_one(&mut *connection).await?,
    };
    Ok(FoundSchema::new(&columns, version))
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    matches!(code.map(|code| code & 0xff), Some(5 | 6))
}
