//! `GET /metrics`: the same numbers as `/admin/stats`, of both caches, and the answers by route and status,
//! for Prometheus.
//!
//! Nothing is counted here. Each scrape encodes one snapshot, so that no number is kept twice and none can
//! drift.

mod format;

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use leasehold::{PolicyStatus, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::format::MetricsFormat;
use crate::app::App;
use crate::respond::ApiError;
use crate::telemetry::{BOUNDS, ConnectionNumbers, RouteCounts};

pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(MetricsSnapshot {
        secrets: app.secrets.stats(),
        tokens: app.tokens.stats(),
        policy: app.secrets.policy(),
        responses: app.telemetry.responses.snapshot(),
        connections: app.telemetry.connections.numbers(),
    }));
    let mut page = String::new();
    text::encode(&mut page, &registry).map_err(|error| ApiError::internal(error.to_string()))?;
    let format = MetricsFormat::asked_for(&headers);
    Ok(([(CONTENT_TYPE, format.content_type())], format.page(page)).into_response())
}

#[derive(Debug)]
struct MetricsSnapshot {
    secrets: Stats,
    tokens: Stats,
    policy: PolicyStatus,
    responses: Vec<RouteCounts>,
    connections: ConnectionNumbers,
}

impl Collector for MetricsSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for ((name, secrets), (_, tokens)) in self.secrets.named().zip(self.tokens.named()) {
            let kind = if matches!(name, "entries" | "held" | "in_flight") {
                MetricType::Gauge
            } else {
                MetricType::Counter
            };
            let full_name = format!("leasehold_{name}");
            let mut family = encoder.encode_descriptor(&full_name, help(name), None, kind)?;
            for (cache, number) in [("secrets", secrets), ("tokens", tokens)] {
                let labels = [("cache", cache)];
                let metric = family.encode_family(&labels)?;
                match kind {
                    MetricType::Gauge => ConstGauge::new(number).encode(metric)?,
                    _ => ConstCounter::new(number).encode(metric)?,
                }
            }
        }
        encode_responses(&self.responses, &mut encoder)?;
        encode_connections(self.connections, &mut encoder)?;
        // A policy's text about itself is escaped like any other text.
        let info = Info::new([
            ("name", self.policy.name.clone()),
            ("version", self.policy.version.clone()),
            ("digest", self.policy.digest.clone()),
            ("generation", self.policy.generation.to_string()),
        ]);
        let help = "The active policy of the secrets' cache";
        info.encode(encoder.encode_descriptor("leasehold_policy", help, None, MetricType::Info)?)
    }
}

fn encode_responses(routes: &[RouteCounts], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Answers by route and status; a path that is no route's is \"other\"";
    let name = "leasehold_http_responses";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for RouteCounts { route, codes, .. } in routes {
        for (code, number) in codes {
            let labels = [("route", *route), ("code", code.as_str())];
            ConstCounter::new(*number).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Time from a request's head to the head of its answer";
    let name = "leasehold_http_request_duration_seconds";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for RouteCounts { route, buckets, seconds, .. } in routes {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counted: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
        let labels = [("route", *route)];
        let mut metric = family.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(*seconds, buckets.iter().sum(), &counted, None)?;
    }
    Ok(())
}

fn encode_connections(
    numbers: ConnectionNumbers,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "Connections open now, on all listeners";
    let metric = encoder.encode_descriptor("leasehold_connections", help, None, MetricType::Gauge)?;
    ConstGauge::new(numbers.open).encode(metric)?;
    for (name, help, number) in [
        ("leasehold_connections_evicted", "Idle and slow connections ended for new ones", numbers.evicted),
        ("leasehold_connections_refused", "Connections refused for want of room", numbers.refused),
    ] {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(number).encode(metric)?;
    }
    Ok(())
}

/// Returns the meaning of each number of [`Stats`], for a reader of the page.
fn help(name: &str) -> &'static str {
    match name {
        "hits" => "Reads answered under a lease, without a policy call or a statement",
        "misses" => "Reads answered from the database",
        "stale" => "Reads that the policy answered with a kept value after its lease",
        "renewed" => "Reads that the policy answered with a kept value under a new lease",
        "healed" => "Reads that found no secret and were given one that was issued for them",
        "absent" => "Reads that found no secret",
        "bypassed" => "Reads and issues past a policy that failed or could not be run",
        "errors" => "Reads and issues that ended in an error",
        "joined" => "Reads and heals that joined one already in flight",
        "selects" => "SELECTs sent",
        "issues" => "Issues sent to the database, rotations and heals",
        "overloaded" => "Loads and issues that were rejected because too many were waiting",
        "policy_calls" => "Calls of the policy",
        "policy_faults" => "Calls of the policy that trapped, ran for too long or broke a rule",
        "shortages" => {
            "Calls of the policy that the machine had not enough memory, address space or threads for"
        }
        "breaker_trips" => "Policies that were replaced because they failed too often",
        "probations_failed" => {
            "Policies that were replaced because they exceeded a budget of their probation"
        }
        "refreshes" => "Loads started by a hit whose lease asked for it",
        "rereads" => "Loads started because a secret was presented that was not the cached one",
        "evicted" => "Entries dropped to stay within the capacity",
        "swept" => "Entries dropped because their lease had run out",
        "compilations" => "Components compiled for this cache, where no other cache of the process had them",
        "swaps" => "Swaps of the policy, rollbacks included",
        "swaps_refused" => "Policies that were refused",
        "statements" => "SQL statements sent for this cache",
        "entries" => "Entries stored now",
        "held" => "Entries stored no longer that a reader keeps from being wiped",
        "in_flight" => "Workspaces with a load or an issue in flight now",
        _ => "A number of the cache that has no description yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_cache_has_a_description() {
        for (name, _) in Stats::default().named() {
            assert!(!help(name).contains("no description"), "{name}");
        }
    }
}
