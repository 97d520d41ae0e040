//! `/admin/policy`: show the active policy, swap it, go back to the one before.
//!
//! The library decides whether a policy is taken, names the stage at which it was refused, and logs both.
//! This file turns its words into JSON.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use leasehold::Policy;

use crate::api::{StatusJson, SwapJson};
use crate::app::{App, Swapped};
use crate::author::Author;
use crate::policy_source::MAX_COMPONENT_BYTES;
use crate::respond::{self, ApiError};
use crate::routes::{input, run_to_completion};

/// Maximum size of a body: twice what the library takes. The library refuses a component that is too large in
/// words of its own, which are recorded.
const MAX_BODY_BYTES: usize = 2 * MAX_COMPONENT_BYTES;

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    respond::json(StatusCode::OK, &StatusJson::of(&app.secrets.policy(), app.tokens.policy()))
}

/// Header with the component's signature.
const SIGNATURE: &str = "leasehold-signature";

/// Swaps in the component in the body. Without a body the active one stays, with the given settings over its
/// own.
pub(super) async fn swap(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let by = author.to_string();
    let given = input::settings(query.as_deref())?;
    let forced = input::force(query.as_deref())?;
    let signature = input::header(&headers, SIGNATURE)?.map(str::to_owned);
    // A client that brings a component names its content type, even for an empty one.
    let brings_one = headers.contains_key(CONTENT_TYPE);
    let component = input::body(body, MAX_BODY_BYTES).await?;
    let swapped = run_to_completion(async move {
        if component.is_empty() && !brings_one && signature.is_none() && !forced {
            return Ok(app.reconfigure(given, &by).await?);
        }
        let policy = Policy::from_bytes(Vec::from(component));
        let policy = given.into_iter().fold(policy, |policy, (name, value)| policy.setting(name, value));
        let policy = signature.into_iter().fold(policy, Policy::signed);
        let policy = if forced { policy.forced() } else { policy };
        Ok(app.swap(policy, &by).await?)
    });
    Ok(done(&swapped.await?))
}

pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Extension(author): Extension<Author>,
) -> Result<Response, ApiError> {
    let by = author.to_string();
    let rolled_back = run_to_completion(async move { Ok(app.rollback(&by).await?) });
    Ok(done(&rolled_back.await?))
}

fn done(Swapped { report, persisted }: &Swapped) -> Response {
    respond::json(StatusCode::OK, &SwapJson::of(report, *persisted))
}
