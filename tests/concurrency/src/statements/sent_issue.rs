//! A stand-in for an issue that was sent. In place of the time after which the product gives up on a
//! statement, there is the moment at which the database has finished.

use super::obtained::Obtained;
use crate::database::Fate;
use crate::sync::{Deadline, timeout_at, watch};
use crate::{DatabaseError, Secret};

/// The answer to the client.
pub(crate) type Issued = Result<Obtained<Secret>, DatabaseError>;

/// An issue that was sent. Dropping it stops nothing.
#[derive(Clone)]
pub(crate) struct SentIssue {
    pub(crate) fate: Fate,
    pub(crate) answer: watch::Receiver<Option<Issued>>,
    /// Whether the database has finished.
    pub(crate) end: watch::Receiver<bool>,
}

/// The knowledge of an issue at one moment.
pub(crate) enum IssueState {
    Committed(Obtained<Secret>),
    Refused(DatabaseError),
    Unknown(DatabaseError),
}

impl SentIssue {
    pub(crate) async fn answer(&mut self, deadline: Deadline) -> IssueState {
        if self.fate != Fate::Late {
            // The result does not matter: the state is asked next.
            let _ = timeout_at(deadline, self.answer.wait_for(Option::is_some)).await;
        }
        self.state()
    }

    pub(crate) fn state(&self) -> IssueState {
        match &*self.answer.borrow() {
            // The answer comes when no task waits any more.
            _ if self.fate == Fate::Late => IssueState::Unknown(DatabaseError::Timeout),
            Some(Ok(issued)) => IssueState::Committed(issued.clone()),
            Some(Err(error @ DatabaseError::Lost(_))) => IssueState::Unknown(error.clone()),
            Some(Err(error)) => IssueState::Refused(error.clone()),
            None => IssueState::Unknown(DatabaseError::Timeout),
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
