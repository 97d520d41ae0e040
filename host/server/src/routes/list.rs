//! `GET /workspaces` and `GET /workspaces/{id}`: which workspaces there are, page after page, and one of
//! them.
//!
//! Both ask the database and no cache. Neither shows a secret or a token.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use leasehold::WorkspaceId;

use crate::api::{WorkspaceJson, WorkspacesJson};
use crate::app::App;
use crate::respond::{self, ApiError};
use crate::routes::input::Workspace;
use crate::store::{Listed, WorkspaceRow};

const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Query of a list.
#[derive(Debug, PartialEq, Eq)]
struct PageQuery {
    limit: usize,
    after: Option<WorkspaceId>,
    listed: Listed,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let PageQuery { limit, after, listed } = PageQuery::read(query.as_deref())?;
    let page = app.store.list(after.as_ref(), limit, listed).await?;
    let workspaces = page.workspaces.into_iter().map(shown).collect();
    Ok(respond::json(StatusCode::OK, &WorkspacesJson { workspaces, next: page.next }))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Workspace(workspace): Workspace,
) -> Result<Response, ApiError> {
    app.owns_rows()?;
    let row = app.store.look(&workspace).await?.ok_or_else(ApiError::unknown_workspace)?;
    Ok(respond::json(StatusCode::OK, &shown(row)))
}

fn shown(row: WorkspaceRow) -> WorkspaceJson {
    WorkspaceJson { id: row.id, created_at: row.created_at, has_secret: row.has_secret }
}

impl PageQuery {
    /// Reads `limit=N`, `after=ID` and `without_secret`, each once at most, and refuses all others: a
    /// misspelt one must not list something else.
    fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let (mut limit, mut after, mut listed) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_first = match &*name {
                "limit" => limit.replace(read_limit(&value)?).is_none(),
                "after" => after.replace(WorkspaceId::new(&*value)?).is_none(),
                "without_secret" => listed.replace(read_listed(&value)?).is_none(),
                _ => {
                    let message = format!(
                        "the parameter {name:?} is not known; expected limit=N, after=ID or without_secret"
                    );
                    return Err(ApiError::bad_request("unknown_parameter", message));
                }
            };
            if !is_first {
                return Err(ApiError::bad_request("repeated_parameter", format!("{name:?} is given twice")));
            }
        }
        Ok(Self { limit: limit.unwrap_or(LIMIT), after, listed: listed.unwrap_or(Listed::All) })
    }
}

fn read_limit(value: &str) -> Result<usize, ApiError> {
    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("limit is {value:?}; expected a number from 1 to {MAX_LIMIT}");
        ApiError::bad_request("invalid_parameter", message)
    })
}

fn read_listed(value: &str) -> Result<Listed, ApiError> {
    match value {
        "" | "true" => Ok(Listed::WithoutSecret),
        "false" => Ok(Listed::All),
        _ => {
            let message = format!("without_secret is {value:?}; expected true, false or nothing");
            Err(ApiError::bad_request("invalid_parameter", message))
        }
    }
}
