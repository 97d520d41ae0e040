//! A stand-in for the statements: each is one of `database.rs`, in a task of its own or of the host.
//!
//! There is no batcher: a SELECT is a statement of its own. Deadlines are those of the task that asks for
//! one.

product! {
    obtained = "../../../host/cache/src/statements/obtained.rs",
}

mod sent_issue;

use shuttle::current::{get_label_for_task, me};
use shuttle::future::{AbortHandle, JoinHandle, spawn};

pub(crate) use obtained::{Obtained, Read};
pub(crate) use sent_issue::{IssueState, SentIssue};

use crate::database::Database;
use crate::lease::Generation;
use crate::model::Stamp;
use crate::sync::{Arc, Deadline};
use crate::{Clock, IssueMode, Secret, WorkspaceId};

pub(crate) struct Statements {
    pub(crate) database: Arc<Database>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Runtime,
}

/// The tasks of the host, to be waited for at the end. The lock is of std: no task is switched away from
/// under it.
#[derive(Clone, Default)]
pub(crate) struct Runtime(Arc<std::sync::Mutex<Vec<JoinHandle<()>>>>);

impl Statements {
    /// Returns the deadline of the task that asks: it never passes, if the task has none.
    pub(crate) fn deadline(&self) -> Deadline {
        get_label_for_task(me()).unwrap_or_default()
    }

    pub(crate) async fn select(&self, workspace: &WorkspaceId, _: Deadline) -> Read {
        // This is before the statement is sent: what it reads cannot be older.
        let at = self.clock.now();
        let version = self.database.select(workspace).await;
        Ok(Obtained { value: version.map(|version| secret(workspace, version, Generation::FIRST)), at })
    }

    pub(crate) fn select_for<F>(
        self: &Arc<Self>,
        workspace: WorkspaceId,
        deadline: Deadline,
        load: impl FnOnce(Read) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let statements = Arc::clone(self);
        self.runtime.spawn(async move { load(statements.select(&workspace, deadline).await).await });
    }

    pub(crate) fn send_issue(&self, workspace: &WorkspaceId, mode: IssueMode, _: Deadline) -> SentIssue {
        let clock = Arc::clone(&self.clock);
        self.database.send_issue(workspace, mode, move |workspace, version, generation| Obtained {
            value: secret(workspace, version, generation),
            at: clock.now(),
        })
    }

    pub(crate) fn runtime_has_ended(&self) -> bool {
        false
    }
}

impl Runtime {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let task = spawn(task);
        let handle = task.abort_handle();
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
        handle
    }

    /// Returns the handle of the task that was spawned last.
    pub(crate) fn newest(&self) -> AbortHandle {
        let tasks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tasks.last().expect("a task was spawned").abort_handle()
    }

    /// Waits until the tasks, and those that they spawned, have ended.
    pub(crate) async fn settle(&self) {
        while let Some(task) = self.pop() {
            // A task that was cancelled early has ended.
            let _ = task.await;
        }
    }

    fn pop(&self) -> Option<JoinHandle<()>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop()
    }
}

fn secret(workspace: &WorkspaceId, version: u64, generation: Generation) -> Secret {
    Stamp::new(workspace, version, generation).secret()
}
