//! An issue that was sent: what is known of it, and when it has ended.
//!
//! It may be committed long after its caller was notified that the answer is late, and after its connection
//! was lost.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep, timeout, timeout_at};

use super::obtained::Obtained;
use crate::{DatabaseError, Secret};

/// Maximum wait for an issue whose answer is late, before its outcome is given up on. It is longer than any
/// statement timeout that a server should have; a connection that is silent for so long is as good as lost.
pub(crate) const ISSUE_LIMIT: Duration = Duration::from_secs(60);

/// Maximum time that a statement may go on in a database that has lost its client: the statement timeout that
/// the cache's own connections ask for, and a little more.
pub(crate) const LOST_LIMIT: Duration = Duration::from_secs(35);

/// The message for an issue whose answer holds no secret.
const EMPTY: &str = "it answered an issue with the empty secret, which stands for absence";

/// The end of an issue's statement.
pub(super) type Issued = Result<Obtained<Secret>, IssueFailure>;

/// The reason why an issue brought no secret.
#[derive(Clone, Debug)]
pub(super) enum IssueFailure {
    /// The database gave this error.
    Database(DatabaseError),
    /// The database answered with the empty secret. What it holds now is unknown, but this issue will not
    /// change it any more.
    Empty,
}

/// An issue that was sent. Dropping it stops nothing.
#[derive(Clone)]
pub(crate) struct SentIssue(watch::Receiver<Option<Issued>>);

/// The knowledge of an issue at one moment.
pub(crate) enum IssueState {
    /// The database committed the issue.
    Committed(Obtained<Secret>),
    /// The database refused the issue, and changed nothing.
    Refused(DatabaseError),
    /// The issue may have been committed, or may still be.
    Unknown(DatabaseError),
}

impl SentIssue {
    pub(super) fn new(rx: watch::Receiver<Option<Issued>>) -> Self {
        Self(rx)
    }

    /// Waits for the answer until the deadline, and returns what is known then.
    pub(crate) async fn answer(&mut self, deadline: Deadline) -> IssueState {
        // The result does not matter: whether the issue has ended, its task is gone or the time is up, the
        // state is asked next.
        let _ = timeout_at(deadline, self.0.wait_for(Option::is_some)).await;
        self.state()
    }

    /// Returns what is known without waiting.
    pub(crate) fn state(&self) -> IssueState {
        // This is asked first: what a task that is gone has sent is there by then.
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
    /// busy with it does not notice that its client is gone, and commits it all the same. The same may hold
    /// where the code of the database panicked: the connection went with it.
    pub(crate) async fn settled(&self) {
        let was_answered = matches!(&*self.0.borrow(), Some(Err(IssueFailure::Empty)));
        if !was_answered && matches!(self.state(), IssueState::Unknown(_)) {
            sleep(LOST_LIMIT).await;
        }
    }
}

impl IssueState {
    /// Returns what is known of an issue that the database answered with an error.
    fn of(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Timeout | DatabaseError::Lost(_) | DatabaseError::Broken(_) => {
                Self::Unknown(error)
            }
            error => Self::Refused(error),
        }
    }
}
