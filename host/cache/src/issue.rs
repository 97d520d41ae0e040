//! The way of an issue: it waits for its turn, the policy issues, the table is changed, its caller is told.
//!
//! It runs in the host's tasks, whatever becomes of its caller. While its outcome is not known nothing is
//! stored for the workspace, and where that cannot be found out the entry goes. A policy that fails before it
//! has sent a statement costs its caller a direct one and nothing else.

use std::sync::Arc;

use crate::admission::QueueSlot;
use crate::core::{Core, read_error};
use crate::flight::{LeaderGuard, ReadOutcome, Writer};
use crate::policy::call::{Change, JudgedIssue, Request};
use crate::policy::rollout::activation::ActivePolicy;
use crate::statements::{IssueState, Obtained, SentIssue};
use crate::stats::count;
use crate::sync::timeout_at;
use crate::table::Table;
use crate::{Error, IssueMode, Lookup, Secret, Status, WorkspaceId};

/// The result of an issue.
struct IssueResult {
    outcome: Result<Obtained<Secret>, Error>,
    status: Status,
    /// The change that the policy wants, where the issue was committed.
    change: Option<Change>,
    /// Whether the database may hold another secret than before.
    changed: bool,
    /// The statement, where its end is still awaited.
    pending: Option<SentIssue>,
}

/// An issue whose effect is not known yet. Should its task end here, by a panic or with its runtime, the
/// entry goes, as after any issue whose outcome is unknown.
struct UnknownOutcomeGuard<'a> {
    table: &'a Table,
    writer: &'a Writer,
}

impl Core {
    /// Heals one workspace for all its waiters.
    pub(crate) async fn heal(
        self: Arc<Self>,
        active: Arc<ActivePolicy>,
        leader: LeaderGuard,
        slot: QueueSlot,
    ) {
        let writer = self.flights.write(leader.workspace());
        let complete = |outcome| leader.complete_without_store(outcome);
        self.issue(active, writer, slot, leader.workspace(), IssueMode::Heal, complete).await;
    }

    /// Rotates the secret of one workspace for one caller.
    pub(crate) async fn rotate(
        self: Arc<Self>,
        active: Arc<ActivePolicy>,
        writer: Writer,
        slot: QueueSlot,
        complete: impl FnOnce(ReadOutcome),
    ) {
        let workspace = writer.workspace().clone();
        self.issue(active, writer, slot, &workspace, IssueMode::Rotate, complete).await;
    }

    /// Issues a secret, in the steps that ARCHITECTURE.md counts.
    async fn issue(
        &self,
        active: Arc<ActivePolicy>,
        mut writer: Writer,
        slot: QueueSlot,
        workspace: &WorkspaceId,
        mode: IssueMode,
        complete: impl FnOnce(ReadOutcome),
    ) {
        // 1. The turn of this writer.
        let deadline = self.statements.deadline();
        if timeout_at(deadline, writer.turn()).await.is_err() {
            // Nothing was sent: the issues before it took too long.
            return complete(Err(self.reject(Error::Overloaded)));
        }
        // 2. The policy, and the statement.
        let unknown_outcome = UnknownOutcomeGuard { table: &self.table, writer: &writer };
        let issued = match self.writing.acquire(&slot, deadline).await {
            Ok(_permit) => self.issue_in_turn(&active, workspace, mode).await,
            Err(error) => IssueResult::refused(self.reject(error)),
        };
        unknown_outcome.resolve();
        // 3. What has become of it: the table first, then the caller, and the end of what is still unknown.
        if issued.changed {
            writer.finish(issued.outcome.as_ref().ok().map(|issued| &issued.value), |may_store| {
                // The old value is gone from the database, whatever the policy says of the new one.
                self.table.remove(workspace);
                if may_store {
                    self.store(workspace, issued.change, active.generation);
                }
            });
            self.make_room();
        }
        let (status, now) = (issued.status, self.clock.now());
        complete(issued.outcome.map(|issued| Lookup::new(issued.value, status, issued.at, now)));
        if let Some(mut pending) = issued.pending {
            // The issue may yet be committed. Until it has ended nothing is stored for this workspace, and
            // after that any value that was read meanwhile is too old.
            pending.ended().await;
            drop(slot);
            writer.yield_turn();
            pending.settled().await;
            writer.finish(None, |_| self.table.remove(workspace));
        }
    }

    async fn issue_in_turn(
        &self,
        active: &Arc<ActivePolicy>,
        workspace: &WorkspaceId,
        mode: IssueMode,
    ) -> IssueResult {
        let request = Request::Issue(mode);
        // The wait for its turn is over: a statement that is sent now has the whole time to be answered.
        let (snapshot, deadline) = (self.snapshot(workspace), self.statements.deadline());
        let asked_at = self.clock.now();
        let (mut call, answer) = self.ask(active, workspace, request, snapshot, None, deadline).await;
        let judged = answer.and_then(|answer| Ok(call.judge_issue(answer)?));
        let status = if judged.is_ok() { Status::Healed } else { Status::Bypassed };
        if let Err(error) = &judged {
            self.note_failed(active, workspace, request, error);
            count(&self.counters.bypassed);
            call.discard_change();
        }
        let (sent, state) = match (call.sent_issue().cloned(), judged) {
            // The call has waited for its answer, and waiting on would bring no more.
            (Some(sent), _) => (sent.clone(), sent.state()),
            // The policy found the stored secret with a select, or could not reach the database for it.
            (None, Ok(judged)) => {
                let (outcome, changed) = match judged {
                    JudgedIssue::Secret(value) => (Ok(Obtained { value, at: asked_at }), true),
                    JudgedIssue::Failed(error) => (Err(read_error(error)), false),
                };
                return IssueResult { outcome, status, change: call.take_change(), changed, pending: None };
            }
            // The policy failed before it sent an issue.
            (None, Err(_)) => {
                let deadline = self.statements.deadline();
                let mut sent = self.statements.send_issue(workspace, mode, deadline);
                let state = sent.answer(deadline).await;
                (sent, state)
            }
        };
        let (outcome, change, changed, pending) = match state {
            IssueState::Committed(obtained) => (Ok(obtained), call.take_change(), true, None),
            IssueState::Refused(error) => (Err(read_error(error)), None, false, None),
            IssueState::Unknown(error) => (Err(error.into_unknown_outcome()), None, true, Some(sent)),
        };
        IssueResult { outcome, status, change, changed, pending }
    }
}

impl IssueResult {
    /// The result of an issue that was not sent.
    fn refused(error: Error) -> Self {
        Self { outcome: Err(error), status: Status::Healed, change: None, changed: false, pending: None }
    }
}

impl UnknownOutcomeGuard<'_> {
    /// Ends the doubt: the effect is known.
    fn resolve(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnknownOutcomeGuard<'_> {
    fn drop(&mut self) {
        self.writer.finish(None, |_| self.table.remove(self.writer.workspace()));
    }
}
