//! One call of a policy: its subject, what it may use, and a record of what it did.
//!
//! This file knows nothing of WebAssembly. It sends what the policy asks for, and notes it in the record
//! (`record.rs`), which is what the host goes by afterwards.

use std::sync::Arc;

use super::host_io::HostIo;
use super::record::Record;
use crate::lease::{Ceilings, Lease};
use crate::statements::{IssueState, Read, SentIssue, Statements};
use crate::sync::Deadline;
use crate::table::Snapshot;
use crate::{DatabaseError, Instant, IssueMode, WorkspaceId};

#[expect(unreachable_pub, reason = "the generated bindings re-export it inside the crate")]
pub use super::record::Handle;
pub(crate) use super::record::{Change, Fault, JudgedIssue, JudgedRead, PolicyAnswer, Request};

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

/// A call in flight, with its record.
pub(crate) struct Call {
    pub(crate) workspace: WorkspaceId,
    pub(crate) request: Request,
    statements: Arc<Statements>,
    deadline: Deadline,
    host_io: HostIo,
    /// Answer of the SELECT that was sent before the policy was called, for the policy's first select.
    read: Option<Read>,
    issue: Option<SentIssue>,
    record: Record,
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
            deadline,
            host_io: HostIo::default(),
            read,
            issue: None,
            record: Record::new(request, snapshot, ceilings),
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
        let step = self.record.begin_select()?;
        let read = match self.read.take() {
            Some(read) => read,
            None => self.send_select().await,
        };
        Ok(self.record.note_read(step, read))
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
        let was_refused = |sent: &SentIssue| matches!(sent.state(), IssueState::Refused(_));
        let is_first = self.issue.as_ref().is_none_or(was_refused);
        let step = self.record.begin_issue(mode, is_first)?;
        let mut sent = self.statements.send_issue(&self.workspace, mode, self.deadline);
        self.issue = Some(sent.clone());
        let issued = match sent.answer(self.deadline).await {
            IssueState::Committed(obtained) => Ok(obtained),
            IssueState::Refused(error) | IssueState::Unknown(error) => Err(error),
        };
        Ok(self.record.note_issue(step, issued))
    }

    /// Implements `entry.get`.
    pub(crate) fn entry(&mut self) -> Option<(Snapshot, Option<Handle>)> {
        self.record.entry(self.now())
    }

    /// Implements `entry.put`.
    pub(crate) fn put(&mut self, value: Option<&Handle>, lease: Lease) -> Result<(), Fault> {
        self.record.put(value, lease)
    }

    /// Implements `entry.remove`.
    pub(crate) fn remove(&mut self) {
        self.record.remove();
    }

    /// Takes the change that the policy wants stored.
    pub(crate) fn take_change(&mut self) -> Option<Change> {
        self.record.take_change()
    }

    /// Drops the change that the policy wants stored.
    pub(crate) fn discard_change(&mut self) {
        drop(self.record.take_change());
    }

    /// Returns the issue that the call sent, if it sent one.
    pub(crate) fn sent_issue(&self) -> Option<&SentIssue> {
        self.issue.as_ref()
    }

    /// Checks the answer to a read against the record.
    pub(crate) fn judge_read(&self, answer: PolicyAnswer) -> Result<JudgedRead, Fault> {
        self.record.judge_read(answer, self.now(), self.statements.clock.now())
    }

    /// Checks the answer to an issue against the record.
    pub(crate) fn judge_issue(&self, answer: PolicyAnswer) -> Result<JudgedIssue, Fault> {
        self.record.judge_issue(answer)
    }
}
