//! `POST /workspaces` and `DELETE /workspaces/{id}`: the rows that everything else is about.
//!
//! A workspace's token is in one answer and nowhere else: only its hash is stored. Whenever a row comes or
//! goes, the secrets' cache forgets the id before the answer, because another server may have deleted the row
//! that it knew. When it goes, the tokens' cache forgets all of its tokens.

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
use crate::author::Author;
use crate::made_token::MadeToken;
use crate::respond::{ApiError, secret_json};
use crate::routes::input::{self, Workspace};
use crate::routes::run_to_completion;
use crate::store::Deleted;

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
    let token = Arc::new(MadeToken::new()?);
    let (row, first) = (workspace.clone(), Arc::clone(&token));
    run_to_completion(async move {
        let inserted = app.store.insert(&row, &first.stored(app.tokens.now_ms(), None)).await;
        // Also after a failure: the row may be there all the same. A row that was there already changed
        // nothing.
        if !matches!(inserted, Ok(false)) {
            app.secrets.remove(&row);
        }
        let effect = Effect::of_statement(&inserted, |is_new| *is_new);
        record(&app, &author, Deed::Create, &row, effect).await;
        if inserted? { Ok(()) } else { Err(exists(&row)) }
    })
    .await?;
    tracing::info!(%workspace, "created a workspace");
    secret_json(StatusCode::CREATED, &[("id", workspace.as_str()), ("auth_token", token.text())])
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let deleted = run_to_completion(async move {
        // Read before: after an outcome that is unknown nothing else says which entries have to go.
        let tokens = app.store.tokens(&workspace).await?.unwrap_or_default();
        let deleted = app.store.delete(&workspace).await;
        // Also after a failure: the row may be gone all the same.
        app.secrets.remove(&workspace);
        app.tokens.forget(tokens.iter().map(|token| token.hash.as_str()));
        if let Ok(Deleted::Gone(hashes)) = &deleted {
            app.tokens.forget(hashes.iter().map(String::as_str));
        }
        let effect = Effect::of_statement(&deleted, |deleted| matches!(deleted, Deleted::Gone(_)));
        record(&app, &author, Deed::Delete, &workspace, effect).await;
        let deleted = matches!(deleted?, Deleted::Gone(_));
        tracing::info!(%workspace, deleted, "deleted a workspace");
        Ok(deleted)
    })
    .await?;
    if deleted { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(ApiError::unknown_workspace()) }
}

/// Records what a statement has done to a workspace, if it has, or may have.
async fn record(app: &App, author: &Author, deed: Deed, workspace: &WorkspaceId, effect: Option<Effect>) {
    if let Some(effect) = effect {
        app.record(AuditedChange { deed, effect, workspace: Some(workspace), token: None, author }).await;
    }
}

fn exists(workspace: &WorkspaceId) -> ApiError {
    let message = format!(
        "there is a workspace {:?} already; delete it first, or choose another id",
        workspace.as_str()
    );
    ApiError::new(StatusCode::CONFLICT, "workspace_exists", message)
}
