//! `/workspaces/{id}/tokens`: the operator lists, makes, rotates and revokes the tokens of a workspace.
//!
//! A token is in the answer that made it and nowhere else, and no part of its hash ever leaves. The entry of
//! a token that ends, now or later, leaves the cache before the answer, also where the outcome is unknown:
//! from the answer on, no heartbeat goes by what was cached before.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use leasehold::WorkspaceId;
use serde::Deserialize;

use crate::api::{TokenJson, TokenListJson, time_ms};
use crate::app::App;
use crate::audit::{AuditedChange, Deed, Effect};
use crate::author::Author;
use crate::made_token::MadeToken;
use crate::respond::{self, ApiError, secret_json};
use crate::routes::input::{self, Workspace};
use crate::routes::run_to_completion;
use crate::store::{Added, MAX_TOKENS, StoredToken};

/// Time for which the tokens that are replaced are let in beside the new one.
const OVERLAP: Duration = Duration::from_secs(60 * 60);
/// Maximum time until a token ends.
const MAX_SPAN: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[derive(Default, Deserialize)]
// A misspelt end must not be a token without one.
#[serde(deny_unknown_fields)]
struct Add {
    #[serde(default)]
    expires_in: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    overlap: Option<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let tokens = app.store.tokens(&workspace).await?.ok_or_else(ApiError::unknown_workspace)?;
    let tokens = tokens.into_iter().map(shown).collect();
    Ok(respond::json(StatusCode::OK, &TokenListJson { tokens }))
}

pub(super) async fn add(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    Workspace(workspace): Workspace,
    body: Body,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let Add { expires_in } = read(body).await?;
    let expires_in = expires_in.map(|text| span("expires_in", &text)).transpose()?;
    if expires_in.is_some_and(|span| span.is_zero()) {
        return Err(invalid(
            "expires_in",
            "0s",
            "a token that has ended is of no use; leave it out for none",
        ));
    }
    make(app, author, workspace, expires_in, None).await
}

pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    Workspace(workspace): Workspace,
    body: Body,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let Rotate { overlap } = read(body).await?;
    let overlap = overlap.map(|text| span("overlap", &text)).transpose()?;
    make(app, author, workspace, None, Some(overlap.unwrap_or(OVERLAP))).await
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Response, ApiError> {
    let Ok(Path((workspace, id))) = path else { return Err(unknown_token()) };
    let workspace = WorkspaceId::new(workspace)?;
    app.owns_rows()?;
    let deleted = run_to_completion(async move {
        // Read before: after an outcome that is unknown nothing else says which entry has to go.
        let tokens = app.store.tokens(&workspace).await?.ok_or_else(ApiError::unknown_workspace)?;
        let Some(token) = tokens.iter().find(|token| token.id == id) else { return Ok(false) };
        let deleted = app.store.delete_token(&workspace, &id).await;
        // Also after a failure: the row may be gone all the same.
        app.tokens.forget([token.hash.as_str()]);
        if let Some(effect) = Effect::of_statement(&deleted, |is_gone| *is_gone) {
            let (workspace, token) = (Some(&workspace), Some(id.as_str()));
            let deed = Deed::RevokeToken;
            app.record(AuditedChange { deed, effect, workspace, token, author: &author }).await;
        }
        let deleted = deleted?;
        tracing::info!(%workspace, token = id, deleted, "revoked a token");
        Ok(deleted)
    })
    .await?;
    if deleted { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown_token()) }
}

/// Makes a token. With `overlap` all others end that much later.
async fn make(
    app: Arc<App>,
    author: Author,
    workspace: WorkspaceId,
    expires_in: Option<Duration>,
    overlap: Option<Duration>,
) -> Result<Response, ApiError> {
    let token = Arc::new(MadeToken::new()?);
    let (made, row) = (Arc::clone(&token), workspace.clone());
    let (created_ms, expires_ms) = run_to_completion(async move {
        // Read before: after an outcome that is unknown nothing else says which entries have to go.
        let before = app.store.tokens(&row).await?.ok_or_else(ApiError::unknown_workspace)?;
        let now_ms = app.tokens.now_ms();
        let after =
            |span: Duration| now_ms.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        let (expires_ms, others_end_ms) = (expires_in.map(after), overlap.map(after));
        let added = app.store.add_token(&row, &made.stored(now_ms, expires_ms), others_end_ms).await;
        if overlap.is_some() {
            // Also after a failure: they may end all the same.
            app.tokens.forget(before.iter().map(|token| token.hash.as_str()));
        }
        if let Ok(Added::Stored(hashes)) = &added {
            app.tokens.forget(hashes.iter().map(String::as_str));
        }
        if let Some(effect) = Effect::of_statement(&added, |added| matches!(added, Added::Stored(_))) {
            let deed = if overlap.is_some() { Deed::RotateTokens } else { Deed::AddToken };
            let (workspace, token) = (Some(&row), Some(made.id()));
            app.record(AuditedChange { deed, effect, workspace, token, author: &author }).await;
        }
        match added? {
            Added::Stored(_) => {}
            Added::UnknownWorkspace => return Err(ApiError::unknown_workspace()),
            Added::TooMany => return Err(too_many(&row)),
        }
        Ok((now_ms, expires_ms))
    })
    .await?;
    tracing::info!(%workspace, token = token.id(), rotated = overlap.is_some(), "made a token");
    let (created_at, expires_at) = (time_ms(created_ms), expires_ms.map(time_ms));
    let mut fields = vec![
        ("id", token.id()),
        ("auth_token", token.text()),
        ("prefix", token.prefix()),
        ("created_at", &created_at),
    ];
    fields.extend(expires_at.as_deref().map(|expires_at| ("expires_at", expires_at)));
    secret_json(StatusCode::CREATED, &fields)
}

async fn read<T: Default + for<'a> Deserialize<'a>>(body: Body) -> Result<T, ApiError> {
    let body = input::body(body, input::MAX_JSON_BYTES).await?;
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { input::json(&body) }
}

/// Reads a span of time.
fn span(name: &str, text: &str) -> Result<Duration, ApiError> {
    let span = humantime::parse_duration(text);
    let span = span.map_err(|_| invalid(name, text, "expected a duration such as 90s, 1h or 30d"))?;
    if span > MAX_SPAN {
        return Err(invalid(name, text, "expected ten years at most"));
    }
    Ok(span)
}

fn invalid(name: &str, text: &str, problem: &str) -> ApiError {
    ApiError::bad_request("invalid_duration", format!("{name} is {text:?}; {problem}"))
}

fn shown(token: StoredToken) -> TokenJson {
    TokenJson {
        id: token.id,
        prefix: token.prefix,
        created_at: time_ms(token.created_ms),
        last_used_at: token.last_used_ms.map(time_ms),
        expires_at: token.expires_ms.map(time_ms),
    }
}

fn unknown_token() -> ApiError {
    let message = "the workspace has no token with this id; GET its tokens to see those that it has";
    ApiError::new(StatusCode::NOT_FOUND, "unknown_token", message)
}

fn too_many(workspace: &WorkspaceId) -> ApiError {
    let message = format!(
        "the workspace {:?} has {MAX_TOKENS} live tokens already, and may have no more; revoke those that \
         are not needed, or rotate them without an overlap",
        workspace.as_str()
    );
    ApiError::new(StatusCode::CONFLICT, "too_many_tokens", message)
}
