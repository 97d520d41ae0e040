//! `leasehold workspace token`: the tokens of one workspace. A token is printed when it is made and never
//! again: no server could show it.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Map, Value};
use ureq::http::Method;

use super::arguments::{RemoteWorkspace, WorkspaceTokenCommand};
use super::paths::{path, segment};
use crate::admin_token::AdminVariables;
use crate::client::{NOT_OURS, RemoteRequest, RemoteServer, pretty, read, word};

/// `GET /workspaces/ID/tokens`, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListedTokens {
    tokens: Vec<ListedToken>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListedToken {
    id: String,
    prefix: String,
    created_at: String,
    last_used_at: Option<String>,
    expires_at: Option<String>,
}

/// The answer to a request that has made a token, be it a workspace's first or another one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenAnswer {
    pub(super) id: String,
    auth_token: String,
}

impl TokenAnswer {
    pub(super) fn token(&self) -> anyhow::Result<&str> {
        ensure!(!self.auth_token.is_empty(), NOT_OURS);
        Ok(word(&self.auth_token))
    }
}

pub(super) fn run(command: &WorkspaceTokenCommand, variables: &AdminVariables) -> anyhow::Result<String> {
    match command {
        WorkspaceTokenCommand::List(list) => {
            let request = RemoteRequest::new(Method::GET, path(&list.id, "/tokens")?);
            let answer = list.server.send(variables, request)?;
            if list.json {
                return pretty(&answer);
            }
            let listed: ListedTokens = read(&answer)?;
            Ok(listed.tokens.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        WorkspaceTokenCommand::New(new) => {
            let body = option("expires_in", new.expires_in.as_deref());
            made(&new.server, path(&new.id, "/tokens")?, body, new.json, variables)
        }
        WorkspaceTokenCommand::Rotate(rotate) => {
            let body = option("overlap", rotate.overlap.as_deref());
            made(&rotate.server, path(&rotate.id, "/tokens/rotate")?, body, rotate.json, variables)
        }
        WorkspaceTokenCommand::Revoke { workspace: RemoteWorkspace { id, server }, token } => {
            let path = path(id, &format!("/tokens/{}", segment(token)?))?;
            server.send(variables, RemoteRequest::new(Method::DELETE, path))?;
            Ok(format!("the token {token:?} of the workspace {id:?} was revoked"))
        }
    }
}

fn line(token: &ListedToken) -> String {
    format!(
        "{}  {}  made {}  used {}  over {}",
        word(&token.id),
        word(&token.prefix),
        word(&token.created_at),
        token.last_used_at.as_deref().map_or("never", word),
        token.expires_at.as_deref().map_or("never", word)
    )
}

/// Returns a body with this field, if it is given.
fn option(name: &str, value: Option<&str>) -> String {
    let fields: Map<String, Value> = value.map(|value| (name.to_owned(), value.into())).into_iter().collect();
    Value::Object(fields).to_string()
}

/// Has a token made, and returns its id, and the token below it.
fn made(
    server: &RemoteServer,
    path: String,
    body: String,
    as_json: bool,
    variables: &AdminVariables,
) -> anyhow::Result<String> {
    let answer = server.send(variables, RemoteRequest::new(Method::POST, path).body(body))?;
    if as_json {
        return pretty(&answer);
    }
    let made: TokenAnswer = read(&answer)?;
    Ok(format!("{}\n{}", word(&made.id), made.token()?))
}
