//! A client of the server: plain HTTP over a connection of its own for each request.
//!
//! It keeps no connection, because the server closes idle ones and a request that meets such a close would
//! fail for no reason of the test's. An answer of any status is an answer; an error is a connection that
//! broke.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request};

/// Time limit: longer than any answer takes, the server's own bounds of 10 s included.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Returns the body of a request that has none.
pub const fn no_body() -> Vec<u8> {
    Vec::new()
}

/// A client that knows the admin token.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    admin_token: String,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr, admin_token: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_global(Some(MAX_WAIT));
        Self { agent: config.build().into(), address, admin_token: admin_token.to_owned() }
    }

    /// Returns the address at which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request.
    pub fn send(&self, method: &str, path: &str, token: Option<&str>, body: Vec<u8>) -> Result<Answer> {
        self.send_with(&[], method, path, token, body)
    }

    /// Sends one request with these headers.
    pub fn send_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let takes_body = matches!(request.method_ref(), Some(&(Method::POST | Method::PUT | Method::PATCH)));
        let sent =
            if takes_body { self.agent.run(request.body(body)?) } else { self.agent.run(request.body(())?) };
        let mut answer = sent.with_context(|| format!("{method} {path}"))?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer
                .body_mut()
                .read_to_string()
                .with_context(|| format!("the answer to {method} {path}"))?,
        })
    }

    /// Sends one request as the operator.
    pub fn admin(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Answer> {
        self.send(method, path, Some(&self.admin_token), body)
    }

    /// Sends one request that needs nothing but its path.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, None, no_body())
    }

    /// Creates a workspace, and returns its token.
    pub fn create(&self, id: &str) -> Result<String> {
        let answer = self.admin("POST", "/workspaces", json!({ "id": id }).to_string().into())?;
        answer.text_of(201, "auth_token")
    }

    /// Sends a heartbeat.
    pub fn heartbeat(&self, id: &str, token: &str) -> Result<Answer> {
        let body = json!({ "workspace_id": id, "version": "1.2.3" });
        self.send("POST", "/registry/heartbeat", Some(token), body.to_string().into())
    }

    /// Sends a heartbeat that has to bring a secret, and returns that.
    pub fn delivered(&self, id: &str, token: &str) -> Result<String> {
        self.heartbeat(id, token)?.text_of(200, "platform_inbound_secret")
    }

    /// Reads the secret as the operator, and returns it with the status that the cache reported.
    pub fn secret(&self, id: &str) -> Result<(String, String)> {
        let answer = self.admin("GET", &format!("/workspaces/{id}/secret"), no_body())?;
        Ok((answer.text_of(200, "platform_inbound_secret")?, answer.text_of(200, "cache")?))
    }

    /// Rotates the secret, and returns the new one.
    pub fn rotate(&self, id: &str) -> Result<String> {
        let answer = self.admin("POST", &format!("/workspaces/{id}/secret"), no_body())?;
        answer.text_of(200, "platform_inbound_secret")
    }

    /// Returns one of the numbers in `/admin/stats`.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.admin("GET", "/admin/stats", no_body())?.json(200)?;
        stats[name].as_u64().with_context(|| format!("no number {name} in {stats}"))
    }

    /// Returns the generation of the active policy.
    pub fn generation(&self) -> Result<u64> {
        let policy = self.admin("GET", "/admin/policy", no_body())?.json(200)?;
        policy["generation"].as_u64().with_context(|| format!("no generation in {policy}"))
    }
}

impl Answer {
    /// Returns the body as JSON, of an answer with this status.
    pub fn json(&self, status: u16) -> Result<Value> {
        anyhow::ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text);
        let kind = self.header("content-type");
        anyhow::ensure!(kind == Some("application/json"), "{kind:?} {}", self.text);
        serde_json::from_str(&self.text).with_context(|| self.text.clone())
    }

    /// Returns a field that is text, of an answer with this status.
    pub fn text_of(&self, status: u16, field: &str) -> Result<String> {
        let json = self.json(status)?;
        Ok(json[field].as_str().with_context(|| format!("no text {field} in {json}"))?.to_owned())
    }

    /// Returns the fields of the error, of an answer that has this status and code and the shape that every
    /// error has.
    pub fn refusal(&self, status: u16, code: &str) -> Result<Value> {
        let json = self.json(status)?;
        let fields = |value: &Value| -> Vec<String> {
            value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
        };
        let error = &json["error"];
        let shape = fields(error);
        let known = shape == ["code", "message"] || shape == ["code", "message", "stage"];
        anyhow::ensure!(fields(&json) == ["error"] && known, "not the shape of an error: {json}");
        anyhow::ensure!(error["code"] == code, "expected {code}: {json}");
        let message = error["message"].as_str();
        anyhow::ensure!(message.is_some_and(|message| message.len() > 10), "it says nothing: {json}");
        Ok(error.clone())
    }

    /// Returns the one header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
