//! `/admin/policy`: show the active policy, swap it, go back to the one before.
//!
//! The library decides whether a policy is taken, says at which stage it was not, and logs both. Here its words become
//! JSON.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use leasehold::{BreakerStatus, Policy, SwapRecord, SwapReport};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::policy::COMPONENT_BYTES_MAX;
use crate::respond::{self, ApiError};
use crate::routes::{input, to_its_end};

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let policy = app.secrets.policy();
    let shown = json!({
        "generation": policy.generation,
        "digest": policy.digest,
        "name": policy.name,
        "version": policy.version,
        "summary": policy.summary,
        "settings": settings(&policy.settings),
        "since": time(policy.since),
        "faults": policy.faults,
        "probation_s": policy.probation.map(|left| left.as_secs_f64()),
        "breaker": breaker(&policy.breaker),
        "last_good": policy.last_good.as_ref().map(record),
        "recent": policy.recent.iter().map(record).collect::<Vec<_>>(),
    });
    respond::json(StatusCode::OK, &shown)
}

/// A component as the body is swapped in. No body keeps the active one, with the given settings over its own.
pub(super) async fn swap(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let given = input::settings(query.as_deref())?;
    let component = input::body(body, COMPONENT_BYTES_MAX).await?;
    let swapped = to_its_end(async move {
        let policy = if component.is_empty() {
            app.secrets.active()
        } else {
            Policy::from_bytes(Vec::from(component))
        };
        let policy = given.into_iter().fold(policy, |policy, (name, value)| policy.setting(name, value));
        Ok(app.secrets.swap(policy).await?)
    });
    Ok(done(&swapped.await?))
}

pub(super) async fn rollback(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let rolled_back = to_its_end(async move { Ok(app.secrets.rollback().await?) });
    Ok(done(&rolled_back.await?))
}

fn done(report: &SwapReport) -> Response {
    let stages = report.stages.iter().map(|(stage, took)| {
        // 584,000 years of microseconds fit.
        json!({ "stage": stage.as_str(), "micros": u64::try_from(took.as_micros()).unwrap_or(u64::MAX) })
    });
    let shown = json!({
        "generation": report.generation,
        "replaced": report.replaced,
        "digest": report.digest,
        "name": report.name,
        "version": report.version,
        "settings": settings(&report.settings),
        "entries": report.entries,
        "stages": stages.collect::<Vec<_>>(),
    });
    respond::json(StatusCode::OK, &shown)
}

fn breaker(breaker: &BreakerStatus) -> Value {
    let tripped = breaker.trip.as_ref().map(|trip| {
        json!({
            "at": time(trip.at),
            "cause": trip.cause.as_str(),
            "generation": trip.generation,
            "digest": trip.digest,
            "policy": trip.policy,
            "reason": trip.reason,
        })
    });
    json!({
        "state": if tripped.is_some() { "tripped" } else { "closed" },
        "faults": breaker.faults,
        "limit": breaker.limit,
        "window_s": breaker.window.as_secs_f64(),
        "tripped": tripped,
    })
}

fn record(record: &SwapRecord) -> Value {
    let mut shown = json!({
        "at": time(record.at),
        "digest": record.digest,
        "policy": record.policy,
        "settings": settings(&record.settings),
        "by": record.by,
        "cause": record.cause.as_str(),
        "reason": record.reason,
    });
    if let Some(fields) = shown.as_object_mut() {
        let (name, outcome) = match &record.outcome {
            Ok(generation) => ("generation", json!(generation)),
            Err(refused) => {
                ("refused", json!({ "stage": refused.stage.as_str(), "message": refused.reason }))
            }
        };
        fields.insert(name.to_owned(), outcome);
    }
    shown
}

fn settings(settings: &[(String, String)]) -> Map<String, Value> {
    settings.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
