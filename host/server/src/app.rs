//! The state that every request can reach: two caches, the table behind them, and the admin credentials.
//!
//! The two caches differ in who may change them. A swap of the secrets' policy never changes which callers
//! are let in: the tokens' cache keeps the policy of the command line for as long as the process lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use leasehold::{Policy, SecretCache, SwapError, SwapReport, WorkspaceId};

use crate::audit::AuditedChange;
use crate::auth::bearer;
use crate::author::Author;
use crate::credentials::{AdminCredentials, Scope};
use crate::respond::ApiError;
use crate::rotations::RotationKeys;
use crate::state::Journal;
use crate::store::{Layout, RowOwner, Store};
use crate::telemetry::{Failure, Telemetry};
use crate::tokens::{TokenVerdict, Tokens};

/// The state that the handlers share.
pub(crate) struct App {
    /// Cache over `platform_inbound_secret`; the operator changes its policy.
    pub(crate) secrets: SecretCache,
    /// Cache from a token's hash to its workspace; a bundled policy that only the command line chooses.
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) store: Store,
    pub(crate) layout: Layout,
    pub(crate) admin: AdminCredentials,
    pub(crate) journal: Journal,
    /// `true` once the server is to stop.
    pub(crate) is_draining: AtomicBool,
    pub(crate) rotations: RotationKeys,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// A change of the policy that was made.
pub(crate) struct Swapped {
    pub(crate) report: SwapReport,
    /// `true` if a restart will come back with it.
    pub(crate) persisted: bool,
}

impl App {
    /// Says from now on that no new client should come.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether the server is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Checks that `token` is one of the workspace's. An unknown workspace, an unknown token and another
    /// workspace's get the same answer, so that no caller learns which workspaces exist.
    pub(crate) async fn authenticate(&self, workspace: &WorkspaceId, token: &str) -> Result<(), ApiError> {
        match self.tokens.judge(workspace, token).await {
            Ok(TokenVerdict::Admitted) => Ok(()),
            Ok(TokenVerdict::Refused) => Err(ApiError::unauthorized()),
            Err(error) => {
                // The caller has proved nothing yet: it is not to see the database's error.
                let answer = ApiError::unavailable("the workspace's token cannot be read; retry later");
                Err(answer.because(Failure::of_cache(&error)))
            }
        }
    }

    /// Checks that there can be a workspace with this id.
    pub(crate) fn admits(&self, workspace: &WorkspaceId) -> Result<(), ApiError> {
        match self.layout.misfit(workspace) {
            None => Ok(()),
            Some(expected) => Err(ApiError::bad_request(
                "invalid_workspace",
                format!("the workspace id is not of the key column's type; expected {expected}"),
            )),
        }
    }

    /// Checks that workspaces are made and removed here.
    pub(crate) fn owns_rows(&self) -> Result<(), ApiError> {
        match self.layout.rows {
            RowOwner::Server => Ok(()),
            RowOwner::Other => Err(ApiError::workspaces_are_external(&self.layout.secrets.table)),
        }
    }

    /// Makes a policy active, and waits until that is persisted. All ways to change the policy end here or in
    /// [`rollback`](Self::rollback).
    pub(crate) async fn swap(&self, policy: Policy, by: &str) -> Result<Swapped, SwapError> {
        let swapped = self.secrets.on_behalf_of(by).swap(policy).await;
        self.kept(swapped).await
    }

    /// Does the same for the active policy with these settings over its own.
    pub(crate) async fn reconfigure(
        &self,
        settings: Vec<(String, String)>,
        by: &str,
    ) -> Result<Swapped, SwapError> {
        let swapped = self.secrets.on_behalf_of(by).reconfigure(settings).await;
        self.kept(swapped).await
    }

    /// Goes back to the policy before, and waits until that is persisted.
    pub(crate) async fn rollback(&self, by: &str) -> Result<Swapped, SwapError> {
        let rolled_back = self.secrets.on_behalf_of(by).rollback().await;
        if let Err(error) = &rolled_back {
            self.journal.note_refused(by, "rollback", error.stage.as_str(), &error.reason);
        }
        self.kept(rolled_back).await
    }

    async fn kept(&self, swapped: Result<SwapReport, SwapError>) -> Result<Swapped, SwapError> {
        let persisted = self.journal.flushed().await;
        swapped.map(|report| Swapped { report, persisted })
    }

    /// Notes a change in the record, and waits until its line is on the disk. Where that fails, the change
    /// stands and the log says so. All changes of workspaces by operators end here.
    pub(crate) async fn record(&self, change: AuditedChange<'_>) {
        self.journal.note_change(&change);
        self.journal.flushed().await;
    }
}

/// Lets a request through whose credential has this scope, and leaves its author with it. It lets no other
/// through.
pub(crate) async fn require(
    State((app, scope)): State<(Arc<App>, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let credentials = app.admin.current();
    let credential = bearer(request.headers()).and_then(|token| credentials.admit(token));
    let credential = credential.ok_or_else(ApiError::unauthorized)?;
    if !credential.scopes.contains(scope) {
        return Err(ApiError::forbidden(&credential.name, scope.as_str()));
    }
    let author = Author::of(&credential.name, &request)?;
    request.extensions_mut().insert(author);
    Ok(next.run(request).await)
}
