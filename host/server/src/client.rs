//! The operator's side of a server's HTTP: one request, and the answer, or the reason why it was refused.
//!
//! The token goes into one header and nowhere else. Whatever a server says is text of somebody else's:
//! nothing of it controls the terminal, and an error that is not understood is shown as it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::admin_token::{self, AdminVariables};
use crate::api::{ErrorBodyJson, ErrorJson};
use crate::policy_source::read_file;

pub(crate) const NOT_OURS: &str = "the answer is not one of a Leasehold server; does --server name one?";

/// Timeout of a request. A swap compiles and rehearses; the server bounds both.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of a file of certificates, a bound on a wrong one.
const MAX_CA_BYTES: usize = 4 * 1024 * 1024;

/// Which server to talk to.
#[derive(Clone, Debug, Args)]
pub struct RemoteServer {
    /// The server; its admin token comes from LEASEHOLD_ADMIN_TOKEN, from the file that
    /// LEASEHOLD_ADMIN_TOKEN_FILE names, or from leasehold.admin-token in the working directory
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,

    /// Trust the certificates in this PEM file, in place of the public ones, where the server speaks TLS
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Who is doing this, for the record of changes
    #[arg(long = "as", value_name = "NAME")]
    pub operator: Option<String>,
}

/// A request to a server.
pub(crate) struct RemoteRequest<'a> {
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'a str)>,
    body: Vec<u8>,
}

/// An answer of a server.
pub(crate) enum RemoteAnswer {
    /// The text of the answer, which is JSON or empty.
    Done(String),
    /// The status, and the error in the server's words.
    Refused(StatusCode, ErrorBodyJson),
}

impl<'a> RemoteRequest<'a> {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: Option<&'a str>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl RemoteServer {
    /// Sends a request, and returns the text of its answer, or the refusal as an error.
    pub(crate) fn send(
        &self,
        variables: &AdminVariables,
        request: RemoteRequest<'_>,
    ) -> anyhow::Result<String> {
        let (status, ErrorBodyJson { message, stage, .. }) = match self.ask(variables, request)? {
            RemoteAnswer::Done(text) => return Ok(text),
            RemoteAnswer::Refused(status, error) => (status, error),
        };
        // As `word`, but for a text of several lines, which is still worth reading.
        let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let url = self.url();
        match (status.as_u16(), stage) {
            (401, _) => anyhow::bail!(
                "{url} does not know this admin token; it comes from LEASEHOLD_ADMIN_TOKEN, from the file \
                 that LEASEHOLD_ADMIN_TOKEN_FILE names, or from leasehold.admin-token in the working \
                 directory"
            ),
            (_, Some(stage)) => {
                anyhow::bail!("refused at stage {}: {message}; the active policy serves on", word(&stage))
            }
            _ => anyhow::bail!("{url} answered {status}: {message}"),
        }
    }

    /// Sends a request, and returns what the server answers.
    pub(crate) fn ask(
        &self,
        variables: &AdminVariables,
        request: RemoteRequest<'_>,
    ) -> anyhow::Result<RemoteAnswer> {
        let url = self.url();
        let mut answer = self.exchange(variables, request)?;
        let status = answer.status();
        let text =
            answer.body_mut().read_to_string().with_context(|| format!("the answer from {url} broke off"))?;
        if status == StatusCode::NO_CONTENT {
            return Ok(RemoteAnswer::Done(text));
        }
        let is_json = serde_json::from_str::<Value>(&text);
        is_json
            .with_context(|| format!("{url} answered {status} without JSON; is it a Leasehold server?"))?;
        if status.is_success() {
            return Ok(RemoteAnswer::Done(text));
        }
        // Another server's error may have any form.
        let mut error = read::<ErrorJson>(&text).unwrap_or_default().error;
        if error.message.is_empty() {
            error.message = text;
        }
        Ok(RemoteAnswer::Refused(status, error))
    }

    fn exchange(
        &self,
        variables: &AdminVariables,
        request: RemoteRequest<'_>,
    ) -> anyhow::Result<Response<ureq::Body>> {
        let url = self.url();
        anyhow::ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "--server {url:?} is not usable; expected https://HOST:PORT, or http://HOST:PORT of a server on \
             this machine or behind a tunnel"
        );
        anyhow::ensure!(
            !url.contains('@'),
            "--server takes no user and no password; the admin token is enough"
        );
        let token = admin_token::known(variables.clone(), Path::new("."))?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .tls_config(self.tls()?)
            .timeout_global(Some(REQUEST_TIMEOUT));
        let agent: Agent = config.build().into();
        let RemoteRequest { method, path, headers, body } = request;
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{url}{path}"))
            .header("authorization", format!("Bearer {}", token.as_str()));
        if let Some(operator) = &self.operator {
            anyhow::ensure!(
                operator.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "--as {operator:?} is not usable; expected printable ASCII characters"
            );
            request = request.header("leasehold-operator", operator);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let unusable = || format!("--server {url:?} is not usable; expected http:// or https://HOST:PORT");
        let sent = if matches!(method, Method::GET | Method::DELETE) {
            agent.run(request.body(()).with_context(unusable)?)
        } else {
            agent.run(request.body(body).with_context(unusable)?)
        };
        sent.with_context(|| format!("no answer from {url}; is a server running there? --server says where"))
    }

    /// Returns which certificates are trusted.
    fn tls(&self) -> anyhow::Result<TlsConfig> {
        let Some(file) = &self.ca else { return Ok(TlsConfig::default()) };
        let shown = file.display();
        let pem = read_file(file, MAX_CA_BYTES)
            .with_context(|| format!("cannot read --ca {shown}; expected a PEM file with certificates"))?;
        let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
        let items = items.with_context(|| format!("--ca {shown} is no PEM file"))?;
        let certificates: Vec<Certificate<'static>> = items
            .into_iter()
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        anyhow::ensure!(
            !certificates.is_empty(),
            "--ca {shown} has no certificate; expected PEM with BEGIN CERTIFICATE"
        );
        Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build())
    }

    fn url(&self) -> &str {
        self.server.trim_end_matches('/')
    }
}

/// Reads an answer, of a server of any version: see `api.rs`.
pub(crate) fn read<'a, T: Deserialize<'a>>(answer: &'a str) -> anyhow::Result<T> {
    serde_json::from_str(answer).context(NOT_OURS)
}

/// Returns a text that cannot control the terminal, whose author is a server.
pub(crate) fn word(text: &str) -> &str {
    if text.chars().any(char::is_control) { "(a text with control characters)" } else { text }
}

/// Returns an answer as it is, with its lines set apart.
pub(crate) fn pretty(answer: &str) -> anyhow::Result<String> {
    Ok(format!("{:#}", read::<Value>(answer)?))
}
