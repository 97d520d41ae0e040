//! What a caller starts: a hit, a flight that it joins or leads, an issue of its own.
//!
//! Everything here runs in the caller's task, without an await but for the answer of an issue, and hands the
//! rest to a task of the host: a caller may be dropped at any moment. An issue is registered before its task
//! is spawned, so that no read that was sent earlier can be stored from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Instrument as _, Span};

use crate::core::Core;
use crate::error::RUNTIME_ENDED;
use crate::flight::{FlightKind, Join, LeaderGuard, ReadOutcome, Waiter};
use crate::policy::rollout::activation::ActivePolicy;
use crate::stats::count;
use crate::sync::oneshot;
use crate::table::{Found, Value};
use crate::{Error, Lookup, Secret, Status, WorkspaceId};

/// The result of a request for a load.
pub(crate) enum LoadStart {
    /// The answer has just been stored, or there is no room for a load: nothing is in flight for the caller.
    Answered(ReadOutcome),
    /// A load is in flight, started by this caller or another one.
    InFlight(Waiter),
}

impl Core {
    /// Applies `answer` to the value that a lease covers, if one does.
    #[inline]
    pub(crate) fn covered<R>(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        answer: impl FnOnce(&Secret) -> R,
    ) -> Option<Value<R>> {
        let found = self.table.lookup(workspace, || self.moment(), answer);
        self.found(workspace, found)
    }

    /// Returns the value that a lease covers, if one does, as the answer of a read.
    #[inline]
    pub(crate) fn hit(self: &Arc<Self>, workspace: &WorkspaceId) -> Option<Value<Lookup>> {
        let found = self.table.lookup_dated(
            workspace,
            || self.moment(),
            |secret, obtained_at, now| Lookup::new(secret.clone(), Status::Hit, obtained_at, now),
        );
        self.found(workspace, found)
    }

    #[inline]
    fn found<R>(self: &Arc<Self>, workspace: &WorkspaceId, found: Found<R>) -> Option<Value<R>> {
        match found {
            Found::Hit(value) => Some(value),
            Found::Refresh(value) => {
                self.refresh(workspace);
                Some(value)
            }
            Found::Expired => None,
        }
    }

    /// Joins a flight of this kind or starts it, unless the answer has just been stored.
    pub(crate) fn find_or_start(self: &Arc<Self>, workspace: &WorkspaceId, kind: FlightKind) -> LoadStart {
        let active = self.rollout.active();
        let generation = active.generation;
        let stored = || self.stored(workspace).filter(|outcome| kind == FlightKind::Fill || outcome.is_ok());
        match self.flights.join_or_lead(workspace, kind, generation, stored) {
            Join::Cached(outcome) => LoadStart::Answered(outcome),
            Join::Follower(waiter) => {
                count(&self.counters.joined);
                LoadStart::InFlight(waiter)
            }
            Join::Leader(waiter, leader) => {
                self.start(kind, active, leader);
                LoadStart::InFlight(waiter)
            }
        }
    }

    /// Starts a flight, or ends it here where too many loads wait already.
    fn start(self: &Arc<Self>, kind: FlightKind, active: Arc<ActivePolicy>, leader: LeaderGuard) {
        let admission = match kind {
            FlightKind::Fill => &self.reading,
            FlightKind::Heal => &self.writing,
        };
        let slot = match admission.try_enqueue() {
            Ok(slot) => slot,
            Err(error) => return leader.complete_without_store(Err(self.reject(error))),
        };
        match kind {
            FlightKind::Fill => Arc::clone(self).begin_fill(active, leader, slot),
            FlightKind::Heal => {
                drop(self.statements.runtime.spawn(Arc::clone(self).heal(active, leader, slot)))
            }
        }
    }

    /// Asks the policy again while the entry still answers.
    #[cold]
    fn refresh(self: &Arc<Self>, workspace: &WorkspaceId) {
        let active = self.rollout.active();
        let join = self.flights.join_or_lead(workspace, FlightKind::Fill, active.generation, || None);
        if let Join::Leader(_, leader) = join {
            count(&self.counters.refreshes);
            self.start(FlightKind::Fill, active, leader);
        }
    }

    /// Drops the workspace's entry, and voids any read in flight for it.
    pub(crate) fn remove(&self, workspace: &WorkspaceId) {
        self.flights.void(workspace, || self.table.remove(workspace));
    }

    /// Drops every entry, and voids every read in flight.
    pub(crate) fn reset(&self) {
        self.flights.void_all(|| self.table.clear());
    }

    /// Rotates the secret in a task of the host, within the span.
    pub(crate) async fn rotate_in_task(self: &Arc<Self>, workspace: &WorkspaceId, span: Span) -> ReadOutcome {
        let slot = match self.writing.try_enqueue() {
            Ok(slot) => slot,
            Err(error) => return Err(self.reject(error)),
        };
        let (tx, rx) = oneshot::channel();
        // From this moment no read that was sent earlier can be stored, and the caller may be dropped.
        let writer = self.flights.write(workspace);
        let rotate = Arc::clone(self).rotate(self.rollout.active(), writer, slot, move |outcome| {
            // The caller may be gone.
            let _ = tx.send(outcome);
        });
        let has_begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&has_begun);
        let task = async move {
            begins.store(true, Ordering::SeqCst);
            rotate.await;
        };
        self.statements.runtime.spawn(task.instrument(span));
        match rx.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.lost_issue(workspace, has_begun.load(Ordering::SeqCst))),
        }
    }

    /// The error of an issue whose task ended without an answer.
    fn lost_issue(&self, workspace: &WorkspaceId, has_begun: bool) -> Error {
        let runtime_has_ended = self.statements.runtime_has_ended();
        if runtime_has_ended && !has_begun {
            return Error::RuntimeEnded;
        }
        // The statement may have been sent.
        self.remove(workspace);
        let words = if runtime_has_ended { RUNTIME_ENDED } else { "the task of the issue ended early" };
        Error::OutcomeUnknown(words.into())
    }
}
