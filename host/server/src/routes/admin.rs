//! The small routes: the numbers, and the two probes.
//!
//! `/healthz` reports that the process answers and must never use the database: a process that is killed
//! because its database is down does not bring the database back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::respond::{self, ApiError};
use crate::store::{Access, StoreError};
use crate::telemetry::Failure;

/// Returns the secrets' cache in numbers, except `statements`, which counts both caches: a heartbeat uses
/// both.
pub(super) async fn stats(State(app): State<Arc<App>>) -> Response {
    let mut stats = app.secrets.stats();
    stats.statements += app.tokens.stats().statements;
    let numbers: Map<String, Value> =
        stats.named().map(|(name, number)| (name.to_owned(), number.into())).collect();
    respond::json(StatusCode::OK, &Value::Object(numbers))
}

pub(super) async fn healthz() -> Response {
    ok()
}

pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    if app.is_draining() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    if app.secrets.policy().generation == 0 {
        return Err(ApiError::unavailable("no policy is active"));
    }
    match app.store.ping().await {
        Ok(Access::ReadWrite) => Ok(ok()),
        Ok(Access::ReadOnly) => Ok(respond::json(StatusCode::OK, &json!({ "status": "read-only" }))),
        // These words are ours.
        Err(StoreError::FileChanged(change)) => Err(ApiError::unavailable(change.to_string())),
        Err(error) => {
            // Any client may call this, so that the database's error stays in the log.
            let answer = ApiError::unavailable("the database does not answer");
            Err(answer.because(Some(Failure::of_store(&error))))
        }
    }
}

fn ok() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "ok" }))
}
