//! The JSON of the operator's API and of the audit log, as types: what the routes answer is what the record
//! keeps and what `leasehold policy` reads.
//!
//! A reader takes what it knows: a field that is missing has its default, and one that is new is skipped, so
//! that a client and a server of different versions understand each other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use leasehold::{BreakerStatus, PolicyFailure, PolicyStatus, SwapError, SwapRecord, SwapReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy;

/// The last moment that can be formatted: the end of the year 9999. A row may hold any number.
const LAST_MS: u64 = 253_402_300_799_999;

/// Settings by name.
pub(crate) type SettingsJson = BTreeMap<String, String>;

/// `GET /admin/policy`: the active policy, and how it came to be.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct StatusJson {
    pub(crate) generation: u64,
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) settings: SettingsJson,
    pub(crate) execution: String,
    pub(crate) card: Option<Value>,
    pub(crate) since: String,
    pub(crate) faults: u64,
    pub(crate) highest_revision: u64,
    pub(crate) probation_s: Option<f64>,
    pub(crate) breaker: BreakerJson,
    pub(crate) last_good: Option<RecordJson>,
    pub(crate) recent: Vec<RecordJson>,
    pub(crate) tokens: TokensJson,
}

/// Policy of the tokens' cache.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct TokensJson {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) settings: SettingsJson,
}

/// `GET /workspaces/{id}/tokens`: the tokens of a workspace, the oldest first.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct TokenListJson {
    pub(crate) tokens: Vec<TokenJson>,
}

/// What may be shown of a token.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct TokenJson {
    pub(crate) id: String,
    pub(crate) prefix: Option<String>,
    pub(crate) created_at: String,
    pub(crate) last_used_at: Option<String>,
    pub(crate) expires_at: Option<String>,
}

/// Answer to a swap, a reconfiguration or a rollback.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct SwapJson {
    pub(crate) generation: u64,
    pub(crate) replaced: u64,
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) settings: SettingsJson,
    pub(crate) card: Option<Value>,
    pub(crate) entries: u64,
    /// `false` if a restart would come back with an earlier policy.
    pub(crate) persisted: Option<bool>,
    pub(crate) stages: Vec<StageJson>,
}

/// Time that a stage of a swap took.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct StageJson {
    pub(crate) stage: String,
    pub(crate) micros: u64,
}

/// A change of the policy, or a refusal of one: a line of the audit log, and of the history in the status.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct RecordJson {
    pub(crate) at: String,
    pub(crate) digest: String,
    pub(crate) policy: Option<String>,
    pub(crate) settings: SettingsJson,
    pub(crate) by: String,
    pub(crate) cause: String,
    pub(crate) reason: Option<String>,
    pub(crate) signed: Option<SignedJson>,
    pub(crate) forced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<RefusedJson>,
}

/// A line of the audit log: a change with the policy's card.
#[derive(Debug, Serialize)]
pub(crate) struct AuditJson {
    #[serde(flatten)]
    pub(crate) record: RecordJson,
    pub(crate) card: Option<Value>,
}

/// A line of the audit log for a policy that never got as far as the cache.
#[derive(Debug, Serialize)]
pub(crate) struct UnreadJson<'a> {
    pub(crate) at: String,
    pub(crate) by: &'a str,
    pub(crate) policy: &'a str,
    pub(crate) cause: &'a str,
    pub(crate) refused: RefusedJson,
}

/// `GET /workspaces`: a page of the workspaces, in the order of their ids.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct WorkspacesJson {
    pub(crate) workspaces: Vec<WorkspaceJson>,
    /// Id after which the next page begins, if there is one.
    pub(crate) next: Option<String>,
}

/// `GET /workspaces/ID`: a workspace, without its secret.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct WorkspaceJson {
    pub(crate) id: String,
    pub(crate) created_at: Option<String>,
    pub(crate) has_secret: bool,
}

/// `GET /admin/cache/ID`: what is cached of a workspace, without the value.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct EntryJson {
    pub(crate) state: String,
    pub(crate) age_s: f64,
    pub(crate) fresh_for_s: f64,
    pub(crate) keep_for_s: f64,
    pub(crate) generation: u64,
    pub(crate) granted_by: Option<GrantedByJson>,
}

/// Policy that granted a lease.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct GrantedByJson {
    pub(crate) policy: String,
    pub(crate) digest: String,
}

/// A line of the audit log for a change of a workspace, or of what is cached.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeJson<'a> {
    pub(crate) at: String,
    pub(crate) cause: &'static str,
    /// Author in one text, as in the lines of policies.
    pub(crate) by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<&'a str>,
    /// Operator's name, in the client's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<&'a str>,
    pub(crate) peer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workspace: Option<&'a str>,
    /// Public id of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<&'a str>,
    /// `done`, or `unknown` where the database may have done it.
    pub(crate) outcome: &'static str,
}

/// A line of the audit log in place of heals that found no room.
#[derive(Debug, Serialize)]
pub(crate) struct LostJson {
    pub(crate) at: String,
    pub(crate) cause: &'static str,
    pub(crate) heals: u64,
}

/// Key and revision of a signature.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct SignedJson {
    pub(crate) revision: u64,
    pub(crate) key: String,
}

/// Stage at which a policy was refused, and why.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct RefusedJson {
    pub(crate) stage: String,
    pub(crate) message: String,
}

/// State of the breaker.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct BreakerJson {
    pub(crate) state: String,
    pub(crate) faults: u64,
    pub(crate) limit: u64,
    pub(crate) window_s: f64,
    pub(crate) tripped: Option<TripJson>,
}

/// A policy that was replaced because it failed.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct TripJson {
    pub(crate) at: String,
    pub(crate) cause: String,
    pub(crate) generation: u64,
    pub(crate) digest: String,
    pub(crate) policy: String,
    pub(crate) reason: String,
}

/// Any answer that is an error.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct ErrorJson {
    pub(crate) error: ErrorBodyJson,
}

/// Code for programs, message for people, and the stage where a policy was refused.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct ErrorBodyJson {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
}

impl StatusJson {
    /// The status of the secrets' cache, with the policy of the tokens'.
    pub(crate) fn of(active: &PolicyStatus, tokens: PolicyStatus) -> Self {
        Self {
            generation: active.generation,
            digest: active.digest.clone(),
            name: active.name.clone(),
            version: active.version.clone(),
            summary: active.summary.clone(),
            settings: settings(&active.settings),
            execution: active.execution.as_str().to_owned(),
            card: active.card.as_ref().map(policy::json),
            since: time(active.since),
            faults: active.faults,
            highest_revision: active.highest_revision,
            probation_s: active.probation.map(|left| left.as_secs_f64()),
            breaker: BreakerJson::of(&active.breaker),
            last_good: active.last_good.as_ref().map(RecordJson::of),
            recent: active.recent.iter().map(RecordJson::of).collect(),
            tokens: TokensJson {
                settings: settings(&tokens.settings),
                digest: tokens.digest,
                name: tokens.name,
                version: tokens.version,
            },
        }
    }
}

impl SwapJson {
    pub(crate) fn of(report: &SwapReport, persisted: bool) -> Self {
        let stages = report.stages.iter().map(|(stage, took)| StageJson {
            stage: stage.as_str().to_owned(),
            // 584,000 years of microseconds fit.
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
        Self {
            generation: report.generation,
            replaced: report.replaced,
            digest: report.digest.clone(),
            name: report.name.clone(),
            version: report.version.clone(),
            settings: settings(&report.settings),
            card: report.card.as_ref().map(policy::json),
            entries: report.entries,
            persisted: Some(persisted),
            stages: stages.collect(),
        }
    }
}

impl RecordJson {
    pub(crate) fn of(record: &SwapRecord) -> Self {
        let signed = record.signed.as_ref();
        Self {
            at: time(record.at),
            digest: record.digest.clone(),
            policy: record.policy.clone(),
            settings: settings(&record.settings),
            by: record.by.clone(),
            cause: record.cause.as_str().to_owned(),
            reason: record.reason.clone(),
            signed: signed.map(|signed| SignedJson { revision: signed.revision, key: signed.key.clone() }),
            forced: record.forced,
            generation: record.outcome.as_ref().ok().copied(),
            refused: record.outcome.as_ref().err().map(RefusedJson::of),
        }
    }
}

impl RefusedJson {
    fn of(error: &SwapError) -> Self {
        Self { stage: error.stage.as_str().to_owned(), message: error.reason.clone() }
    }
}

impl BreakerJson {
    fn of(breaker: &BreakerStatus) -> Self {
        Self {
            state: if breaker.trip.is_some() { "tripped" } else { "closed" }.to_owned(),
            faults: breaker.faults.into(),
            limit: breaker.limit.into(),
            window_s: breaker.window.as_secs_f64(),
            tripped: breaker.trip.as_ref().map(TripJson::of),
        }
    }
}

impl TripJson {
    fn of(trip: &PolicyFailure) -> Self {
        Self {
            at: time(trip.at),
            cause: trip.cause.as_str().to_owned(),
            generation: trip.generation,
            digest: trip.digest.clone(),
            policy: trip.policy.clone(),
            reason: trip.reason.clone(),
        }
    }
}

fn settings(settings: &[(String, String)]) -> SettingsJson {
    settings.iter().cloned().collect()
}

/// Formats a moment of the wall clock.
pub(crate) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// Formats a moment that is stored as milliseconds since 1970.
pub(crate) fn time_ms(ms: u64) -> String {
    time(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS)))
}
