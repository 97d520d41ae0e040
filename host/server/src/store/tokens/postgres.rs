//! The statements about tokens in PostgreSQL: each is one, however many tables it changes, and does nothing
//! unless it is the statement that was meant.

use std::sync::LazyLock;

use leasehold::{PostgresPool, PostgresQuery, PostgresWrite, WorkspaceId};

use super::{Added, Deleted, MAX_ROWS, MAX_TOKENS, NewToken, StoredToken};
use crate::store::StoreError;

/// A row of an answer.
type Texts = Vec<Option<String>>;

static CREATE: LazyLock<PostgresQuery> = LazyLock::new(|| {
    let steps = |guard: &str| {
        format!(
            "created AS (INSERT INTO workspaces (id) SELECT $4 WHERE {guard} \
                 ON CONFLICT (id) DO NOTHING RETURNING id), \
             added AS (INSERT INTO workspace_tokens (workspace_id, token_hash, id, prefix, created_ms) \
                 SELECT created.id, $5, $6, $7, CAST($8 AS bigint) FROM created WHERE {guard} RETURNING id)"
        )
    };
    PostgresQuery::change("create-workspace", 1, steps, "SELECT id FROM created")
});

static DELETE: LazyLock<PostgresQuery> = LazyLock::new(|| {
    let steps = |guard: &str| {
        format!(
            "gone AS (DELETE FROM workspace_tokens WHERE workspace_id = $4 AND {guard} \
                 RETURNING token_hash), \
             deleted AS (DELETE FROM workspaces WHERE id = $4 AND {guard} RETURNING id)"
        )
    };
    let select = "SELECT 'deleted', NULL FROM deleted UNION ALL SELECT 'gone', token_hash FROM gone";
    PostgresQuery::change("delete-workspace", 2, steps, select)
});

static TOKENS: LazyLock<PostgresQuery> = LazyLock::new(|| {
    PostgresQuery::read("tokens", 6, |guard| {
        format!(
            "SELECT '', NULL, NULL, NULL, NULL, NULL FROM workspaces WHERE id = $4 AND {guard} \
             UNION ALL (SELECT id, token_hash, prefix, CAST(created_ms AS text), \
                 CAST(last_used_ms AS text), CAST(expires_ms AS text) \
                 FROM workspace_tokens WHERE workspace_id = $4 AND {guard} \
                 ORDER BY created_ms, id LIMIT {MAX_ROWS})"
        )
    })
});

static ADD: LazyLock<PostgresQuery> = LazyLock::new(|| {
    // What a step changes no other step sees: the new token is not among those that end. None is both swept
    // and given an end, since an end is never before the present.
    let steps = |guard: &str| {
        format!(
            "added AS (INSERT INTO workspace_tokens \
                     (workspace_id, token_hash, id, prefix, created_ms, expires_ms) \
                 SELECT w.id, $5, $6, $7, CAST($8 AS bigint), CAST(NULLIF($9, '') AS bigint) \
                 FROM workspaces AS w WHERE w.id = $4 AND {guard} AND {MAX_TOKENS} > (\
                     SELECT count(*) FROM workspace_tokens WHERE workspace_id = $4 \
                     AND COALESCE(expires_ms > CAST($8 AS bigint), true) \
                     AND COALESCE(CAST(NULLIF($10, '') AS bigint) > CAST($8 AS bigint), true)) \
                 RETURNING token_hash), \
             ended AS (UPDATE workspace_tokens SET expires_ms = CAST(NULLIF($10, '') AS bigint) \
                 WHERE $10 <> '' AND workspace_id = $4 AND EXISTS (SELECT FROM added) \
                 AND COALESCE(expires_ms > CAST(NULLIF($10, '') AS bigint), true) AND {guard} \
                 RETURNING token_hash), \
             swept AS (DELETE FROM workspace_tokens \
                 WHERE workspace_id = $4 AND expires_ms <= CAST($8 AS bigint) AND {guard} \
                 RETURNING token_hash)"
        )
    };
    let select = "SELECT 'added', NULL FROM added UNION ALL SELECT 'ended', token_hash FROM ended \
                  UNION ALL SELECT 'swept', token_hash FROM swept \
                  UNION ALL SELECT 'known', NULL FROM workspaces WHERE id = $4";
    PostgresQuery::change("add-token", 2, steps, select)
});

static DELETE_TOKEN: LazyLock<PostgresWrite> = LazyLock::new(|| {
    PostgresWrite::new("delete-token", |guard| {
        format!(
            "DELETE FROM workspace_tokens WHERE workspace_id = $4 AND id = $5 AND {guard} \
             RETURNING 1 AS stored"
        )
    })
});

static NOTE_USED: LazyLock<PostgresQuery> = LazyLock::new(|| {
    let steps = |guard: &str| {
        format!(
            "used AS (UPDATE workspace_tokens SET last_used_ms = CAST($4 AS bigint) \
                 WHERE token_hash = ANY(string_to_array($5, ',')) \
                 AND COALESCE(last_used_ms < CAST($4 AS bigint), true) AND {guard} RETURNING 1)"
        )
    };
    PostgresQuery::change("note-used", 1, steps, "SELECT CAST(count(*) AS text) FROM used")
});

pub(super) async fn create(
    pool: &PostgresPool,
    workspace: &WorkspaceId,
    token: &NewToken<'_>,
) -> Result<bool, StoreError> {
    let created_ms = token.created_ms.to_string();
    let parameters = [workspace.as_str(), token.hash, token.id, token.prefix, &created_ms];
    Ok(!pool.query(&CREATE, &parameters).await?.is_empty())
}

pub(super) async fn delete(pool: &PostgresPool, workspace: &WorkspaceId) -> Result<Deleted, StoreError> {
    let rows = pool.query(&DELETE, &[workspace.as_str()]).await?;
    Ok(if has(&rows, "deleted") { Deleted::Gone(hashes(rows)) } else { Deleted::UnknownWorkspace })
}

pub(super) async fn tokens(
    pool: &PostgresPool,
    workspace: &WorkspaceId,
) -> Result<Option<Vec<StoredToken>>, StoreError> {
    let rows = pool.query(&TOKENS, &[workspace.as_str()]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    // The row without a hash stands for the workspace.
    Ok(Some(rows.into_iter().filter_map(stored).collect()))
}

pub(super) async fn add(
    pool: &PostgresPool,
    workspace: &WorkspaceId,
    token: &NewToken<'_>,
    others_end_ms: Option<u64>,
) -> Result<Added, StoreError> {
    let text = |ms: Option<u64>| ms.map_or_else(String::new, |ms| ms.to_string());
    let (now, expires, others_end) =
        (text(Some(token.created_ms)), text(token.expires_ms), text(others_end_ms));
    let (id, hash, prefix) = (token.id, token.hash, token.prefix);
    let parameters = [workspace.as_str(), hash, id, prefix, &now, &expires, &others_end];
    let rows = pool.query(&ADD, &parameters).await?;
    Ok(match (has(&rows, "added"), has(&rows, "known")) {
        (true, _) => Added::Stored(hashes(rows)),
        (false, true) => Added::TooMany,
        (false, false) => Added::UnknownWorkspace,
    })
}

pub(super) async fn delete_token(
    pool: &PostgresPool,
    workspace: &WorkspaceId,
    id: &str,
) -> Result<bool, StoreError> {
    Ok(pool.write(&DELETE_TOKEN, &[workspace.as_str(), id]).await? > 0)
}

pub(super) async fn note_used(pool: &PostgresPool, hashes: &[String], at_ms: u64) -> Result<(), StoreError> {
    pool.query(&NOTE_USED, &[&at_ms.to_string(), &hashes.join(",")]).await?;
    Ok(())
}

/// Returns whether a step has done something.
fn has(rows: &[Texts], step: &str) -> bool {
    rows.iter().any(|row| row.first().is_some_and(|kind| kind.as_deref() == Some(step)))
}

/// Returns the hashes in the second column.
fn hashes(rows: Vec<Texts>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().nth(1).flatten()).collect()
}

fn stored(row: Texts) -> Option<StoredToken> {
    let [id, hash, prefix, created, last_used, expires] = <[_; 6]>::try_from(row).ok()?;
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Some(StoredToken {
        id: id?,
        hash: hash?,
        prefix,
        created_ms: number(created).unwrap_or_default(),
        last_used_ms: number(last_used),
        expires_ms: number(expires),
    })
}
