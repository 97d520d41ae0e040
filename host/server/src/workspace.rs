//! `leasehold workspace`: the workspaces of a running server, from an operator's terminal.
//!
//! It makes the requests and shows the answers; only the server knows what a workspace is. A secret or a
//! token is printed only by a command that is for that.

mod arguments;
mod paths;
mod tokens;

use std::time::Duration;

use anyhow::Context as _;
use form_urlencoded::Serializer;
use serde_json::{Value, json};
use ureq::http::Method;

pub use self::arguments::{
    CreateWorkspace, ListWorkspaces, NewWorkspaceToken, RemoteWorkspace, RotateSecret, RotateWorkspaceToken,
    ShowWorkspace, WorkspaceCommand, WorkspaceTokenCommand,
};
use self::paths::{path, segment};
use crate::admin_token::AdminVariables;
use crate::api::{EntryJson, WorkspaceJson, WorkspacesJson};
use crate::client::{NOT_OURS, RemoteAnswer, RemoteRequest, pretty, read, word};
use crate::print::print;

impl WorkspaceCommand {
    /// Runs the subcommand. `variables` are those of the environment.
    ///
    /// # Errors
    ///
    /// A mistake in the arguments, a failure of the connection, or a refusal in the server's words.
    pub fn run(&self, variables: &AdminVariables) -> anyhow::Result<()> {
        let said = match self {
            Self::List(list) => return print_list(list, variables),
            Self::Show(show) => shown(show, variables)?,
            Self::Create(create) => created(create, variables)?,
            Self::Delete(RemoteWorkspace { id, server }) => {
                server.send(variables, RemoteRequest::new(Method::DELETE, path(id, "")?))?;
                format!("the workspace {id:?} was deleted; its heartbeats are refused from here on")
            }
            Self::Rotate(rotate) => rotated(rotate, variables)?,
            Self::Forget(RemoteWorkspace { id, server }) => {
                let path = format!("/admin/cache/forget/{}", segment(id)?);
                server.send(variables, RemoteRequest::new(Method::POST, path))?;
                format!(
                    "what was cached of the workspace {id:?} was dropped; its next read asks the database"
                )
            }
            Self::Token { command } => tokens::run(command, variables)?,
        };
        print(&format!("{said}\n"))
    }
}

/// Prints one page, or all.
fn print_list(list: &ListWorkspaces, variables: &AdminVariables) -> anyhow::Result<()> {
    let mut after = list.after.clone();
    loop {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", &list.limit.to_string());
        if let Some(after) = &after {
            query.append_pair("after", after);
        }
        if list.without_secret {
            query.append_pair("without_secret", "true");
        }
        let request = RemoteRequest::new(Method::GET, format!("/workspaces?{}", query.finish()));
        let answer = list.server.send(variables, request)?;
        let page: WorkspacesJson = read(&answer)?;
        if list.json {
            print(&format!("{}\n", pretty(&answer)?))?;
        } else {
            print(&page.workspaces.iter().map(line).collect::<String>())?;
        }
        match page.next {
            Some(next) if list.all => after = Some(next),
            Some(next) => {
                eprintln!("there are more: add --after {:?} for the next page, or --all", word(&next));
                return Ok(());
            }
            None => return Ok(()),
        }
    }
}

fn line(workspace: &WorkspaceJson) -> String {
    let made = workspace.created_at.as_deref().map_or("-", word);
    let secret = if workspace.has_secret { "secret" } else { "none" };
    format!("{made:<32}  {secret:<6}  {}\n", word(&workspace.id))
}

/// Shows a workspace, and what is cached of it.
fn shown(show: &ShowWorkspace, variables: &AdminVariables) -> anyhow::Result<String> {
    let answer = show.server.send(variables, RemoteRequest::new(Method::GET, path(&show.id, "")?))?;
    if show.json {
        return pretty(&answer);
    }
    let workspace: WorkspaceJson = read(&answer)?;
    let request = RemoteRequest::new(Method::GET, format!("/admin/cache/{}", segment(&show.id)?));
    let cached = match show.server.ask(variables, request)? {
        RemoteAnswer::Done(entry) => cached(&read(&entry)?),
        RemoteAnswer::Refused(_, error) if error.code == "not_cached" => "nothing".to_owned(),
        RemoteAnswer::Refused(status, _) => format!("not known: the server answered {status}"),
    };
    Ok(format!(
        "id: {}\ncreated: {}\nsecret: {}\ncached: {cached}",
        word(&workspace.id),
        workspace.created_at.as_deref().map_or("not known", word),
        if workspace.has_secret { "yes" } else { "none yet; its next heartbeat is given one" }
    ))
}

fn cached(entry: &EntryJson) -> String {
    let policy = entry.granted_by.as_ref().map(|by| format!(" ({})", word(&by.policy)));
    format!(
        "{}, obtained {} ago, fresh for {}, kept for {}, by generation {}{}",
        word(&entry.state),
        span(entry.age_s),
        span(entry.fresh_for_s),
        span(entry.keep_for_s),
        entry.generation,
        policy.unwrap_or_default()
    )
}

fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
    humantime::format_duration(Duration::from_secs(whole.as_secs())).to_string()
}

fn created(create: &CreateWorkspace, variables: &AdminVariables) -> anyhow::Result<String> {
    let body = match &create.id {
        Some(id) => json!({ "id": id }),
        None => json!({}),
    };
    let request = RemoteRequest::new(Method::POST, "/workspaces").body(body.to_string());
    let answer = create.server.send(variables, request)?;
    if create.json {
        return pretty(&answer);
    }
    let made: tokens::TokenAnswer = read(&answer)?;
    Ok(format!("{}\n{}", word(&made.id), made.token()?))
}

fn rotated(rotate: &RotateSecret, variables: &AdminVariables) -> anyhow::Result<String> {
    let request = RemoteRequest::new(Method::POST, path(&rotate.id, "/secret")?);
    let request = request.header("idempotency-key", rotate.key.as_deref());
    let answer = rotate.server.send(variables, request)?;
    if rotate.json {
        return pretty(&answer);
    }
    if rotate.print {
        let answer: Value = read(&answer)?;
        let secret = answer.get("platform_inbound_secret").and_then(Value::as_str).context(NOT_OURS)?;
        return Ok(word(secret).to_owned());
    }
    Ok(format!("the secret of {:?} was rotated; its next heartbeat delivers the new one", rotate.id))
}
