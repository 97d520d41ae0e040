//! The schema in PostgreSQL: a look by plain queries, and one message that makes everything.
//!
//! All statements use the simple protocol: a message of several statements is one transaction, on one
//! connection of any pooler that is between, and nothing is left behind on it: no prepared statement, no
//! setting and no lock.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Columns, DatabaseReport, FoundSchema, LOCK_TIMEOUT, MAX_NAMED, Migrate, Migrated, OldTokens, PAUSE,
    VERSION, has,
};

const WORKSPACES: &str = include_str!("../../../migrations/postgres/0001_workspaces.sql");
const TOKENS: &str = include_str!("../../../migrations/postgres/0002_workspace_tokens.sql");
/// The advisory lock for changes of the schema: the first eight bytes of "leasehold", which no other program
/// is expected to use.
const LOCK: u64 = 0x6c65_6173_6568_6f6c;
/// Time that an answer may take that needs no lock.
const ANSWER: Duration = Duration::from_secs(5);
/// Time that the making of the schema may take, beyond what the server itself allows a statement.
const MAKING: Duration = Duration::from_secs(35);

const LOOK: &str = "SELECT current_user::text AS role, coalesce(current_schema()::text, '') AS schema, \
    current_setting('transaction_read_only') AS read_only, \
    coalesce((SELECT string_agg(attname, ',') FROM pg_attribute \
        WHERE attrelid = to_regclass('workspaces') AND attnum > 0 AND NOT attisdropped), '') AS columns, \
    coalesce((SELECT string_agg(attname, ',') FROM pg_attribute \
        WHERE attrelid = to_regclass('workspace_tokens') AND attnum > 0 AND NOT attisdropped), '') \
        AS token_columns, \
    coalesce(has_table_privilege(to_regclass('leasehold_schema')::oid, 'SELECT'), false)::text \
        AS is_recorded, \
    coalesce((SELECT string_agg(p || ' on ' || t, ', ' ORDER BY m, n) \
        FROM unnest(ARRAY['workspaces', 'workspace_tokens']) WITH ORDINALITY AS tables (t, m), \
             unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS privileges (p, n) \
        WHERE NOT CASE p WHEN 'DELETE' THEN has_table_privilege(to_regclass(t)::oid, p) \
                         ELSE has_any_column_privilege(to_regclass(t)::oid, p) END), '') AS missing";
const VERSION_OF_SERVER: &str = "SELECT current_setting('server_version') AS version";
/// A hash of version 1 that can be taken over, whatever the case of its digits.
const USABLE: &str = "lower(auth_token_hash) ~ '^[0-9a-f]{64}$'";
const KEPT: &str = "SELECT coalesce(max(version), 0)::text AS version FROM leasehold_schema";

/// Findings of a look, and the role that looked.
struct Look {
    found: FoundSchema,
    /// Whether the table of workspaces says when each was made.
    is_dated: bool,
    role: String,
    schema: String,
    is_read_only: bool,
    missing: String,
}

/// Brings the schema up to date, as far as that is allowed.
pub(in crate::store) async fn migrate(
    connection: &mut PgConnection,
    shown: &str,
    how: Migrate,
) -> anyhow::Result<Migrated> {
    let cannot = || format!("cannot bring the schema of {shown} up to date");
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut done = Migrated::WasCurrent;
    let mut is_waiting = false;
    loop {
        let seen = look(connection).await.with_context(cannot)?;
        if seen.found.is_current(shown, how)? {
            seen.warn();
            return Ok(done);
        }
        anyhow::ensure!(
            !seen.is_read_only,
            "the schema of {shown} is not there or has version 1, and nothing can be written there: it is a \
             standby or read-only; run `leasehold migrate` on the primary"
        );
        let is_old = seen.found == FoundSchema::Old;
        let old = if is_old { old_tokens(connection).await } else { Ok(OldTokens::default()) };
        // Another server may have been first: the old column is gone then.
        if old.is_err() && look(connection).await.with_context(cannot)?.found != seen.found {
            continue;
        }
        let old = old.with_context(cannot)?;
        old.check(shown)?;
        let made = sqlx::raw_sql(AssertSqlSafe(statements(&seen))).execute(&mut *connection);
        let made = timeout(MAKING, made).await.with_context(cannot)?;
        let Err(error) = made else {
            done = if is_old { Migrated::Upgraded(1) } else { Migrated::Created };
            if is_old {
                old.report(shown);
            }
            continue;
        };
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        anyhow::ensure!(
            code != "42501",
            "{}: the user {} may create no tables in the schema {:?}, or change none there; run `leasehold \
             migrate --database URL` as a user who may, and grant this one SELECT, INSERT, UPDATE and DELETE \
             on workspaces and workspace_tokens",
            cannot(),
            seen.role,
            seen.schema
        );
        // Another session has the lock, or has just made the table: it may be done in a moment.
        if !matches!(&*code, "55P03" | "42P07" | "23505" | "40P01") {
            return Err(error).with_context(cannot);
        }
        let holder = holder(connection).await.unwrap_or_else(|| "another session".to_owned());
        anyhow::ensure!(
            Instant::now() < deadline,
            "{}: {holder} has held a lock on it for {LOCK_TIMEOUT:?}; wait until that is over, or end it",
            cannot()
        );
        if !is_waiting {
            tracing::warn!(database = shown, "waiting for {holder}, which is changing the schema");
            is_waiting = true;
        }
        sleep(PAUSE).await;
    }
}

/// Reports the findings of a look.
pub(in crate::store) async fn describe(
    connection: &mut PgConnection,
    report: &mut DatabaseReport,
) -> anyhow::Result<()> {
    let version: String = one(connection, VERSION_OF_SERVER).await?.try_get("version")?;
    report.fact("server", format!("PostgreSQL {version}"));
    let seen = look(connection).await?;
    let access = if seen.is_read_only { "read-only: a standby, or set so" } else { "read and write" };
    report.fact("access", access);
    seen.found.describe(report);
    let may = if seen.missing.is_empty() {
        "do all that is needed".to_owned()
    } else {
        format!("not {}", seen.missing)
    };
    report.fact("user", format!("{} may {may}", seen.role));
    if !seen.missing.is_empty() {
        report.lack(format!("grant {} to {}", seen.missing, seen.role));
    }
    Ok(())
}

/// Returns one message, which is one transaction: all of it is done or nothing is. The lock is tried and not
/// waited for, and goes with the transaction.
fn statements(seen: &Look) -> String {
    let steps = match seen.found {
        FoundSchema::Old => {
            let created = if seen.is_dated { "coalesce(created_at, now())" } else { "now()" };
            // Nothing may come between the copy and the end of the column.
            format!(
                "LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE;
                 {TOKENS}
                 INSERT INTO workspace_tokens (token_hash, workspace_id, created_ms)
                     SELECT lower(auth_token_hash), id, (extract(epoch FROM {created}) * 1000)::bigint
                     FROM workspaces WHERE {USABLE};
                 ALTER TABLE workspaces DROP COLUMN auth_token_hash;"
            )
        }
        _ => format!("{WORKSPACES} {TOKENS}"),
    };
    format!(
        "SET LOCAL lock_timeout = '2s';
         SET LOCAL statement_timeout = '30s';
         SET LOCAL client_min_messages = 'error';
         DO $leasehold$ BEGIN
             IF NOT pg_try_advisory_xact_lock({LOCK}) THEN
                 RAISE EXCEPTION 'another server changes the schema' USING ERRCODE = 'lock_not_available';
             END IF;
         END $leasehold$;
         {steps}
         CREATE TABLE IF NOT EXISTS leasehold_schema (
             version integer PRIMARY KEY,
             applied_at timestamptz NOT NULL DEFAULT now()
         );
         INSERT INTO leasehold_schema (version) VALUES ({VERSION}) ON CONFLICT (version) DO NOTHING;"
    )
}

/// Reads which tokens of version 1 cannot be taken over.
async fn old_tokens(connection: &mut PgConnection) -> anyhow::Result<OldTokens> {
    let sql = format!(
        "SELECT (SELECT count(*) FROM workspaces WHERE NOT coalesce({USABLE}, false))::text AS unusable, \
         array_to_string(ARRAY(SELECT id FROM (SELECT id, \
         count(*) OVER (PARTITION BY lower(auth_token_hash)) AS n \
         FROM workspaces WHERE {USABLE}) AS w WHERE n > 1 ORDER BY id LIMIT {MAX_NAMED}), chr(31)) \
         AS sharing"
    );
    let row = timeout(MAKING, sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection)).await;
    let row = row.with_context(|| format!("no answer within {MAKING:?}"))??;
    let sharing: String = row.try_get("sharing")?;
    let sharing = sharing.split('\u{1f}').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    Ok(OldTokens { sharing, unusable: row.try_get::<String, _>("unusable")?.parse()? })
}

async fn look(connection: &mut PgConnection) -> anyhow::Result<Look> {
    let row = one(connection, LOOK).await?;
    let text = |name: &str| row.try_get::<String, _>(name);
    let columns = |name: &str| {
        Ok::<Vec<String>, sqlx::Error>(
            text(name)?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        )
    };
    let (workspaces, tokens) = (columns("columns")?, columns("token_columns")?);
    let version = match text("is_recorded")?.as_str() {
        "true" => Some(one(connection, KEPT).await?.try_get::<String, _>("version")?.parse()?),
        _ => None,
    };
    Ok(Look {
        found: FoundSchema::new(&Columns { workspaces: &workspaces, tokens: &tokens, version }),
        is_dated: has(&workspaces, "created_at"),
        role: text("role")?,
        schema: text("schema")?,
        is_read_only: text("read_only")? == "on",
        missing: text("missing")?,
    })
}

impl Look {
    /// Logs what the user may not do. Some servers need less than all.
    fn warn(&self) {
        if !self.missing.is_empty() {
            tracing::warn!(
                user = self.role,
                "this user may not {}: what needs that will be refused; grant it",
                self.missing
            );
        }
        if self.is_read_only {
            tracing::warn!(
                "the database is read-only: a standby, or set so; secrets are read, and no change is made"
            );
        }
    }
}

async fn one(connection: &mut PgConnection, sql: &'static str) -> anyhow::Result<PgRow> {
    let row = timeout(ANSWER, sqlx::raw_sql(sql).fetch_one(&mut *connection)).await;
    Ok(row.with_context(|| format!("no answer within {ANSWER:?}"))??)
}

/// Returns the session that holds the lock, as far as this user may know.
async fn holder(connection: &mut PgConnection) -> Option<String> {
    let sql = format!(
        "SELECT l.pid::text AS pid, coalesce(a.application_name, '') AS name, coalesce(a.state, '') AS state \
         FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {} AND l.objid = {} \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        LOCK >> 32,
        LOCK & 0xffff_ffff
    );
    let row = timeout(ANSWER, sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut *connection)).await;
    let row = row.ok()?.ok()??;
    let text = |name: &str| row.try_get::<String, _>(name).ok();
    Some(format!("process {} of the server ({:?}, {})", text("pid")?, text("name")?, text("state")?))
}
