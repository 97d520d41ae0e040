//! `/admin/cache`: what is cached is dropped, of one workspace or of all; and a look at one entry, without
//! its value.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use leasehold::{EntryInfo, PolicyStatus, WorkspaceId};
use serde_json::json;

use crate::api::{EntryJson, GrantedByJson};
use crate::app::App;
use crate::audit::{AuditedChange, Deed, Effect};
use crate::author::Author;
use crate::respond::{self, ApiError};
use crate::routes::input::Workspace;

/// Drops every entry of both caches.
pub(super) async fn reset(State(app): State<Arc<App>>, Extension(author): Extension<Author>) -> Response {
    app.secrets.reset();
    app.tokens.reset();
    tracing::info!("reset the caches");
    done(&app, Deed::Reset, None, &author).await
}

/// Drops both caches' entries of one workspace, whether or not there is such a workspace.
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    app.secrets.remove(&workspace);
    app.tokens.forget_all_of(&workspace, &app.store).await?;
    tracing::info!(%workspace, "forgot a workspace");
    Ok(done(&app, Deed::Forget, Some(&workspace), &author).await)
}

async fn done(app: &App, deed: Deed, workspace: Option<&WorkspaceId>, author: &Author) -> Response {
    app.record(AuditedChange { deed, effect: Effect::Done, workspace, token: None, author }).await;
    respond::json(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Shows what is cached of a workspace's secret.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    let entry = app.secrets.entry(&workspace).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "not_cached",
            "nothing of this workspace's secret is cached; the next read asks the database",
        )
    })?;
    Ok(respond::json(StatusCode::OK, &shown(&entry, &app.secrets.policy())))
}

fn shown(entry: &EntryInfo, status: &PolicyStatus) -> EntryJson {
    EntryJson {
        state: entry.state.as_str().to_owned(),
        age_s: entry.age.as_secs_f64(),
        fresh_for_s: entry.fresh_for.as_secs_f64(),
        keep_for_s: entry.keep_for.as_secs_f64(),
        generation: entry.generation,
        granted_by: granted_by(entry.generation, status),
    }
}

/// Returns the policy of a generation, while the history has it.
fn granted_by(generation: u64, status: &PolicyStatus) -> Option<GrantedByJson> {
    if generation == status.generation {
        let policy = format!("{} {}", status.name, status.version);
        return Some(GrantedByJson { policy, digest: status.digest.clone() });
    }
    let record = status.recent.iter().find(|record| record.outcome.as_ref().ok() == Some(&generation))?;
    Some(GrantedByJson { policy: record.policy.clone().unwrap_or_default(), digest: record.digest.clone() })
}
