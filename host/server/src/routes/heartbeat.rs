//! `POST /registry/heartbeat`: the request that the cache is for.
//!
//! The workspace is authenticated first, on every heartbeat, before the secret is looked for. With both
//! cached, a heartbeat executes no statement. Its first job is to report that the workspace lives: once the
//! workspace is known, the answer is 200 whatever becomes of the secret, and `secret_error` gives the reason
//! if the secret is missing:
//!
//! - `unavailable`: it could not be read or issued this time; the next heartbeat may bring it.
//! - `unknown_workspace`: the workspace was deleted while its token was still cached; the next heartbeat is a
//!   401.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Extensions, StatusCode};
use axum::response::Response;
use leasehold::{Error, Secret, Status, WorkspaceId};
use serde::Deserialize;
use tracing::Instrument as _;

use crate::app::App;
use crate::auth::{TokenHash, bearer};
use crate::front::Concerns;
use crate::peer::Peer;
use crate::respond::{self, ApiError, secret_json};
use crate::routes::input;
use crate::telemetry::Failure;

/// The part of a heartbeat that is read. Its other fields are for others.
#[derive(Deserialize)]
struct Heartbeat<'a> {
    #[serde(borrow)]
    workspace_id: Cow<'a, str>,
}

pub(super) async fn heartbeat(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    // Taken apart here: axum's extractor of headers copies them all.
    let (head, body) = request.into_parts();
    let token = bearer(&head.headers).ok_or_else(ApiError::unauthorized)?;
    let body = input::body(body, input::MAX_JSON_BYTES).await?;
    let heartbeat: Heartbeat<'_> = input::json(&body)?;
    let workspace = WorkspaceId::new(heartbeat.workspace_id)?;
    let mut answer = answered(&app, &workspace, token, &head.extensions).await?;
    if app.telemetry.has_access_log {
        answer.extensions_mut().insert(Concerns(workspace));
    }
    Ok(answer)
}

async fn answered(
    app: &Arc<App>,
    workspace: &WorkspaceId,
    token: &str,
    extensions: &Extensions,
) -> Result<Response, ApiError> {
    app.admits(workspace)?;
    app.authenticate(workspace, token).await?;
    // The hit: answered while the secret is borrowed, because a clone would bounce its count between the
    // cores.
    if let Some(answer) = app.secrets.with(workspace, with_secret) {
        return answer;
    }
    // A heal is recorded also where the client does not wait for its answer.
    let (app, workspace, peer) = (Arc::clone(app), workspace.clone(), Peer::of(extensions));
    let token = TokenHash::of(token);
    let answered = async move {
        match app.secrets.read_or_issue(&workspace).await {
            Ok(lookup) => {
                if lookup.status == Status::Healed {
                    app.journal.note_heal(&workspace, Some(&lookup.secret), &peer);
                }
                with_secret(&lookup.secret)
            }
            Err(error) => {
                if matches!(error, Error::OutcomeUnknown(_)) {
                    app.journal.note_heal(&workspace, None, &peer);
                }
                Ok(without_secret(&app, &workspace, token, &error))
            }
        }
    };
    let answered = tokio::spawn(answered.in_current_span()).await;
    answered.unwrap_or_else(|_ended| Err(ApiError::internal("the heartbeat did not run to its end")))
}

fn with_secret(secret: &Secret) -> Result<Response, ApiError> {
    match secret.expose_str() {
        Some(text) => secret_json(StatusCode::OK, &[("status", "ok"), ("platform_inbound_secret", text)]),
        None => Err(ApiError::internal("the secret is not text")),
    }
}

fn without_secret(app: &App, workspace: &WorkspaceId, token: TokenHash, error: &Error) -> Response {
    let code = match error {
        Error::UnknownWorkspace => {
            // The row is gone, so the token that was accepted is no longer valid. The next heartbeat is a
            // 401, so that no client can repeat this line.
            app.secrets.remove(workspace);
            app.tokens.forget_presented(workspace, token);
            tracing::warn!(%workspace, "a heartbeat came from a workspace that was deleted");
            "unknown_workspace"
        }
        _ => "unavailable",
    };
    let mut answer =
        respond::json(StatusCode::OK, &serde_json::json!({ "status": "ok", "secret_error": code }));
    if let Some(failure) = Failure::of_cache(error) {
        answer.extensions_mut().insert(failure);
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_secret_with_quotes_and_unicode_arrives_as_it_is() {
        let response = with_secret(&Secret::new("a\"b\\c\nü🔑")).unwrap();
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(body, r#"{"status":"ok","platform_inbound_secret":"a\"b\\c\nü🔑"}"#);
    }

    #[test]
    fn an_id_is_read_with_or_without_escapes_and_other_fields_are_ignored() {
        for (body, id) in [
            (r#"{"workspace_id":"w-1","load":[1,{"x":null}],"version":"2"}"#, "w-1"),
            (r#"{"workspace_id":"Z\u00fcrich \"1\""}"#, "Zürich \"1\""),
        ] {
            let heartbeat: Heartbeat<'_> = input::json(body.as_bytes()).unwrap();
            assert_eq!(heartbeat.workspace_id, id);
        }
    }
}
