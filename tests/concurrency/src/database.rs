//! A database of versions: each statement takes effect at one moment between being sent and being answered.
//!
//! A statement that stores runs in a task of its own: dropping the task that waits for it stops nothing. One
//! thing is asserted here, that issues of a workspace take turns, because it cannot be seen anywhere else:
//! everything else that must hold is stated in `scenarios/`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shuttle::current::{get_label_for_task, me, set_label_for_task};
use shuttle::future::spawn;

use crate::lease::Generation;
use crate::statements::{Obtained, SentIssue};
use crate::sync::{Arc, pause, point, watch};
use crate::{DatabaseError, Secret, WorkspaceId};

/// The action of an issue when a secret is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssueMode {
    Rotate,
    Heal,
}

/// The fate of the statements that issue in a task, and in those that it spawns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The statement is committed, and answered.
    #[default]
    Committed,
    /// The statement changes nothing, and says so.
    Refused,
    /// The statement is committed, and answered when no task waits any more.
    Late,
    /// The connection is lost first, and then the statement is committed all the same.
    Lost,
}

/// A count of the versions of each workspace, and the version that is stored.
#[derive(Default)]
pub(crate) struct Database {
    rows: Mutex<HashMap<String, Row>>,
    selects: AtomicU64,
}

#[derive(Default)]
struct Row {
    stored: Option<u64>,
    deleted: bool,
    minted: u64,
    /// True from when an issue is sent until its client is answered.
    in_turn: bool,
}

/// States under which policy the issues of this task are sent.
pub(crate) fn issues_under(generation: Generation) {
    set_label_for_task(me(), generation);
}

impl Database {
    /// Returns what is stored now. It is not a statement: it is for the scenarios to look.
    pub(crate) fn stored(&self, workspace: &WorkspaceId) -> Option<u64> {
        self.rows().get(workspace.as_str()).and_then(|row| row.stored)
    }

    /// Returns the number of SELECTs that were sent.
    pub(crate) fn selects(&self) -> u64 {
        self.selects.load(Ordering::Relaxed)
    }

    /// Stores the first version, before anything begins.
    pub(crate) fn found(&self, workspace: &WorkspaceId) {
        *self.rows().entry(workspace.as_str().to_owned()).or_default() =
            Row { stored: Some(1), minted: 1, ..Row::default() };
    }

    /// Creates a row without a secret.
    pub(crate) fn found_empty(&self, workspace: &WorkspaceId) {
        *self.rows().entry(workspace.as_str().to_owned()).or_default() = Row::default();
    }

    pub(crate) async fn select(&self, workspace: &WorkspaceId) -> Option<u64> {
        self.selects.fetch_add(1, Ordering::Relaxed);
        pause().await;
        let read = self.stored(workspace);
        pause().await;
        read
    }

    /// Deletes the row. Nothing can be stored for it any more.
    pub(crate) fn delete(&self, workspace: &WorkspaceId) {
        point();
        if let Some(row) = self.rows().get_mut(workspace.as_str()) {
            row.stored = None;
            row.deleted = true;
        }
    }

    /// Stores a new version for another process, of whose issue the cache is not told.
    pub(crate) fn issue_elsewhere(&self, workspace: &WorkspaceId) {
        point();
        self.commit(workspace, IssueMode::Rotate).expect("there is a row");
    }

    /// Sends the statement that stores a new version; as a heal, only if none is stored. `obtain` makes the
    /// answer of a version, for the policy under which it was sent.
    pub(crate) fn send_issue(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        mode: IssueMode,
        obtain: impl FnOnce(&WorkspaceId, u64, Generation) -> Obtained<Secret> + Send + 'static,
    ) -> SentIssue {
        let fate = get_label_for_task(me()).unwrap_or_default();
        let generation = get_label_for_task(me()).unwrap_or(Generation::FIRST);
        let (answer, answered) = watch::channel(None);
        let (end, ended) = watch::channel(false);
        let (database, workspace) = (Arc::clone(self), workspace.clone());
        database.begin_turn(&workspace);
        // The receivers say when it has finished.
        drop(spawn(async move {
            pause().await;
            if fate == Fate::Lost {
                database.end_turn(&workspace);
                let _ = answer.send(Some(Err(DatabaseError::Lost("lost".into()))));
                pause().await;
            }
            let result = match fate {
                Fate::Refused => Err(DatabaseError::Unavailable("refused".into())),
                _ => database.commit(&workspace, mode),
            };
            pause().await;
            if fate != Fate::Lost {
                database.end_turn(&workspace);
                let issued = result.map(|version| obtain(&workspace, version, generation));
                let _ = answer.send(Some(issued));
            }
            let _ = end.send(true);
        }));
        SentIssue { fate, answer: answered, end: ended }
    }

    fn commit(&self, workspace: &WorkspaceId, mode: IssueMode) -> Result<u64, DatabaseError> {
        let mut rows = self.rows();
        let row = rows.get_mut(workspace.as_str()).filter(|row| !row.deleted);
        let row = row.ok_or(DatabaseError::UnknownWorkspace)?;
        match row.stored {
            Some(version) if mode == IssueMode::Heal => Ok(version),
            _ => {
                row.minted += 1;
                row.stored = Some(row.minted);
                Ok(row.minted)
            }
        }
    }

    fn begin_turn(&self, workspace: &WorkspaceId) {
        let has_turn = self.set_turn(workspace, true);
        assert!(!has_turn, "two issues have their turn at once");
    }

    fn end_turn(&self, workspace: &WorkspaceId) {
        self.set_turn(workspace, false);
    }

    fn set_turn(&self, workspace: &WorkspaceId, begins: bool) -> bool {
        let mut rows = self.rows();
        let row = rows.entry(workspace.as_str().to_owned()).or_default();
        std::mem::replace(&mut row.in_turn, begins)
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
