//! A database of versions: each statement takes effect at one moment between being sent and being answered.
//!
//! A statement that stores runs in a task of its own, as in `statements/sent_issue.rs`: dropping the task
//! that waits for it stops nothing.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use shuttle::future::spawn;

use crate::sync::{Arc, point, watch};
use crate::{Error, WorkspaceId};

/// The fate of a statement that issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The statement is committed, and answered.
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
}

/// A statement that was sent. Dropping it stops nothing.
pub(crate) struct Sent {
    /// The answer to the client, and whether the database has finished.
    answer: watch::Receiver<Option<Result<u64, Error>>>,
    end: watch::Receiver<bool>,
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
            Row { stored: Some(1), deleted: false, minted: 1 };
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

    /// Sends the statement that stores a new version; where `heals`, only if none is stored.
    pub(crate) fn send_issue(self: &Arc<Self>, workspace: &WorkspaceId, heals: bool, fate: Fate) -> Sent {
        let (answer, answered) = watch::channel(None);
        let (end, ended) = watch::channel(false);
        let (database, workspace) = (Arc::clone(self), workspace.clone());
        // The receivers say when it has finished.
        drop(spawn(async move {
            pause().await;
            if fate == Fate::Lost {
                let _ = answer.send(Some(Err(Error::OutcomeUnknown("lost".into()))));
                pause().await;
            }
            let result = match fate {
                Fate::Refused => Err(Error::Unavailable("refused".into())),
                _ => database.commit(&workspace, heals),
            };
            pause().await;
            if fate != Fate::Lost {
                let _ = answer.send(Some(result));
            }
            let _ = end.send(true);
        }));
        Sent { answer: answered, end: ended }
    }

    fn commit(&self, workspace: &WorkspaceId, heals: bool) -> Result<u64, Error> {
        let mut rows = self.rows();
        let row = rows.get_mut(workspace.as_str()).filter(|row| !row.deleted);
        let row = row.ok_or(Error::UnknownWorkspace)?;
        match row.stored {
            Some(version) if heals => Ok(version),
            _ => {
                row.minted += 1;
                row.stored = Some(row.minted);
                Ok(row.minted)
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    pub(crate) async fn answer(&mut self) -> Result<u64, Error> {
        match self.answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(Error::OutcomeUnknown("no answer".into()))),
            Err(_) => Err(Error::OutcomeUnknown("the statement's task is gone".into())),
        }
    }

    /// Waits until the client knows that no more answers will arrive.
    pub(crate) async fn ended(&mut self) {
        let _ = self.answer.wait_for(Option::is_some).await;
    }

    /// Waits until the database has finished.
    pub(crate) async fn settled(&mut self) {
        let _ = self.end.wait_for(|ended| *ended).await;
    }
}

/// Pauses at a moment at which other tasks may go on, and at which a task that waits for this one may be
/// dropped. It is not a yield, from which the scheduler would conclude that this task has nothing to do.
pub(crate) async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
