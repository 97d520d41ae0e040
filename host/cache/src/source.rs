//! The database as a load meets it: statements in tasks of the host's own, answers under a deadline.
//!
//! A caller that goes away ends no statement. An issue runs to its end whatever becomes of the policy, and past the
//! deadline: it may be committed. A SELECT is given up then, and where the policy goes on without it, so that what runs at
//! once stays within the batcher's bound. It knows no policy and no entry.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep, timeout, timeout_at};

use crate::batcher::{Batcher, Panicked, contained};
use crate::stats::{Counters, count};
use crate::{Clock, Database, DatabaseError, Instant, IssueMode, Secret, WorkspaceId};

/// How long an issue whose answer is late is waited for before its outcome is given up on. Longer than any statement
/// timeout that a server should have; a connection that is silent for so long is as good as lost.
pub(crate) const ISSUE_LIMIT: Duration = Duration::from_secs(60);

/// How long a statement may go on in a database that has lost its client: the statement timeout that the cache's own
/// connections ask for, and a little more.
pub(crate) const LOST_LIMIT: Duration = Duration::from_secs(35);

/// How much of its time an issue may wait for a connection. Then it is sent, or never.
const SHARE_BEFORE_SENDING: f32 = 0.8;

/// The words for an issue whose answer holds no secret.
const EMPTY: &str = "it answered an issue with the empty secret, which stands for absence";

/// A database and a clock, with what it takes to run statements.
pub(crate) struct Source {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
    pub(crate) counters: Arc<Counters>,
    /// How long a load may wait for the database in all.
    pub(crate) timeout: Duration,
    /// The way of SELECTs to the database.
    batcher: Arc<Batcher>,
}

/// Something that the database said, and when it was known to be so.
#[derive(Clone, Debug)]
pub(crate) struct Obtained<T> {
    pub(crate) value: T,
    pub(crate) at: Instant,
}

/// What the database said of one workspace when it was read.
pub(crate) type Read = Result<Obtained<Option<Secret>>, DatabaseError>;

/// How the statement of an issue ended.
type Issued = Result<Obtained<Secret>, IssueFailure>;

/// Why an issue brought no secret.
#[derive(Clone, Debug)]
enum IssueFailure {
    /// The database gave this error.
    Database(DatabaseError),
    /// It answered with the empty secret. What it holds now is unknown, but this issue will not change it any
    /// more.
    Empty,
}

/// An issue that was sent. Dropping it stops nothing.
#[derive(Clone)]
pub(crate) struct SentIssue(watch::Receiver<Option<Issued>>);

/// What is known of an issue at one moment.
pub(crate) enum IssueState {
    /// The database committed it.
    Committed(Obtained<Secret>),
    /// The database said no, and changed nothing.
    Refused(DatabaseError),
    /// It may have been committed, or may be yet.
    Unknown(DatabaseError),
}

impl Source {
    /// To be made on the runtime that its statements run on, `selects` of them at once that read.
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

    /// The moment at which a load that starts now has waited long enough.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::now() + self.timeout
    }

    /// Reads the column, with a SELECT of its own or along with others that wait.
    pub(crate) async fn select(&self, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        if deadline <= Deadline::now() {
            // Nobody would wait for it, and those who come after would.
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
        // Before the caller goes, so that it hears that nothing was sent where that is so.
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
            // Nobody may be left to hear it.
            let _ = tx.send(Some(issued));
        });
        SentIssue(rx)
    }

    /// Whether the runtime on which everything here runs has ended. A runtime that ends takes no more tasks
    /// before it drops those that it has: a caller that asks because of one that was dropped is told the
    /// truth.
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
        // A statement is sent when it is polled and not before, so that the outcome is known.
        let words = "the implementation of Database is at fault: it panicked before it sent anything";
        return Err(DatabaseError::Unavailable(words.into()));
    };
    match contained(statement).await {
        Ok(issued) => issued,
        // It may have been sent, and the server may be busy with it yet.
        Err(Panicked) => Err(DatabaseError::panicked()),
    }
}

impl SentIssue {
    /// Waits for the answer until the deadline, and says what is known then.
    pub(crate) async fn answer(&mut self, deadline: Deadline) -> IssueState {
        // Whether it has ended, its task is gone or the time is up: what is known is asked next.
        let _ = timeout_at(deadline, self.0.wait_for(Option::is_some)).await;
        self.state()
    }

    /// What is known without waiting.
    pub(crate) fn state(&self) -> IssueState {
        // Asked first: what a task that is gone has sent is there by then.
        let is_gone = self.0.has_changed().is_err();
        match &*self.0.borrow() {
            Some(Ok(issued)) => IssueState::Committed(issued.clone()),
            Some(Err(IssueFailure::Empty)) => IssueState::Unknown(DatabaseError::Broken(EMPTY.into())),
            Some(Err(IssueFailure::Database(error))) => IssueState::of(error.clone()),
            None if is_gone => {
                IssueState::Unknown(DatabaseError::Lost("the task of an issue ended early".into()))
            }
            None => IssueState::Unknown(DatabaseError::Timeout),
        }
    }

    /// Waits until the statement has ended, or for so long that it must be given up on.
    pub(crate) async fn ended(&mut self) {
        // An error means that the task is gone, which is an end as well.
        let _ = timeout(ISSUE_LIMIT, self.0.wait_for(Option::is_some)).await;
    }

    /// Waits until a statement whose connection was lost has ended in the database as well: a server that is
    /// busy with it does not notice that its client is gone, and commits it all the same. So it may be where
    /// the code of the database panicked: the connection went with it.
    pub(crate) async fn settled(&self) {
        let was_answered = matches!(&*self.0.borrow(), Some(Err(IssueFailure::Empty)));
        if !was_answered && matches!(self.state(), IssueState::Unknown(_)) {
            sleep(LOST_LIMIT).await;
        }
    }
}

impl IssueState {
    /// What is known of an issue that the database answered with an error.
    fn of(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Timeout | DatabaseError::Lost(_) | DatabaseError::Broken(_) => {
                Self::Unknown(error)
            }
            error => Self::Refused(error),
        }
    }
}
