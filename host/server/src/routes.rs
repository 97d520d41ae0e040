//! The routes of the server: which handler gets which request, and what is checked before it gets there.
//!
//! Everything behind an admin credential is in the router of its scope, and each router has one check, so
//! that a new route cannot forget it. Nothing here or below answers with axum's own plain text: every
//! rejection is an [`ApiError`].

mod admin;
mod cache;
mod heartbeat;
mod input;
mod list;
mod metrics;
mod policy;
mod secret;
mod tokens;
mod workspaces;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use tracing::Instrument as _;

use crate::app::{App, require};
use crate::credentials::Scope;
use crate::respond::ApiError;

/// Returns every route of the server.
pub(crate) fn router(app: Arc<App>) -> Router {
    let routes = probes().merge(heartbeats()).merge(administration(&app));
    whole(routes, app)
}

/// Returns the routes of a listener that has operators elsewhere: heartbeats and probes.
pub(crate) fn public(app: Arc<App>) -> Router {
    whole(probes().merge(heartbeats()), app)
}

/// Returns the routes of the operators' listener: all but heartbeats.
pub(crate) fn operators(app: Arc<App>) -> Router {
    let routes = probes().merge(administration(&app));
    whole(routes, app)
}

fn whole(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(app)
}

fn heartbeats() -> Router<Arc<App>> {
    Router::new().route("/registry/heartbeat", post(heartbeat::heartbeat))
}

fn probes() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(admin::healthz)).route("/readyz", get(admin::readyz))
}

/// Returns what is behind admin credentials, and the metrics, which go where operators are.
fn administration(app: &Arc<App>) -> Router<Arc<App>> {
    let guarded = |scope, routes: Router<Arc<App>>| {
        routes.route_layer(from_fn_with_state((Arc::clone(app), scope), require))
    };
    guarded(Scope::Read, reads())
        .merge(guarded(Scope::Policy, policy_changes()))
        .merge(guarded(Scope::Secrets, secrets()))
        .route("/metrics", get(metrics::metrics))
}

/// Returns the routes that show anything but a secret.
fn reads() -> Router<Arc<App>> {
    Router::new()
        .route("/workspaces", get(list::list))
        .route("/workspaces/{id}", get(list::show))
        .route("/workspaces/{id}/tokens", get(tokens::list))
        .route("/admin/policy", get(policy::show))
        .route("/admin/stats", get(admin::stats))
        .route("/admin/cache/{id}", get(cache::show))
}

/// Returns the routes that change the policy, or what is cached.
fn policy_changes() -> Router<Arc<App>> {
    Router::new()
        .route("/admin/policy", put(policy::swap))
        .route("/admin/policy/rollback", post(policy::rollback))
        .route("/admin/cache/reset", post(cache::reset))
        .route("/admin/cache/forget/{id}", post(cache::forget))
}

/// Returns the routes that hand out secrets and tokens, or change the workspaces that have them.
fn secrets() -> Router<Arc<App>> {
    Router::new()
        .route("/workspaces", post(workspaces::create))
        .route("/workspaces/{id}", delete(workspaces::delete))
        .route("/workspaces/{id}/secret", get(secret::read).post(secret::rotate))
        .route("/workspaces/{id}/tokens", post(tokens::add))
        .route("/workspaces/{id}/tokens/rotate", post(tokens::rotate))
        .route("/workspaces/{id}/tokens/{token}", delete(tokens::revoke))
}

/// Returns the settings of a query, or the message of the refusal.
#[cfg(feature = "testing")]
pub(crate) fn settings_of_query(query: &str) -> Result<Vec<(String, String)>, String> {
    input::settings(Some(query)).map_err(|error| error.message().to_owned())
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed() -> ApiError {
    let message = "this path does not take this method; the Allow header names those it does";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Runs a change to its end, whether or not the client waits: a row that is deleted must leave the caches
/// too.
async fn run_to_completion<T: Send + 'static>(
    change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(change.in_current_span()).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            tracing::error!(%failure, "a change did not run to its end");
            Err(ApiError::internal("the change did not run to its end"))
        }
    }
}
