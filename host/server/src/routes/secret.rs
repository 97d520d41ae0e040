//! `GET` and `POST /workspaces/{id}/secret`: the operator reads a secret, or rotates it.
//!
//! Reading never issues a secret: a workspace without one is a 404 here, and gets one by its heartbeat. A
//! rotation with a key is done once, and runs to its end whether or not the client waits: what became of it
//! has to be known when the same request comes again.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use leasehold::{Error, Secret, WorkspaceId};

use crate::app::App;
use crate::audit::{AuditedChange, Deed, Effect};
use crate::author::Author;
use crate::respond::{ApiError, secret_json};
use crate::rotations::KeyedRotation;
use crate::routes::input::{self, Workspace};
use crate::routes::run_to_completion;

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
    Extension(author): Extension<Author>,
    Workspace(workspace): Workspace,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if app.layout.secrets.is_read_only {
        return Err(ApiError::secrets_are_read_only(&app.layout.secrets.table));
    }
    let key = input::idempotency_key(&headers)?.map(str::to_owned);
    let rotated = run_to_completion(async move {
        match key {
            Some(key) => rotate_once(&app, &author, &workspace, &key).await,
            None => Ok(issue(&app, &author, &workspace).await?),
        }
    });
    secret_json(StatusCode::OK, &[("platform_inbound_secret", text(&rotated.await?)?)])
}

async fn issue(app: &App, author: &Author, workspace: &WorkspaceId) -> Result<Secret, Error> {
    let issued = app.secrets.issue(workspace).await;
    if let Some(effect) = Effect::of_issue(&issued) {
        let change =
            AuditedChange { deed: Deed::Rotate, effect, workspace: Some(workspace), token: None, author };
        app.record(change).await;
    }
    if issued.is_ok() {
        tracing::info!(%workspace, "rotated a secret");
    }
    issued
}

/// Rotates the secret, or returns it where the rotation of this key was done already.
async fn rotate_once(
    app: &App,
    author: &Author,
    workspace: &WorkspaceId,
    key: &str,
) -> Result<Secret, ApiError> {
    let turn = app.rotations.turn(key, workspace).ok_or_else(key_of_another)?;
    // Held over the rotation: the same request beside it waits for what becomes of it.
    let mut rotation = turn.lock().await;
    match *rotation {
        KeyedRotation::Undone => {
            // Should this task end early, it is not known what was sent.
            *rotation = KeyedRotation::Unknown;
            let issued = issue(app, author, workspace).await;
            *rotation = KeyedRotation::of(&issued);
            Ok(issued?)
        }
        KeyedRotation::Unknown => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "outcome_unknown",
            "it is not known whether the rotation with this Idempotency-Key was done, and it is not tried \
             again; GET the secret to learn which is in force, and rotate with another key if it has to be a \
             new one",
        )),
        KeyedRotation::Done(_) => match app.secrets.read(workspace).await {
            Ok(lookup) if rotation.made(&lookup.secret) => Ok(lookup.secret),
            Ok(_) | Err(Error::Absent | Error::UnknownWorkspace) => Err(ApiError::new(
                StatusCode::CONFLICT,
                "rotated_since",
                "the rotation with this Idempotency-Key was done, and its secret has been replaced or \
                 removed since; GET the secret that is in force, or rotate with another key",
            )),
            Err(error) => Err(error.into()),
        },
    }
}

fn key_of_another() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "this Idempotency-Key was used for another workspace; use a new one for each rotation",
    )
}

fn text(secret: &Secret) -> Result<&str, ApiError> {
    secret.expose_str().ok_or_else(|| ApiError::internal("the secret is not text"))
}
