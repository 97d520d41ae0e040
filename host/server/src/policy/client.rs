//! `leasehold policy apply`, `rollback` and `status`: the operator's side of `/admin/policy`.
//!
//! It sends the operator's request to a running server and shows the answer. Only the server knows what a
//! good policy is.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use form_urlencoded::Serializer;
use leasehold::Policy;
use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};

use super::arguments::{ApplyPolicy, RemoteServer, StatusOfPolicy};
use crate::admin_token;
use crate::api::{ErrorBodyJson, ErrorJson, RecordJson, SettingsJson, StatusJson, SwapJson};
use crate::policy_source::{choose, split};

const NOT_OURS: &str = "the answer is not one of a Leasehold server; does --server name one?";

/// Timeout of a request. A swap compiles and rehearses; the server bounds both.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a policy active in a running server.
///
/// # Errors
///
/// A mistake in the arguments, a failure of the connection, or a refusal of the policy in the server's words.
pub(super) fn apply(apply: &ApplyPolicy, token: Option<String>) -> anyhow::Result<String> {
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
    let answer = send(&apply.server, token, &Method::PUT, &path, component, signature)?;
    let active = swapped(&answer)?;
    if apply.json { pretty(&answer) } else { Ok(active) }
}

/// Goes back to the policy before.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn rollback(server: &RemoteServer, token: Option<String>) -> anyhow::Result<String> {
    swapped(&send(server, token, &Method::POST, "/admin/policy/rollback", Vec::new(), None)?)
}

/// Reports which policy is active, and how it came to be.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn status(status: &StatusOfPolicy, token: Option<String>) -> anyhow::Result<String> {
    let answer = send(&status.server, token, &Method::GET, "/admin/policy", Vec::new(), None)?;
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

fn send(
    server: &RemoteServer,
    token: Option<String>,
    method: &Method,
    path: &str,
    body: Vec<u8>,
    signature: Option<&str>,
) -> anyhow::Result<String> {
    let url = server.server.trim_end_matches('/');
    anyhow::ensure!(
        url.starts_with("http://"),
        "--server {url:?} is not usable; expected http://HOST:PORT of a server on this machine or behind a \
         tunnel"
    );
    anyhow::ensure!(!url.contains('@'), "--server takes no user and no password; the admin token is enough");
    let token = admin_token::known(token, Path::new("."))?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(REQUEST_TIMEOUT));
    let agent: Agent = config.build().into();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{url}{path}"))
        .header("authorization", format!("Bearer {}", token.as_str()));
    if let Some(operator) = &server.operator {
        anyhow::ensure!(
            operator.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "--as {operator:?} is not usable; expected printable ASCII characters"
        );
        request = request.header("leasehold-operator", operator);
    }
    if let Some(signature) = signature {
        request = request.header("leasehold-signature", signature.trim_end());
    }
    let unusable = || format!("--server {url:?} is not usable; expected http://HOST:PORT");
    let sent = if *method == Method::GET {
        agent.run(request.body(()).with_context(unusable)?)
    } else {
        agent.run(request.body(body).with_context(unusable)?)
    };
    let mut answer = sent
        .with_context(|| format!("no answer from {url}; is a server running there? --server says where"))?;
    let status = answer.status();
    let text =
        answer.body_mut().read_to_string().with_context(|| format!("the answer from {url} broke off"))?;
    let is_json = serde_json::from_str::<Value>(&text);
    is_json.with_context(|| format!("{url} answered {status} without JSON; is it a Leasehold server?"))?;
    if status.is_success() {
        return Ok(text);
    }
    // Another server's error may have any form.
    let ErrorBodyJson { message, stage, .. } = read::<ErrorJson>(&text).unwrap_or_default().error;
    let message = if message.is_empty() { text } else { message };
    // As `word`, but for a text of several lines, which is still worth reading.
    let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match (status.as_u16(), stage) {
        (401, _) => anyhow::bail!(
            "{url} does not know this admin token; it comes from LEASEHOLD_ADMIN_TOKEN or from \
             leasehold.admin-token in the working directory"
        ),
        (_, Some(stage)) => {
            anyhow::bail!("refused at stage {}: {message}; the active policy serves on", word(&stage))
        }
        _ => anyhow::bail!("{url} answered {status}: {message}"),
    }
}

/// Reads an answer, of a server of any version: see `api.rs`.
fn read<'a, T: Deserialize<'a>>(answer: &'a str) -> anyhow::Result<T> {
    serde_json::from_str(answer).context(NOT_OURS)
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

fn word(text: &str) -> &str {
    // The text's author must not control this terminal.
    if text.chars().any(char::is_control) { "(a text with control characters)" } else { text }
}

fn short(digest: &str) -> &str {
    word(digest).get(..12).unwrap_or_default()
}

fn pretty(answer: &str) -> anyhow::Result<String> {
    Ok(format!("{:#}", read::<Value>(answer)?))
}
