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
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};

use super::arguments::{ApplyPolicy, RemoteServer, StatusOfPolicy};
use crate::admin_token;
use crate::policy_source::{choose, split};

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
    Ok(if apply.json { pretty(&answer) } else { format!("active: {}", named(&answer)) })
}

/// Goes back to the policy before.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn rollback(server: &RemoteServer, token: Option<String>) -> anyhow::Result<String> {
    let answer = send(server, token, &Method::POST, "/admin/policy/rollback", Vec::new(), None)?;
    Ok(format!("active: {}", named(&answer)))
}

/// Reports which policy is active, and how it came to be.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn status(status: &StatusOfPolicy, token: Option<String>) -> anyhow::Result<String> {
    let answer = send(&status.server, token, &Method::GET, "/admin/policy", Vec::new(), None)?;
    if status.json {
        return Ok(pretty(&answer));
    }
    let mut text = format!(
        "active: {}\nsince: {}\nfaults: {}",
        named(&answer),
        word(at(&answer, "/since")),
        at(&answer, "/faults")
    );
    if at(&answer, "/execution") == "interpreter" {
        text += "\nrun by the interpreter";
    }
    if let Some(left) = at(&answer, "/probation_s").as_f64() {
        write!(text, "\non probation for another {left:.0} s")?;
    }
    if let Some(trip) = at(&answer, "/breaker/tripped").as_object() {
        let of = |name: &str| trip.get(name).map(word).unwrap_or_default();
        write!(text, "\nreplaced: {} at {}: {}", of("policy"), of("at"), of("reason"))?;
    }
    if at(&answer, "/last_good").is_object() {
        let last = at(&answer, "/last_good");
        write!(text, "\nto go back to: {}{}", word(at(last, "/policy")), settings(at(last, "/settings")))?;
    }
    for record in at(&answer, "/recent").as_array().into_iter().flatten() {
        let by = Some(word(at(record, "/by"))).filter(|by| !by.is_empty()).map(|by| format!(" by {by}"));
        let outcome = match at(record, "/refused") {
            Value::Null => format!("generation {}", at(record, "/generation")),
            refused => {
                format!("refused at stage {}: {}", word(at(refused, "/stage")), word(at(refused, "/message")))
            }
        };
        let policy = at(record, "/policy").as_str().unwrap_or_else(|| short(at(record, "/digest")));
        let (cause, by) = (word(at(record, "/cause")), by.unwrap_or_default());
        write!(
            text,
            "\n{}  {cause}{by}: {policy}{}: {outcome}",
            word(at(record, "/at")),
            settings(at(record, "/settings"))
        )?;
        if let Some(reason) = at(record, "/reason").as_str() {
            write!(text, "; {reason}")?;
        }
    }
    Ok(text)
}

fn send(
    server: &RemoteServer,
    token: Option<String>,
    method: &Method,
    path: &str,
    body: Vec<u8>,
    signature: Option<&str>,
) -> anyhow::Result<Value> {
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
    let value: Value = serde_json::from_str(&text)
        .with_context(|| format!("{url} answered {status} without JSON; is it a Leasehold server?"))?;
    if status.is_success() {
        if at(&value, "/persisted") == &Value::Bool(false) {
            eprintln!(
                "warning: the server cannot keep this: a restart will come back with another policy; see its \
                 log"
            );
        }
        return Ok(value);
    }
    let error = at(&value, "/error");
    let message = at(error, "/message").as_str().or_else(|| at(&value, "/message").as_str()).unwrap_or(&text);
    match (status.as_u16(), at(error, "/stage").as_str()) {
        (401, _) => anyhow::bail!(
            "{url} does not know this admin token; it comes from LEASEHOLD_ADMIN_TOKEN or from \
             leasehold.admin-token in the working directory"
        ),
        (_, Some(stage)) => anyhow::bail!("refused at stage {stage}: {message}; the active policy serves on"),
        _ => anyhow::bail!("{url} answered {status}: {message}"),
    }
}

/// Formats a policy as `ttl 0.1.0 (ttl=5m, jitter=80%) as generation 2, sha256 0123456789ab`.
fn named(policy: &Value) -> String {
    format!(
        "{} {}{} as generation {}, sha256 {}",
        word(at(policy, "/name")),
        word(at(policy, "/version")),
        settings(at(policy, "/settings")),
        at(policy, "/generation"),
        short(at(policy, "/digest"))
    )
}

fn settings(settings: &Value) -> String {
    let pairs = settings.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", word(value))).collect();
    if pairs.is_empty() { String::new() } else { format!(" ({})", pairs.join(", ")) }
}

/// Returns a part of an answer; null if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn word(value: &Value) -> &str {
    // The text's author must not control this terminal.
    value
        .as_str()
        .filter(|text| !text.chars().any(char::is_control))
        .unwrap_or_else(|| if value.is_string() { "(a text with control characters)" } else { "" })
}

fn short(digest: &Value) -> &str {
    word(digest).get(..12).unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
