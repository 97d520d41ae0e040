//! One call of a policy: its subject, what it may use, and a record of what it did.
//!
//! This file knows nothing of WebAssembly. The record, and not the policy's word, is what the host goes by
//! afterwards: where each handle came from, which statements were sent, and what the policy wants stored.

use std::sync::Arc;

use tokio::time::Instant as Deadline;

use super::host_io::HostIo;
use crate::lease::{Ceilings, Lease};
use crate::statements::{IssueState, Obtained, Read, SentIssue, Statements};
use crate::table::Snapshot;
use crate::{DatabaseError, Instant, IssueMode, Lookup, Secret, Status, WorkspaceId};

/// Maximum number of statements in one call: more than any honest policy needs, few enough to bound a call.
const MAX_STATEMENTS: u32 = 8;

/// The host's request to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read,
    Issue(IssueMode),
}

/// Reason why a call did not count. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

/// Resource that the machine lacked for a call. It says nothing about the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage(pub(crate) String);

/// Reason why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// A fault of the policy.
    Fault(Fault),
    /// A shortage of the machine.
    Shortage(Shortage),
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A secret in the hands of a policy.
#[expect(unreachable_pub, reason = "the generated bindings re-export it inside the crate")]
pub struct Handle {
    pub(crate) secret: Secret,
    pub(crate) obtained_at: Instant,
    origin: Origin,
    /// Step of the call that the secret came from: a value from before an issue must not be stored after it.
    step: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Selected,
    Issued,
    Entry,
}

/// Change to the workspace's entry that a policy asks for.
#[derive(Clone)]
pub(crate) enum Change {
    Put(Snapshot),
    Remove,
}

/// Answer that the policy returned.
pub(crate) enum PolicyAnswer {
    Secret(Handle),
    Absent,
    /// An error. Which one the policy named does not matter: the record has the one that the database gave.
    Error,
}

/// A call in flight, and then the record of one.
pub(crate) struct Call {
    pub(crate) workspace: WorkspaceId,
    pub(crate) request: Request,
    statements: Arc<Statements>,
    ceilings: Ceilings,
    deadline: Deadline,
    host_io: HostIo,
    snapshot: Option<Snapshot>,
    /// Answer of the SELECT that was sent before the policy was called, for the policy's first select.
    read: Option<Read>,
    change: Option<Change>,
    steps: u32,
    sent: u32,
    /// Time at which the last select found no secret.
    absent_at: Option<Instant>,
    /// `true` if `entry.get` has shown an absence. It may be answered, though its lease may have ended since.
    was_shown_absence: bool,
    selected: bool,
    failure: Option<DatabaseError>,
    issue: Option<(u32, SentIssue)>,
}

impl Call {
    pub(crate) fn new(
        workspace: WorkspaceId,
        request: Request,
        snapshot: Option<Snapshot>,
        read: Option<Read>,
        statements: Arc<Statements>,
        ceilings: Ceilings,
        deadline: Deadline,
    ) -> Self {
        Self {
            workspace,
            request,
            statements,
            ceilings,
            deadline,
            host_io: HostIo::default(),
            snapshot,
            read,
            change: None,
            steps: 0,
            sent: 0,
            absent_at: None,
            was_shown_absence: false,
            selected: false,
            failure: None,
            issue: None,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.statements.clock.now().rounded()
    }

    /// Returns the requests that the call hands to the task that makes it.
    pub(super) fn host_io(&self) -> HostIo {
        self.host_io.clone()
    }

    /// Implements `database.select`.
    pub(crate) async fn select(&mut self) -> Result<Result<Option<Handle>, DatabaseError>, Fault> {
        let step = self.statement()?;
        (self.absent_at, self.was_shown_absence, self.selected) = (None, false, true);
        let answer = match self.read.take() {
            Some(read) => read,
            None => self.send_select().await,
        };
        if let Err(error) = &answer {
            self.failure = Some(error.clone());
        }
        Ok(answer.map(|Obtained { value, at }| {
            self.absent_at = value.is_none().then_some(at);
            value.map(|secret| Handle { secret, obtained_at: at, origin: Origin::Selected, step })
        }))
    }

    async fn send_select(&self) -> Read {
        let (statements, workspace, deadline) =
            (Arc::clone(&self.statements), self.workspace.clone(), self.deadline);
        let answer = self.host_io.send(|tx| async move {
            // The call may have been ended.
            let _ = tx.send(statements.select(&workspace, deadline).await);
        });
        answer.await.unwrap_or_else(|_| Err(DatabaseError::Unavailable("the SELECT ended early".into())))
    }

    /// Implements `database.issue`.
    pub(crate) async fn issue(&mut self, mode: IssueMode) -> Result<Result<Handle, DatabaseError>, Fault> {
        if self.request != Request::Issue(mode) {
            return Err(Fault(format!("database.issue({mode:?}) in a call of {:?}", self.request)));
        }
        if let Some((_, sent)) = &self.issue
            && !matches!(sent.state(), IssueState::Refused(_))
        {
            return Err(Fault(
                "database.issue was called again after an issue that may have been committed".into(),
            ));
        }
        let step = self.statement()?;
        let mut sent = self.statements.send_issue(&self.workspace, mode, self.deadline);
        self.issue = Some((step, sent.clone()));
        // All that was put or seen before this is older than what the database is about to hold.
        (self.change, self.snapshot, self.absent_at) = (None, None, None);
        self.was_shown_absence = false;
        let state = sent.answer(self.deadline).await;
        Ok(match state {
            IssueState::Committed(Obtained { value, at }) => {
                Ok(Handle { secret: value, obtained_at: at, origin: Origin::Issued, step })
            }
            IssueState::Refused(error) | IssueState::Unknown(error) => {
                self.failure = Some(error.clone());
                Err(error)
            }
        })
    }

    /// Implements `entry.get`.
    pub(crate) fn entry(&mut self) -> Option<(Snapshot, Option<Handle>)> {
        let snapshot = match &self.change {
            Some(Change::Put(put)) => Some(put.clone()),
            Some(Change::Remove) => None,
            None => self.snapshot.clone(),
        };
        let snapshot = snapshot.filter(|kept| self.now() < kept.lease.keep_until)?;
        self.was_shown_absence = snapshot.value.is_none() && !self.selected;
        self.steps += 1;
        let handle = snapshot.value.clone().map(|secret| Handle {
            secret,
            obtained_at: snapshot.obtained_at,
            origin: Origin::Entry,
            step: self.steps,
        });
        Some((snapshot, handle))
    }

    /// Implements `entry.put`.
    pub(crate) fn put(&mut self, value: Option<&Handle>, lease: Lease) -> Result<(), Fault> {
        let (secret, obtained_at) = match value {
            Some(handle) if self.issue.as_ref().is_some_and(|(issued, _)| handle.step < *issued) => {
                return Err(Fault("entry.put of a secret from before the issue of the same call".into()));
            }
            Some(handle) => (Some(handle.secret.clone()), handle.obtained_at),
            None => match self.absent_at {
                Some(at) => (None, at),
                None => {
                    return Err(Fault("entry.put of an absence that the last select did not find".into()));
                }
            },
        };
        let lease = lease.lowered(&self.ceilings, obtained_at, secret.is_some());
        self.change = Some(Change::Put(Snapshot { value: secret, obtained_at, lease }));
        Ok(())
    }

    /// Implements `entry.remove`.
    pub(crate) fn remove(&mut self) {
        self.change = Some(Change::Remove);
    }

    /// Takes the change that the policy wants stored.
    pub(crate) fn change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// Returns the issue that the call sent, if it sent one.
    pub(crate) fn sent_issue(&self) -> Option<&SentIssue> {
        self.issue.as_ref().map(|(_, sent)| sent)
    }

    /// Checks the answer to a read against the record. An answer that the record does not bear out is a
    /// fault.
    pub(crate) fn judge_read(
        &self,
        answer: PolicyAnswer,
    ) -> Result<Result<Lookup, Option<DatabaseError>>, Fault> {
        match answer {
            PolicyAnswer::Secret(handle) => {
                let (status, now) = (self.status(&handle), self.statements.clock.now());
                Ok(Ok(Lookup::new(handle.secret, status, handle.obtained_at, now)))
            }
            PolicyAnswer::Absent
                if self.absent_at.is_some() || self.was_shown_absence || self.kept_absence() =>
            {
                Ok(Err(None))
            }
            PolicyAnswer::Absent => {
                Err(Fault("the answer was an absence that the database did not report".into()))
            }
            PolicyAnswer::Error => self.reported().map(|error| Err(Some(error))),
        }
    }

    /// Checks the answer to an issue against the record: it must be the secret that the database committed,
    /// or, for a heal that sent no issue, one that it selected.
    pub(crate) fn judge_issue(&self, answer: PolicyAnswer) -> Result<Result<Secret, DatabaseError>, Fault> {
        match answer {
            PolicyAnswer::Secret(handle) if handle.origin == Origin::Issued => Ok(Ok(handle.secret)),
            PolicyAnswer::Secret(handle)
                if handle.origin == Origin::Selected
                    && self.request == Request::Issue(IssueMode::Heal)
                    && self.issue.is_none() =>
            {
                Ok(Ok(handle.secret))
            }
            PolicyAnswer::Secret(_) | PolicyAnswer::Absent => {
                Err(Fault("the answer was not the secret that was issued".into()))
            }
            PolicyAnswer::Error => self.reported().map(Err),
        }
    }

    fn status(&self, answered: &Handle) -> Status {
        let is_answer = |value: &Secret| value.same_as(&answered.secret);
        let leased = matches!(&self.change, Some(Change::Put(put))
            if self.now() < put.lease.fresh_until && put.value.as_ref().is_some_and(is_answer));
        match answered.origin {
            Origin::Selected | Origin::Issued => Status::Miss,
            Origin::Entry if leased && self.failure.is_none() => Status::Renewed,
            Origin::Entry => Status::Stale,
        }
    }

    /// Returns the error that the database gave, for a policy that answers with an error.
    fn reported(&self) -> Result<DatabaseError, Fault> {
        self.failure
            .clone()
            .ok_or_else(|| Fault("the answer was an error that the database did not report".into()))
    }

    /// Returns whether absence is stored and still kept, and this call has not sent a select itself.
    fn kept_absence(&self) -> bool {
        let kept = self
            .snapshot
            .as_ref()
            .is_some_and(|kept| kept.value.is_none() && self.now() < kept.lease.keep_until);
        kept && !self.selected
    }

    fn statement(&mut self) -> Result<u32, Fault> {
        self.sent += 1;
        self.steps += 1;
        if self.sent > MAX_STATEMENTS {
            return Err(Fault(format!("more than {MAX_STATEMENTS} statements in one call")));
        }
        Ok(self.steps)
    }
}
