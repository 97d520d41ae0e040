//! The schema in SQLite: one transaction that begins with the write lock.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::{
    Columns, DatabaseReport, FoundSchema, LOCK_TIMEOUT, MAX_NAMED, Migrate, Migrated, OldTokens, PAUSE,
    VERSION, has,
};

const WORKSPACES: &str = include_str!("../../../migrations/sqlite/0001_workspaces.sql");
const TOKENS: &str = include_str!("../../../migrations/sqlite/0002_workspace_tokens.sql");
const COLUMNS: &str = "SELECT name FROM pragma_table_info('workspaces')";
/// The extended list has the generated columns too.
const TOKEN_COLUMNS: &str = "SELECT name FROM pragma_table_xinfo('workspace_tokens')";
const IS_RECORDED: &str = "SELECT count(*) FROM pragma_table_info('leasehold_schema')";
const KEPT: &str = "SELECT max(version) FROM leasehold_schema";
const SHARING: &str = "SELECT id FROM workspaces \
     WHERE length(auth_token_hash) = 64 AND lower(auth_token_hash) IN ( \
     SELECT lower(auth_token_hash) FROM workspaces GROUP BY 1 HAVING count(*) > 1) ORDER BY id LIMIT ?1";
const UNUSABLE: &str = "SELECT count(*) FROM workspaces WHERE auth_token_hash IS NULL \
     OR length(auth_token_hash) <> 64 OR lower(auth_token_hash) GLOB '*[^0-9a-f]*'";

/// Findings of a look.
struct SqliteLook {
    found: FoundSchema,
    /// Whether the table of workspaces says when each was made.
    is_dated: bool,
}

/// Brings the schema up to date, as far as that is allowed.
pub(in crate::store) async fn migrate(
    connection: &mut SqliteConnection,
    shown: &str,
    how: Migrate,
) -> anyhow::Result<Migrated> {
    let cannot = || format!("cannot bring the schema of {shown} up to date");
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        let seen = look(connection).await.with_context(cannot)?;
        if seen.found.is_current(shown, how)? {
            return Ok(Migrated::WasCurrent);
        }
        let is_old = seen.found == FoundSchema::Old;
        let old = if is_old { old_tokens(connection).await } else { Ok(OldTokens::default()) };
        // Another server may have been first: the old column is gone then.
        if old.is_err() && look(connection).await.with_context(cannot)?.found != seen.found {
            continue;
        }
        let old = old.with_context(cannot)?;
        old.check(shown)?;
        let statements = statements(&seen);
        let made = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await;
        let Err(error) = made else {
            if !is_old {
                return Ok(Migrated::Created);
            }
            old.report(shown);
            return Ok(Migrated::Upgraded(1));
        };
        // In case it has failed half-way. If it has not begun, there is nothing to roll back, and this fails.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
        // Another server may have been first.
        if look(connection).await.with_context(cannot)?.found.is_current(shown, how)? {
            return Ok(Migrated::WasCurrent);
        }
        let code = primary_code(&error);
        anyhow::ensure!(
            code != Some(8) || !is_old,
            "{}: it has version 1, this server needs {VERSION}, and the file is opened for reading only; run \
             `leasehold migrate` on it once with mode=rw",
            cannot()
        );
        if !matches!(code, Some(5 | 6)) {
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

/// Returns one transaction, which makes everything or brings version 1 up to date.
fn statements(seen: &SqliteLook) -> String {
    let steps = match seen.found {
        FoundSchema::Old => {
            let made_at = if seen.is_dated {
                "coalesce(julianday(created_at), julianday('now'))"
            } else {
                "julianday('now')"
            };
            let created = format!("cast(round(({made_at} - 2440587.5) * 86400000) as integer)");
            format!(
                "{TOKENS}
                 INSERT INTO workspace_tokens (token_hash, workspace_id, created_ms)
                     SELECT lower(auth_token_hash), id, {created} FROM workspaces
                     WHERE length(auth_token_hash) = 64 AND lower(auth_token_hash) NOT GLOB '*[^0-9a-f]*';
                 ALTER TABLE workspaces DROP COLUMN auth_token_hash;"
            )
        }
        _ => format!("{WORKSPACES} {TOKENS}"),
    };
    format!(
        "BEGIN IMMEDIATE; {steps}
         CREATE TABLE IF NOT EXISTS leasehold_schema (
             version INTEGER PRIMARY KEY NOT NULL,
             applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
         ) STRICT;
         INSERT OR IGNORE INTO leasehold_schema (version) VALUES ({VERSION});
         COMMIT"
    )
}

/// Reports the findings of a look.
pub(in crate::store) async fn describe(
    connection: &mut SqliteConnection,
    report: &mut DatabaseReport,
) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
    report.fact("library", format!("SQLite {version}"));
    look(connection).await?.found.describe(report);
    Ok(())
}

/// Checks that the database is ours, for a backup.
pub(in crate::store) async fn check(connection: &mut SqliteConnection, shown: &str) -> anyhow::Result<()> {
    let seen = look(connection).await.with_context(|| format!("cannot read the schema of {shown}"))?;
    anyhow::ensure!(
        seen.found != FoundSchema::Missing,
        "{shown} has no table workspaces: it is no database of this server's"
    );
    // An older one is brought up to date when it is served.
    if seen.found == FoundSchema::Old {
        Ok(())
    } else {
        seen.found.is_current(shown, Migrate::Never).map(drop)
    }
}

async fn look(connection: &mut SqliteConnection) -> sqlx::Result<SqliteLook> {
    let workspaces: Vec<String> = sqlx::query_scalar(COLUMNS).fetch_all(&mut *connection).await?;
    let tokens: Vec<String> = sqlx::query_scalar(TOKEN_COLUMNS).fetch_all(&mut *connection).await?;
    let is_recorded: i64 = sqlx::query_scalar(IS_RECORDED).fetch_one(&mut *connection).await?;
    let version = match is_recorded {
        0 => None,
        _ => sqlx::query_scalar(KEPT).fetch_one(&mut *connection).await?,
    };
    let found = FoundSchema::new(&Columns { workspaces: &workspaces, tokens: &tokens, version });
    Ok(SqliteLook { found, is_dated: has(&workspaces, "created_at") })
}

async fn old_tokens(connection: &mut SqliteConnection) -> sqlx::Result<OldTokens> {
    let named = i64::try_from(MAX_NAMED).unwrap_or(i64::MAX);
    let sharing = sqlx::query_scalar(SHARING).bind(named).fetch_all(&mut *connection).await?;
    Ok(OldTokens { sharing, unusable: sqlx::query_scalar(UNUSABLE).fetch_one(&mut *connection).await? })
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}
