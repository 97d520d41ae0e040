//! `leasehold policy apply`, `rollback` and `status`: the operator's side of `/admin/policy`.
//!
//! It makes the operator's request (`client.rs` sends it) and shows the answer. Only the server knows what a
//! good policy is.

use std::fmt::Write as _;

use anyhow::Context as _;
use form_urlencoded::Serializer;
use leasehold::Policy;
use ureq::http::Method;

use super::arguments::{ApplyPolicy, StatusOfPolicy};
use crate::admin_token::AdminVariables;
use crate::api::{RecordJson, SettingsJson, StatusJson, SwapJson};
use crate::client::{NOT_OURS, RemoteRequest, RemoteServer, pretty, read, word};
use crate::policy_source::{choose, split};

/// Makes a policy active in a running server.
///
/// # Errors
///
/// A mistake in the arguments, a failure of the connection, or a refusal of the policy in the server's words.
pub(super) fn apply(apply: &ApplyPolicy, variables: &AdminVariables) -> anyhow::Result<String> {
    // Settings and names are checked here as they are for a server that starts.
    let policy = apply.policy.as_ref().map(|policy| choose(policy, &apply.settings)).transpose()?;
    if policy.as_ref().is_some_and(|policy| policy.component().is_empty()) {
        anyhow::bail!("refused at stage size: it is empty; expected a WebAssembly component");
    }
    let component = policy.as_ref().map(|policy| policy.component().to_vec()).unwrap_or_default();
    let signature = policy.as_ref().and_then(Policy::signature);
    let mut query = Serializer::new(String::new());
    for setting in &apply.settings {
        let (name, value) = split(setting).with_context(|| {
            format!("--setting {setting:?} is not a setting; expected NAME=VALUE, such as ttl=30s")
        })?;
        query.append_pair(&format!("setting.{name}"), value);
    }
    if apply.force {
        query.append_pair("force", "true");
    }
    let path = format!("/admin/policy?{}", query.finish());
    let request = RemoteRequest::new(Method::PUT, path).body(component);
    let request = request.header("leasehold-signature", signature.map(str::trim_end));
    let answer = apply.server.send(variables, request)?;
    let active = swapped(&answer)?;
    if apply.json { pretty(&answer) } else { Ok(active) }
}

/// Goes back to the policy before.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn rollback(server: &RemoteServer, variables: &AdminVariables) -> anyhow::Result<String> {
    swapped(&server.send(variables, RemoteRequest::new(Method::POST, "/admin/policy/rollback"))?)
}

/// Reports which policy is active, and how it came to be.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn status(status: &StatusOfPolicy, variables: &AdminVariables) -> anyhow::Result<String> {
    let answer = status.server.send(variables, RemoteRequest::new(Method::GET, "/admin/policy"))?;
    if status.json {
        return pretty(&answer);
    }
    let status: StatusJson = read(&answer)?;
    anyhow::ensure!(!status.digest.is_empty(), NOT_OURS);
    let mut text = format!(
        "active: {}\nsince: {}\nfaults: {}",
        named(&status.name, &status.version, &status.settings, status.generation, &status.digest),
        word(&status.since),
        status.faults
    );
    if status.execution == "interpreter" {
        text += "\nrun by the interpreter";
    }
    if let Some(left) = status.probation_s {
        write!(text, "\non probation for another {left:.0} s")?;
    }
    if let Some(trip) = &status.breaker.tripped {
        write!(text, "\nreplaced: {} at {}: {}", word(&trip.policy), word(&trip.at), word(&trip.reason))?;
    }
    if let Some(last) = &status.last_good {
        let policy = last.policy.as_deref().unwrap_or_default();
        write!(text, "\nto go back to: {}{}", word(policy), settings(&last.settings))?;
    }
    for record in &status.recent {
        text += &recorded(record);
    }
    Ok(text)
}

/// Formats a change or a refusal of the history.
fn recorded(record: &RecordJson) -> String {
    let by = Some(word(&record.by)).filter(|by| !by.is_empty()).map(|by| format!(" by {by}"));
    let outcome = match &record.refused {
        None => format!("generation {}", record.generation.unwrap_or_default()),
        Some(refused) => {
            format!("refused at stage {}: {}", word(&refused.stage), word(&refused.message))
        }
    };
    let policy = record.policy.as_deref().map_or_else(|| short(&record.digest), word);
    let reason = record.reason.as_deref().map(|reason| format!("; {}", word(reason)));
    format!(
        "\n{}  {}{}: {policy}{}: {outcome}{}",
        word(&record.at),
        word(&record.cause),
        by.unwrap_or_default(),
        settings(&record.settings),
        reason.unwrap_or_default()
    )
}

/// Formats the answer to a swap or a rollback, and warns where a restart would not come back with it.
fn swapped(answer: &str) -> anyhow::Result<String> {
    let swap: SwapJson = read(answer)?;
    anyhow::ensure!(!swap.digest.is_empty(), NOT_OURS);
    if swap.persisted == Some(false) {
        eprintln!(
            "warning: the server cannot keep this: a restart will come back with another policy; see its log"
        );
    }
    Ok(format!("active: {}", named(&swap.name, &swap.version, &swap.settings, swap.generation, &swap.digest)))
}

/// Formats a policy as `ttl 0.1.0 (ttl=5m, jitter=80%) as generation 2, sha256 0123456789ab`.
fn named(name: &str, version: &str, given: &SettingsJson, generation: u64, digest: &str) -> String {
    format!(
        "{} {}{} as generation {generation}, sha256 {}",
        word(name),
        word(version),
        settings(given),
        short(digest)
    )
}

fn settings(settings: &SettingsJson) -> String {
    let pairs: Vec<String> =
        settings.iter().map(|(name, value)| format!("{}={}", word(name), word(value))).collect();
    if pairs.is_empty() { String::new() } else { format!(" ({})", pairs.join(", ")) }
}

fn short(digest: &str) -> &str {
    word(digest).get(..12).unwrap_or_default()
}
