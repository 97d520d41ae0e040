//! Loads and issues where no lease covers the answer: the policy is asked, its decision stored if it may be.
//!
//! All but the beginning of a fill runs in the host's tasks. The order is always: read what any policy would
//! have to read, ask, hold the answer against the record of the call, change the table in the critical
//! section of `flight.rs`, notify. A policy that fails costs its caller a direct statement and nothing else.

mod unknown_outcome;

use std::sync::Arc;

use tokio::time::{Instant as Deadline, timeout_at};

use self::unknown_outcome::UnknownOutcomeGuard;
use crate::admission::{Admission, QueueSlot};
use crate::flight::{Flights, LeaderGuard, ReadOutcome, Writer};
use crate::lease::{Ceilings, Generation, Moment};
use crate::policy::activation::ActivePolicy;
use crate::policy::call::{Call, CallError, Change, JudgedIssue, JudgedRead, PolicyAnswer, Request};
use crate::policy::rollout::Rollout;
use crate::reread::Rereads;
use crate::statements::{IssueState, Obtained, Read, SentIssue, Statements};
use crate::stats::{Counters, add, count};
use crate::table::{Entry, Snapshot, Table, Value};
use crate::{Cause, Clock, DatabaseError, Error, IssueMode, Lookup, Secret, Status, WorkspaceId};

/// The parts of a cache, as its tasks share them.
pub(crate) struct Core {
    pub(crate) table: Table,
    pub(crate) flights: Arc<Flights>,
    pub(crate) rollout: Rollout,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ceilings: Ceilings,
    /// Fills and issues have permits of their own, so that a flood of misses does not keep a rotation out.
    pub(crate) reading: Admission,
    /// The permits of fills whose SELECT was answered before the policy is asked: they hold a permit only for
    /// as long as the policy computes, and do not queue behind fills whose policy waits for the database.
    pub(crate) answered: Admission,
    pub(crate) writing: Admission,
    /// The record of the secrets that were read again because another one was presented.
    pub(crate) rereads: Rereads,
}

/// The known state of a workspace before the policy is asked.
enum Prior {
    Entry(Snapshot),
    /// The answer that the database has just given; and the kept entry, where that answer is an error.
    Read(Read, Option<Snapshot>),
}

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

impl Core {
    /// Returns the answer of the table at this moment, without asking the policy or the database.
    pub(crate) fn stored(&self, workspace: &WorkspaceId) -> Option<ReadOutcome> {
        let moment = self.moment();
        let now = moment.now;
        Some(match self.table.peek(workspace, moment)? {
            Value::Present((secret, obtained_at)) => Ok(Lookup::new(secret, Status::Hit, obtained_at, now)),
            Value::Absent => Err(Error::Absent),
        })
    }

    /// Returns the moment of a read. There is no channel by which the changes of others would be known: no
    /// read is under the watch.
    #[inline]
    pub(crate) fn moment(&self) -> Moment<impl FnOnce() -> bool + use<>> {
        Moment { generation: self.rollout.generation(), now: self.clock.now_coarse(), watched: || false }
    }

    /// Starts to load one workspace for all its waiters.
    pub(crate) fn begin_fill(
        self: Arc<Self>,
        active: Arc<ActivePolicy>,
        leader: LeaderGuard,
        slot: QueueSlot,
    ) {
        let deadline = self.statements.deadline();
        let workspace = leader.workspace().clone();
        let statements = Arc::clone(&self.statements);
        match self.snapshot(&workspace) {
            // Where nothing is kept there is no answer without a SELECT, whatever the policy: it is sent
            // before the policy is asked, and no instance has to wait for it.
            None => statements.select_for(workspace, deadline, move |read| {
                self.fill(active, leader, slot, Prior::Read(read, None), deadline)
            }),
            Some(kept) => {
                statements.runtime.spawn(self.fill(active, leader, slot, Prior::Entry(kept), deadline));
            }
        }
    }

    /// Starts the load of a caller that doubts what is kept: the database is asked first in any case. Where
    /// it gives an error, the policy is shown what is kept, since other waiters may be content with that.
    pub(crate) fn begin_reread(
        self: Arc<Self>,
        active: Arc<ActivePolicy>,
        leader: LeaderGuard,
        slot: QueueSlot,
    ) {
        let deadline = self.statements.deadline();
        let workspace = leader.workspace().clone();
        let statements = Arc::clone(&self.statements);
        statements.select_for(workspace, deadline, move |read| {
            let kept = if read.is_err() { self.snapshot(leader.workspace()) } else { None };
            self.fill(active, leader, slot, Prior::Read(read, kept), deadline)
        });
    }

    /// Loads one workspace.
    async fn fill(
        self: Arc<Self>,
        active: Arc<ActivePolicy>,
        leader: LeaderGuard,
        slot: QueueSlot,
        prior: Prior,
        deadline: Deadline,
    ) {
        let workspace = leader.workspace().clone();
        let (snapshot, read, permits) = match prior {
            Prior::Entry(snapshot) => (Some(snapshot), None, &self.reading),
            Prior::Read(read, kept) => (kept, Some(read), &self.answered),
        };
        let _permit = match permits.acquire(&slot, deadline).await {
            Ok(permit) => permit,
            Err(full) => {
                let error = match read {
                    Some(Err(error)) => read_error(error),
                    Some(Ok(_)) | None => self.reject(full),
                };
                return leader.complete_without_store(Err(error));
            }
        };
        let (mut call, answer) = self.ask(&active, &workspace, Request::Read, snapshot, read, deadline).await;
        let outcome = match answer.and_then(|answer| Ok(call.judge_read(answer)?)) {
            Ok(JudgedRead::Found(lookup)) => Ok(lookup),
            Ok(JudgedRead::Absent) => Err(Error::Absent),
            Ok(JudgedRead::Failed(error)) => Err(read_error(error)),
            Err(error) => {
                self.note_failed(&active, &workspace, Request::Read, &error);
                // The puts of a failed call are not worth storing.
                call.discard_change();
                Box::pin(self.select_directly(&workspace, deadline)).await
            }
        };
        let change = call.take_change();
        let delivered = match &outcome {
            Ok(lookup) => Some(Some(lookup.secret.clone())),
            Err(Error::Absent) => Some(None),
            Err(_) => None,
        };
        leader.complete(outcome, |may_store| {
            if may_store {
                self.store(&workspace, change, active.generation);
            }
            // No caller is shown another value once this one has been delivered.
            if let Some(delivered) = delivered {
                self.table.remove_other(&workspace, delivered.as_ref());
            }
        });
        self.make_room();
    }

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

    async fn issue(
        &self,
        active: Arc<ActivePolicy>,
        mut writer: Writer,
        slot: QueueSlot,
        workspace: &WorkspaceId,
        mode: IssueMode,
        complete: impl FnOnce(ReadOutcome),
    ) {
        let deadline = self.statements.deadline();
        if timeout_at(deadline, writer.turn()).await.is_err() {
            // Nothing was sent: the issues before it took too long.
            return complete(Err(self.reject(Error::Overloaded)));
        }
        let unknown_outcome = UnknownOutcomeGuard { table: &self.table, writer: &writer };
        let issued = match self.writing.acquire(&slot, deadline).await {
            Ok(_permit) => self.issue_in_turn(&active, workspace, mode).await,
            Err(error) => IssueResult::refused(self.reject(error)),
        };
        unknown_outcome.resolve();
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

    async fn ask(
        &self,
        active: &ActivePolicy,
        workspace: &WorkspaceId,
        request: Request,
        snapshot: Option<Snapshot>,
        read: Option<Read>,
        deadline: Deadline,
    ) -> (Box<Call>, Result<PolicyAnswer, CallError>) {
        count(&self.counters.policy_calls);
        let statements = Arc::clone(&self.statements);
        let call = Call::new(workspace.clone(), request, snapshot, read, statements, self.ceilings, deadline);
        // Boxed: on its way to the policy and back it changes hands a dozen times.
        let call = Box::new(call);
        active.loaded().call(call).await
    }

    /// Returns the kept entry of a workspace at this moment.
    fn snapshot(&self, workspace: &WorkspaceId) -> Option<Snapshot> {
        self.table.snapshot(workspace, self.clock.now())
    }

    fn note_failed(
        &self,
        active: &Arc<ActivePolicy>,
        workspace: &WorkspaceId,
        request: Request,
        error: &CallError,
    ) {
        match error {
            CallError::Fault(fault) => {
                count(&self.counters.policy_faults);
                active.loaded().note_fault(workspace.as_str(), request, fault);
                self.count_replaced(self.rollout.note_fault(active, fault));
            }
            // The policy is not at fault.
            CallError::Shortage(shortage) => {
                count(&self.counters.shortages);
                self.rollout.note_shortage(active, shortage);
            }
        }
    }

    /// Counts a policy that was replaced because it failed, if one was.
    pub(crate) fn count_replaced(&self, cause: Option<Cause>) {
        match cause {
            Some(Cause::Breaker) => count(&self.counters.breaker_trips),
            Some(_) => count(&self.counters.probations_failed),
            None => {}
        }
    }

    /// Answers a read without the policy, by a new SELECT. An answer from before the policy was asked will
    /// not do: a caller that has joined since must be given what was read after it joined.
    async fn select_directly(&self, workspace: &WorkspaceId, deadline: Deadline) -> ReadOutcome {
        count(&self.counters.bypassed);
        match self.statements.select(workspace, deadline).await {
            Ok(Obtained { value, at }) => {
                let lookup = |secret| Lookup::new(secret, Status::Bypassed, at, self.clock.now());
                value.map(lookup).ok_or(Error::Absent)
            }
            Err(error) => Err(read_error(error)),
        }
    }

    /// Changes the table for a policy if it is still the active one. The caller holds the stripe's lock.
    fn store(&self, workspace: &WorkspaceId, change: Option<Change>, generation: Generation) {
        if generation != self.rollout.generation() {
            return;
        }
        match change {
            Some(Change::Put(Snapshot { value, obtained_at, lease })) => {
                self.table.store(workspace, Entry::new(Snapshot { value, obtained_at, lease }, generation));
            }
            Some(Change::Remove) => self.table.remove(workspace),
            None => {}
        }
    }

    /// Counts a load or an issue that was rejected.
    pub(crate) fn reject(&self, error: Error) -> Error {
        count(&self.counters.overloaded);
        error
    }

    fn make_room(&self) {
        add(&self.counters.evicted, self.table.evict() as u64);
    }
}

impl IssueResult {
    /// The result of an issue that was not sent.
    fn refused(error: Error) -> Self {
        Self { outcome: Err(error), status: Status::Healed, change: None, changed: false, pending: None }
    }
}

/// Converts an error that left the database as it was, or that a read met, into the caller's error.
pub(crate) fn read_error(error: DatabaseError) -> Error {
    match error {
        DatabaseError::Unavailable(reason) | DatabaseError::Lost(reason) => Error::Unavailable(reason),
        DatabaseError::Refused(reason) => Error::Refused(reason),
        DatabaseError::Broken(ref reason) => Error::Unavailable(reason.clone().reworded(error.to_string())),
        DatabaseError::ReadOnly => Error::ReadOnly,
        DatabaseError::Timeout => Error::Timeout,
        DatabaseError::UnknownWorkspace => Error::UnknownWorkspace,
        DatabaseError::Overloaded => Error::Overloaded,
    }
}
