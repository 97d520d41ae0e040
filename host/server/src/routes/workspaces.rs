//! `POST /workspaces` and `DELETE /workspaces/{id}`: the rows that everything else is about.
//!
//! A workspace's token is in one answer and nowhere else: only its hash is stored. Whenever a row comes or
//! goes, both caches forget the id before the answer, because another server may have deleted the row that
//! they knew.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use leasehold::WorkspaceId;
use serde::Deserialize;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{AuditedChange, Deed, Effect};
use crate::auth::{hex_sha256, new_token};
use crate::author::Author;
use crate::respond::{ApiError, secret_json};
use crate::routes::input::{self, Workspace};
use crate::routes::run_to_completion;
use crate::store::StoreError;

#[derive(Default, Deserialize)]
// A misspelt id must not be a workspace with another one.
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    id: Option<String>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    body: Body,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let body = input::body(body, input::MAX_JSON_BYTES).await?;
    let create: Create = if body.trim_ascii().is_empty() { Create::default() } else { input::json(&body)? };
    let workspace = WorkspaceId::new(create.id.unwrap_or_else(|| Uuid::new_v4().to_string()))?;
    let token = new_token().map_err(|error| ApiError::internal(format!("no random bytes: {error}")))?;
    let (row, hash) = (workspace.clone(), hex_sha256(&token));
    run_to_completion(async move {
        let inserted = app.store.insert(&row, &String::from_utf8_lossy(&hash)).await;
        // Also after a failure: the row may be there all the same. A row that was there already changed
        // nothing.
        if !matches!(inserted, Ok(false)) {
            app.forget(&row);
        }
        record(&app, &author, Deed::Create, &row, &inserted).await;
        if inserted? { Ok(()) } else { Err(exists(&row)) }
    })
    .await?;
    tracing::info!(%workspace, "created a workspace");
    secret_json(StatusCode::CREATED, &[("id", workspace.as_str()), ("auth_token", &token)])
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let deleted = run_to_completion(async move {
        let deleted = app.store.delete(&workspace).await;
        // Also after a failure: the row may be gone all the same.
        app.forget(&workspace);
        record(&app, &author, Deed::Delete, &workspace, &deleted).await;
        let deleted = deleted?;
        tracing::info!(%workspace, deleted, "deleted a workspace");
        Ok(deleted)
    })
    .await?;
    if deleted { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(ApiError::unknown_workspace()) }
}

/// Records what a statement has done to a workspace, if it has, or may have.
async fn record(
    app: &App,
    author: &Author,
    deed: Deed,
    workspace: &WorkspaceId,
    changed: &Result<bool, StoreError>,
) {
    if let Some(effect) = Effect::of_statement(changed) {
        app.record(AuditedChange { deed, effect, workspace: Some(workspace), author }).await;
    }
}

fn exists(workspace: &WorkspaceId) -> ApiError {
    let message = format!(
        "there is a workspace {:?} already; delete it first, or choose another id",
        workspace.as_str()
    );
    ApiError::new(StatusCode::CONFLICT, "workspace_exists", message)
}
