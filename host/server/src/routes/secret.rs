//! `GET` and `POST /workspaces/{id}/secret`: the operator reads a secret, or rotates it.
//!
//! Reading never issues a secret: a workspace without one is a 404 here, and gets one by its heartbeat.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use leasehold::Secret;

use crate::app::App;
use crate::respond::{ApiError, secret_json};
use crate::routes::input::Workspace;

pub(super) async fn read(
    State(app): State<Arc<App>>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    let lookup = app.secrets.read(&workspace).await?;
    let fields = [("platform_inbound_secret", text(&lookup.secret)?), ("cache", lookup.status.as_str())];
    secret_json(StatusCode::OK, &fields)
}

pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    let secret = app.secrets.issue(&workspace).await?;
    tracing::info!(%workspace, "rotated a secret");
    secret_json(StatusCode::OK, &[("platform_inbound_secret", text(&secret)?)])
}

fn text(secret: &Secret) -> Result<&str, ApiError> {
    secret.expose_str().ok_or_else(|| ApiError::internal("the secret is not text"))
}
