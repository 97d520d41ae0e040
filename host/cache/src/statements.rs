//! The database as a load uses it: statements in tasks of the host's own, answers under a deadline.
//!
//! A caller that goes away ends no statement. An issue runs to its end whatever becomes of the policy, and
//! past the deadline: it may be committed. A SELECT is given up at the deadline, or when the policy goes on
//! without it, so that the SELECTs in flight stay within the batcher's bound. This file knows no policy and
//! no entry.

mod batcher;
mod contained;
mod obtained;
mod sent_issue;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant as Deadline;

use self::batcher::Batcher;

use self::sent_issue::IssueFailure;
use crate::stats::{Counters, count};
use crate::{Clock, Database, DatabaseError, IssueMode, Secret, WorkspaceId};

pub(crate) use self::contained::{Panicked, contained};
pub(crate) use self::obtained::{Obtained, Read};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use self::sent_issue::{ISSUE_LIMIT, LOST_LIMIT};
pub(crate) use self::sent_issue::{IssueState, SentIssue};

/// Share of its time that an issue may wait for a connection. After that it is never sent.
const SHARE_BEFORE_SENDING: f32 = 0.8;

/// A database and a clock, with what it takes to run statements.
pub(crate) struct Statements {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
    pub(crate) counters: Arc<Counters>,
    /// Maximum time that a load may wait for the database in all.
    pub(crate) timeout: Duration,
    /// The path of SELECTs to the database.
    batcher: Arc<Batcher>,
}

impl Statements {
    /// Makes the statements, on the runtime that they are to run on, with at most `selects` SELECT statements
    /// at once.
    pub(crate) fn new(
        database: Arc<dyn Database>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        timeout: Duration,
        selects: usize,
    ) -> Self {
        let runtime = Handle::current();
        let (asked, now, counted) = (Arc::clone(&database), Arc::clone(&clock), Arc::clone(&counters));
        let batcher = Batcher::new(asked, now, counted, runtime.clone(), selects);
        Self { database, clock, runtime, counters, timeout, batcher }
    }

    /// Returns the moment at which a load that starts now has waited long enough.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::now() + self.timeout
    }

    /// Reads the column, with a SELECT of its own or along with other reads that wait.
    pub(crate) async fn select(&self, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        if deadline <= Deadline::now() {
            // No caller would wait for it, and those that come later would wait behind it.
            return Err(DatabaseError::Timeout);
        }
        self.batcher.select(workspace, deadline).await
    }

    /// Reads the column for a load, which goes on with the answer in a task of the host's own.
    pub(crate) fn select_for<F>(
        &self,
        workspace: WorkspaceId,
        deadline: Deadline,
        load: impl FnOnce(Read) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.batcher.select_for(workspace, deadline, load);
    }

    /// Mints a secret and sends the statement that stores it.
    pub(crate) fn send_issue(
        &self,
        workspace: &WorkspaceId,
        mode: IssueMode,
        deadline: Deadline,
    ) -> SentIssue {
        count(&self.counters.issues);
        let (tx, rx) = watch::channel(None);
        let (database, key, clock) = (Arc::clone(&self.database), workspace.clone(), Arc::clone(&self.clock));
        // This is before the caller goes, so that it learns that nothing was sent where that is so.
        let now = Deadline::now();
        let send_by = now + deadline.saturating_duration_since(now).mul_f32(SHARE_BEFORE_SENDING);
        self.runtime.spawn(async move {
            let issued = match Secret::mint() {
                Ok(minted) => run_issue(&*database, &key, mode, minted, send_by).await,
                Err(error) => Err(DatabaseError::Unavailable(format!("no random bytes: {error}").into())),
            };
            let issued = match issued {
                Ok(value) if value.is_empty() => Err(IssueFailure::Empty),
                Ok(value) => Ok(Obtained { value, at: clock.now() }),
                Err(error) => Err(IssueFailure::Database(error)),
            };
            // The receiver may be gone.
            let _ = tx.send(Some(issued));
        });
        SentIssue::new(rx)
    }

    /// Returns whether the runtime on which everything here runs has ended. A runtime that ends takes no more
    /// tasks before it drops those that it has: a caller that asks because a task was dropped gets the right
    /// answer.
    pub(crate) fn runtime_has_ended(&self) -> bool {
        let probe = self.runtime.spawn(pending::<()>());
        let was_dropped = probe.is_finished();
        probe.abort();
        was_dropped
    }
}

/// Runs the database's own code for an issue. A panic in it is an error like any other.
async fn run_issue(
    database: &dyn Database,
    key: &WorkspaceId,
    mode: IssueMode,
    minted: Secret,
    send_by: Deadline,
) -> Result<Secret, DatabaseError> {
    let made = catch_unwind(AssertUnwindSafe(|| database.issue(key, mode, minted, send_by)));
    let Ok(statement) = made.map_err(drop) else {
        // A statement is sent when it is polled and not before, so the outcome is known.
        let words = "the implementation of Database is at fault: it panicked before it sent anything";
        return Err(DatabaseError::Unavailable(words.into()));
    };
    match contained(statement).await {
        Ok(issued) => issued,
        // The statement may have been sent, and the server may still be busy with it.
        Err(Panicked) => Err(DatabaseError::panicked()),
    }
}
