//! The statements about tokens in SQLite. What changes several rows is one transaction, which begins with the
//! write lock.

use std::sync::Arc;

use leasehold::WorkspaceId;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row as _, Sqlite, SqlitePool, Transaction};

use super::{Added, Deleted, MAX_ROWS, MAX_TOKENS, NewToken, StoredToken};
use crate::store::{DatabaseFile, StoreError};

const CREATE: &str = "INSERT INTO workspaces (id) VALUES (?1) ON CONFLICT (id) DO NOTHING";
const DELETE: &str = "DELETE FROM workspaces WHERE id = ?1";
const IS_KNOWN: &str = "SELECT count(*) FROM workspaces WHERE id = ?1";
const ADD: &str = "INSERT INTO workspace_tokens \
     (workspace_id, token_hash, id, prefix, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const TOKENS: &str = "SELECT id, token_hash, prefix, created_ms, last_used_ms, expires_ms \
     FROM workspace_tokens WHERE workspace_id = ?1 ORDER BY created_ms, id LIMIT ?2";
const LIVE: &str = "SELECT count(*) FROM workspace_tokens \
     WHERE workspace_id = ?1 AND (expires_ms IS NULL OR expires_ms > ?2)";
const END: &str = "UPDATE workspace_tokens SET expires_ms = ?2 \
     WHERE workspace_id = ?1 AND (expires_ms IS NULL OR expires_ms > ?2) RETURNING token_hash";
const SWEEP: &str =
    "DELETE FROM workspace_tokens WHERE workspace_id = ?1 AND expires_ms <= ?2 RETURNING token_hash";
const DELETE_ALL: &str = "DELETE FROM workspace_tokens WHERE workspace_id = ?1 RETURNING token_hash";
const DELETE_TOKEN: &str = "DELETE FROM workspace_tokens WHERE workspace_id = ?1 AND id = ?2";
const NOTE_USED: &str = "UPDATE workspace_tokens SET last_used_ms = ?1 \
     WHERE token_hash IN (SELECT value FROM json_each(?2)) AND (last_used_ms IS NULL OR last_used_ms < ?1)";

pub(super) async fn create(
    pool: &SqlitePool,
    file: &Arc<DatabaseFile>,
    workspace: &WorkspaceId,
    token: &NewToken<'_>,
) -> Result<bool, StoreError> {
    let mut changing = begin(pool, file).await?;
    let created = sqlx::query(CREATE).bind(workspace.as_str()).execute(&mut *changing).await?;
    if created.rows_affected() == 0 {
        return Ok(false);
    }
    // Those of a namesake that a program has deleted without minding foreign keys, as SQLite's shell does.
    sqlx::query(DELETE_ALL).bind(workspace.as_str()).execute(&mut *changing).await?;
    insert(&mut changing, workspace, token).await?;
    commit(changing, file).await?;
    Ok(true)
}

pub(super) async fn delete(
    pool: &SqlitePool,
    file: &Arc<DatabaseFile>,
    workspace: &WorkspaceId,
) -> Result<Deleted, StoreError> {
    let mut changing = begin(pool, file).await?;
    let gone = sqlx::query_scalar(DELETE_ALL).bind(workspace.as_str()).fetch_all(&mut *changing).await?;
    let deleted = sqlx::query(DELETE).bind(workspace.as_str()).execute(&mut *changing).await?;
    commit(changing, file).await?;
    Ok(if deleted.rows_affected() > 0 { Deleted::Gone(gone) } else { Deleted::UnknownWorkspace })
}

pub(super) async fn tokens(
    pool: &SqlitePool,
    workspace: &WorkspaceId,
) -> Result<Option<Vec<StoredToken>>, StoreError> {
    let mut reading = pool.acquire().await?;
    if !is_known(&mut reading, workspace).await? {
        return Ok(None);
    }
    let rows = sqlx::query(TOKENS).bind(workspace.as_str()).bind(int(MAX_ROWS as u64));
    let rows = rows.fetch_all(&mut *reading).await?;
    Ok(Some(rows.iter().map(stored).collect::<Result<_, _>>()?))
}

pub(super) async fn add(
    pool: &SqlitePool,
    file: &Arc<DatabaseFile>,
    workspace: &WorkspaceId,
    token: &NewToken<'_>,
    others_end_ms: Option<u64>,
) -> Result<Added, StoreError> {
    let (id, now) = (workspace.as_str(), int(token.created_ms));
    let mut changing = begin(pool, file).await?;
    if !is_known(&mut changing, workspace).await? {
        return Ok(Added::UnknownWorkspace);
    }
    let mut hashes: Vec<String> =
        sqlx::query_scalar(SWEEP).bind(id).bind(now).fetch_all(&mut *changing).await?;
    if let Some(end) = others_end_ms {
        let ended = sqlx::query_scalar(END).bind(id).bind(int(end)).fetch_all(&mut *changing).await?;
        hashes.extend::<Vec<String>>(ended);
    }
    let live: i64 = sqlx::query_scalar(LIVE).bind(id).bind(now).fetch_one(&mut *changing).await?;
    if live >= int(MAX_TOKENS as u64) {
        return Ok(Added::TooMany);
    }
    insert(&mut changing, workspace, token).await?;
    commit(changing, file).await?;
    Ok(Added::Stored(hashes))
}

pub(super) async fn delete_token(
    pool: &SqlitePool,
    file: &Arc<DatabaseFile>,
    workspace: &WorkspaceId,
    id: &str,
) -> Result<bool, StoreError> {
    let mut changing = begin(pool, file).await?;
    let deleted = sqlx::query(DELETE_TOKEN).bind(workspace.as_str()).bind(id);
    let deleted = deleted.execute(&mut *changing).await?;
    commit(changing, file).await?;
    Ok(deleted.rows_affected() > 0)
}

pub(super) async fn note_used(
    pool: &SqlitePool,
    file: &Arc<DatabaseFile>,
    hashes: &[String],
    at_ms: u64,
) -> Result<(), StoreError> {
    // Hexadecimal needs no escaping.
    let hashes = format!("[\"{}\"]", hashes.join("\",\""));
    let mut changing = begin(pool, file).await?;
    sqlx::query(NOTE_USED).bind(int(at_ms)).bind(hashes).execute(&mut *changing).await?;
    commit(changing, file).await
}

async fn insert(
    changing: &mut SqliteConnection,
    workspace: &WorkspaceId,
    token: &NewToken<'_>,
) -> Result<(), sqlx::Error> {
    let added = sqlx::query(ADD).bind(workspace.as_str()).bind(token.hash).bind(token.id);
    let added = added.bind(token.prefix).bind(int(token.created_ms)).bind(token.expires_ms.map(int));
    added.execute(changing).await.map(drop)
}

async fn is_known(connection: &mut SqliteConnection, workspace: &WorkspaceId) -> Result<bool, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(IS_KNOWN).bind(workspace.as_str()).fetch_one(connection).await?;
    Ok(count > 0)
}

/// Begins a transaction. If it is dropped before its end, nothing was changed.
async fn begin(pool: &SqlitePool, file: &DatabaseFile) -> Result<Transaction<'static, Sqlite>, StoreError> {
    file.check().map_err(StoreError::FileChanged)?;
    Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
}

async fn commit(changing: Transaction<'static, Sqlite>, file: &DatabaseFile) -> Result<(), StoreError> {
    changing.commit().await?;
    // Data that was written to a file that has lost its path since may be gone.
    file.check().map_err(|changed| StoreError::OutcomeUnknown(changed.to_string().into()))
}

/// Converts milliseconds, of which 292 million years fit.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn stored(row: &SqliteRow) -> Result<StoredToken, sqlx::Error> {
    let number = |column: usize| {
        Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.and_then(|ms| u64::try_from(ms).ok()))
    };
    Ok(StoredToken {
        id: row.try_get(0)?,
        hash: row.try_get(1)?,
        prefix: row.try_get(2)?,
        created_ms: number(3)?.unwrap_or_default(),
        last_used_ms: number(4)?,
        expires_ms: number(5)?,
    })
}
