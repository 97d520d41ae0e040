//! The parts of a cache, and what the ways of a read and of an issue share: the snapshot, the call of the
//! policy, the change of the table.
//!
//! It knows the order of no step: that is in `fill.rs` and `issue.rs`. A change is stored for the policy that
//! is active and for no other, and the caller of `store` holds the stripe's lock.

use std::sync::Arc;

use crate::admission::Admission;
use crate::flight::{Flights, ReadOutcome};
use crate::lease::{Ceilings, Generation, Moment};
use crate::policy::call::{Call, CallError, Change, PolicyAnswer, Request};
use crate::policy::rollout::Rollout;
use crate::policy::rollout::activation::ActivePolicy;
use crate::reread::Rereads;
use crate::statements::{Read, Statements};
use crate::stats::{Counters, add, count};
use crate::sync::Deadline;
use crate::table::{Entry, Snapshot, Table, Value};
use crate::{Cause, Clock, DatabaseError, Error, Lookup, Status, WorkspaceId};

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

    /// Returns the moment of a read. No read is under the watch: a stream of changes does not say whether it
    /// is up to date.
    #[inline]
    pub(crate) fn moment(&self) -> Moment<impl FnOnce() -> bool + use<>> {
        Moment { generation: self.rollout.generation(), now: self.clock.now_coarse(), watched: || false }
    }

    /// Asks the policy. The record of the call comes back in any case.
    pub(crate) async fn ask(
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
    pub(crate) fn snapshot(&self, workspace: &WorkspaceId) -> Option<Snapshot> {
        self.table.snapshot(workspace, self.clock.now())
    }

    /// Notes a call without an answer, with the policy where that is at fault.
    pub(crate) fn note_failed(
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

    /// Changes the table for a policy if it is still the active one. The caller holds the stripe's lock.
    pub(crate) fn store(&self, workspace: &WorkspaceId, change: Option<Change>, generation: Generation) {
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

    /// Drops the entries that are too many for the table.
    pub(crate) fn make_room(&self) {
        add(&self.counters.evicted, self.table.evict() as u64);
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
