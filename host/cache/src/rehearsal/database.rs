//! The database of a rehearsal: rows in memory, and faults on demand.
//!
//! It answers at once, whatever the answer: even a timeout is returned without a wait, so that no rehearsal
//! takes longer than its calls. It notes in which order statements came, and what the cache answered while an
//! issue was in flight.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{Answer, Database, DatabaseError, IssueMode, Secret, WorkspaceId};

/// Callback that returns the cache's answer for a workspace at this moment.
pub(super) type Peek = Box<dyn Fn(&WorkspaceId) -> Option<Secret> + Send + Sync>;

#[derive(Default)]
pub(super) struct RehearsalDatabase {
    state: Mutex<RehearsalRows>,
    observer: OnceLock<Peek>,
}

#[derive(Default)]
struct RehearsalRows {
    /// RehearsalRows by workspace; `None` is NULL.
    rows: HashMap<WorkspaceId, Option<Secret>>,
    fault: Option<InjectedFault>,
    journal: Vec<Statement>,
    selects: u64,
    issues: u64,
    made: u64,
}

/// Fault that every statement meets.
#[derive(Clone)]
pub(super) enum InjectedFault {
    /// The statement is refused, and changes nothing.
    Refuses(DatabaseError),
    /// The statement is carried out, and its answer is late.
    AnswersLate,
}

/// Returns the fault of a database that is down.
pub(super) fn down() -> InjectedFault {
    InjectedFault::Refuses(DatabaseError::Unavailable("rehearsed".into()))
}

/// A statement that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Select,
    Issue {
        /// `true` if the cache answered with the secret before it was committed.
        answered_early: bool,
    },
}

impl RehearsalDatabase {
    pub(super) fn observe(&self, observer: Peek) {
        // This happens once.
        let _ = self.observer.set(observer);
    }

    /// Stores another secret, as another process would.
    pub(super) fn store(&self, workspace: &WorkspaceId) -> Secret {
        let mut state = self.state();
        state.made += 1;
        let secret = Secret::new(&format!("rehearsed-{:08}", state.made));
        state.rows.insert(workspace.clone(), Some(secret.clone()));
        secret
    }

    /// Makes a row without a secret.
    pub(super) fn store_null(&self, workspace: &WorkspaceId) {
        self.state().rows.insert(workspace.clone(), None);
    }

    pub(super) fn delete(&self, workspace: &WorkspaceId) {
        self.state().rows.remove(workspace);
    }

    pub(super) fn stored(&self, workspace: &WorkspaceId) -> Option<Secret> {
        self.state().rows.get(workspace).cloned().flatten()
    }

    /// Sets the fault that every statement meets from now on.
    pub(super) fn fault(&self, fault: Option<InjectedFault>) {
        self.state().fault = fault;
    }

    /// Returns the statements since the last call of this function.
    pub(super) fn take_journal(&self) -> Vec<Statement> {
        std::mem::take(&mut self.state().journal)
    }

    pub(super) fn selects(&self) -> u64 {
        self.state().selects
    }

    fn state(&self) -> MutexGuard<'_, RehearsalRows> {
        // Each change is whole: a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn select_now(&self, workspace: &WorkspaceId) -> Result<Option<Secret>, DatabaseError> {
        let mut state = self.state();
        state.selects += 1;
        state.journal.push(Statement::Select);
        state.refusal()?;
        match state.fault {
            Some(_) => Err(DatabaseError::Timeout),
            None => Ok(state.rows.get(workspace).cloned().flatten()),
        }
    }

    fn issue_now(
        &self,
        workspace: &WorkspaceId,
        mode: IssueMode,
        minted: Secret,
    ) -> Result<Secret, DatabaseError> {
        // Before the lock: the observer is the cache's.
        let answered = self.observer.get().and_then(|observer| observer(workspace));
        let answered_early = answered.is_some_and(|answered| answered.verify(minted.expose()));
        let mut state = self.state();
        state.issues += 1;
        state.journal.push(Statement::Issue { answered_early });
        state.refusal()?;
        let row = state.rows.get_mut(workspace).ok_or(DatabaseError::UnknownWorkspace)?;
        let issued = row.clone().filter(|_| mode == IssueMode::Heal).unwrap_or(minted);
        *row = Some(issued.clone());
        match state.fault {
            Some(_) => Err(DatabaseError::Timeout),
            None => Ok(issued),
        }
    }
}

impl RehearsalRows {
    fn refusal(&self) -> Result<(), DatabaseError> {
        match &self.fault {
            Some(InjectedFault::Refuses(error)) => Err(error.clone()),
            Some(InjectedFault::AnswersLate) | None => Ok(()),
        }
    }
}

impl Database for RehearsalDatabase {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async move { self.select_now(workspace) })
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async move { self.issue_now(workspace, mode, minted) })
    }

    fn statements(&self) -> u64 {
        let state = self.state();
        state.selects + state.issues
    }
}
