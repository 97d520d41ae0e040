//! The way of a read that no lease covers: the policy is asked, its decision stored if it may be.
//!
//! All but the beginning of a fill runs in the host's tasks. The order is always: read what any policy would
//! have to read, ask, hold the answer against the record of the call, change the table in the critical
//! section of `flight.rs`, notify. A policy that fails costs its caller a direct statement and nothing else.

use std::sync::Arc;

use crate::admission::QueueSlot;
use crate::core::{Core, read_error};
use crate::flight::{LeaderGuard, ReadOutcome};
use crate::policy::call::{JudgedRead, Request};
use crate::policy::rollout::activation::ActivePolicy;
use crate::statements::{Obtained, Read};
use crate::stats::count;
use crate::sync::Deadline;
use crate::table::{Snapshot, Value};
use crate::{Error, Lookup, Status, WorkspaceId};

/// The known state of a workspace before the policy is asked.
enum Prior {
    Entry(Snapshot),
    /// The answer that the database has just given; and the kept entry, where that answer is an error.
    Read(Read, Option<Snapshot>),
}

impl Core {
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

    /// Loads one workspace: steps 4 to 6 of a read, as ARCHITECTURE.md counts them.
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
        // 4. The policy is asked, in its turn.
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
        // 5. Its answer is judged.
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
        // 6. The table changes, and the waiters are notified.
        let change = call.take_change();
        let delivered = match &outcome {
            Ok(lookup) => Some(Value::Present(lookup.secret.clone())),
            Err(Error::Absent) => Some(Value::Absent),
            Err(_) => None,
        };
        leader.complete(outcome, |may_store| {
            if may_store {
                self.store(&workspace, change, active.generation);
            }
            // No caller is shown another value once this one has been delivered.
            if let Some(delivered) = delivered {
                self.table.remove_other(&workspace, delivered.present().as_ref());
            }
        });
        self.make_room();
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
}
