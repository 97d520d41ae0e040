//! Flights: one load per workspace at a time, and which of them may store its result.
//!
//! A flight is one load that the host runs in tasks of its own and that any number of callers wait for. The
//! one rule: *a flight may store its result only while it is registered here*. Any event that makes its
//! result too old (an issue, a removal, a reset) takes it out of the register in the same critical section in
//! which it changes the table, so a late result can neither be stored nor joined. Nothing here knows what a
//! flight does.
//!
//! Locks: a stripe's lock is held for a few map operations and a write of the table, never across an await.
//! Where several stripes are locked they are locked in order of their index.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use crate::lease::Generation;
use crate::sync::{Arc, AsyncMutex, Mutex, MutexGuard, OwnedMutexGuard, PoisonError, RandomState, SetOnce};
use crate::{Error, Lookup, Secret, WorkspaceId};

/// Number of stripes: more than threads that write at the same moment; a power of two.
const STRIPES: usize = 64;

/// The outcome of a flight. A workspace without a secret is `Error::Absent`.
pub(crate) type ReadOutcome = Result<Lookup, Error>;

/// The purpose of a flight. A flight is joined only by callers of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlightKind {
    /// A read.
    Fill,
    /// An issue that mints only where no secret is stored.
    Heal,
}

/// The flights and the writers of all workspaces.
pub(crate) struct Flights {
    stripes: Box<[Mutex<HashMap<WorkspaceId, InFlight, RandomState>>]>,
    hasher: RandomState,
}

/// Everything in flight for one workspace. There is no such entry while there is nothing.
#[derive(Default)]
struct InFlight {
    fill: Option<Flight>,
    heal: Option<Flight>,
    /// Issues in flight or waiting for their turn. No fill may store while there are any: its SELECT may have
    /// been sent before the UPDATE and answered after it.
    writers: usize,
    /// The values that fills that might not store have delivered. While anything is in flight, nothing that
    /// may be older is stored, or delivered to a caller that comes later: no caller is shown an older value
    /// after a newer one.
    delivered: Delivered,
    /// The issue that may store, if nothing has happened since it began that its result must not undo.
    issue: Option<IssueId>,
    /// The lock by which issues take turns, once there are any.
    turn: Option<Arc<AsyncMutex<()>>>,
}

/// The values that fills that might not store have delivered to their waiters.
#[derive(Default)]
enum Delivered {
    #[default]
    Nothing,
    /// This value and nothing else; `None` is absence.
    Only(Option<Secret>),
    /// Different values. Which of them is the newest is not known, so that no value is known to be as new.
    Several,
}

struct Flight {
    generation: Generation,
    /// Whether another fill has delivered a new value since this flight began.
    is_outrun: bool,
    outcome: OutcomeCell,
}

/// The cell that will hold the outcome of a flight. Its address distinguishes the flight from any other.
type OutcomeCell = Arc<SetOnce<ReadOutcome>>;

/// The identity of an issue: the address of an allocation that it keeps alive.
#[derive(Clone)]
struct IssueId(Arc<()>);

/// The result of a caller's request for a flight.
pub(crate) enum Join {
    /// The answer was stored a moment ago: no flight is needed.
    Cached(ReadOutcome),
    /// A flight is registered already, and the caller waits for it.
    Follower(Waiter),
    /// The caller has to start the flight.
    Leader(Waiter, LeaderGuard),
}

/// Waits for the outcome of a flight. Dropping it cancels nothing.
pub(crate) struct Waiter(OutcomeCell);

/// A registered flight, held by the task that runs it. Dropping it takes the flight out of the register, and
/// notifies the waiters that it was lost.
pub(crate) struct LeaderGuard {
    flights: Arc<Flights>,
    workspace: WorkspaceId,
    kind: FlightKind,
    outcome: OutcomeCell,
}

/// One issue, from before it waits for its turn until after its statement has ended. Dropping it ends the
/// issue.
pub(crate) struct Writer {
    flights: Arc<Flights>,
    workspace: WorkspaceId,
    id: IssueId,
    turn: Arc<AsyncMutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { stripes, hasher: RandomState::default() }
    }

    /// Joins the flight of this kind, or registers a new one if there is none, an older policy runs it, or
    /// another fill has delivered a new value since it began.
    ///
    /// `stored` is asked under the lock: a flight that completed since the caller looked has stored its
    /// result by now.
    pub(crate) fn join_or_lead(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        kind: FlightKind,
        generation: Generation,
        stored: impl FnOnce() -> Option<ReadOutcome>,
    ) -> Join {
        let mut stripe = self.stripe(workspace);
        if let Some(waiter) = stripe.get(workspace).and_then(|in_flight| in_flight.join(kind, generation)) {
            return Join::Follower(waiter);
        }
        if let Some(outcome) = stored() {
            return Join::Cached(outcome);
        }
        let outcome = OutcomeCell::default();
        let flight = Flight { generation, is_outrun: false, outcome: Arc::clone(&outcome) };
        *stripe.entry(workspace.clone()).or_default().slot(kind) = Some(flight);
        let waiter = Waiter(Arc::clone(&outcome));
        let leader = LeaderGuard { flights: Arc::clone(self), workspace: workspace.clone(), kind, outcome };
        Join::Leader(waiter, leader)
    }

    /// Joins the flight of this kind, if there is one that may be joined.
    pub(crate) fn join(
        &self,
        workspace: &WorkspaceId,
        kind: FlightKind,
        generation: Generation,
    ) -> Option<Waiter> {
        self.stripe(workspace).get(workspace)?.join(kind, generation)
    }

    /// Registers an issue, which still has to wait for its turn.
    pub(crate) fn write(self: &Arc<Self>, workspace: &WorkspaceId) -> Writer {
        let mut stripe = self.stripe(workspace);
        let in_flight = stripe.entry(workspace.clone()).or_default();
        in_flight.writers += 1;
        let (id, turn) = (IssueId(Arc::new(())), Arc::clone(in_flight.turn.get_or_insert_default()));
        Writer { flights: Arc::clone(self), workspace: workspace.clone(), id, turn, held: None }
    }

    /// Makes everything in flight for a workspace too old to be stored or joined, and changes the table with
    /// it.
    pub(crate) fn void(&self, workspace: &WorkspaceId, change: impl FnOnce()) {
        let mut stripe = self.stripe(workspace);
        if let Some(in_flight) = stripe.get_mut(workspace) {
            in_flight.void();
        }
        change();
    }

    /// Does the same for every workspace at once.
    pub(crate) fn void_all(&self, change: impl FnOnce()) {
        let mut stripes: Vec<_> = self.stripes.iter().map(lock).collect();
        for in_flight in stripes.iter_mut().flat_map(|stripe| stripe.values_mut()) {
            in_flight.void();
        }
        change();
    }

    /// The number of workspaces that have anything in flight.
    pub(crate) fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| lock(stripe).len()).sum()
    }

    fn stripe(&self, workspace: &WorkspaceId) -> MutexGuard<'_, HashMap<WorkspaceId, InFlight, RandomState>> {
        // The upper bits of a 64-bit hash; the map inside the stripe has its own seed.
        let index = (self.hasher.hash_one(workspace) >> 32) as usize % STRIPES;
        #[expect(
            clippy::indexing_slicing,
            reason = "there are STRIPES stripes, and the index is taken modulo STRIPES"
        )]
        lock(&self.stripes[index])
    }

    /// Runs `change` on what is in flight for the workspace, and forgets the workspace if nothing is left.
    fn with_in_flight<R>(&self, workspace: &WorkspaceId, change: impl FnOnce(&mut InFlight) -> R) -> R {
        let mut stripe = self.stripe(workspace);
        let in_flight = stripe.entry(workspace.clone()).or_default();
        let result = change(in_flight);
        if in_flight.is_idle() {
            stripe.remove(workspace);
        }
        result
    }
}

impl InFlight {
    fn flight(&self, kind: FlightKind) -> Option<&Flight> {
        match kind {
            FlightKind::Fill => self.fill.as_ref(),
            FlightKind::Heal => self.heal.as_ref(),
        }
    }

    /// Joins a flight if no older policy runs it, and no other fill has delivered a new value since it began.
    fn join(&self, kind: FlightKind, generation: Generation) -> Option<Waiter> {
        let flight = self.flight(kind)?;
        let may_join = flight.generation >= generation && !flight.is_outrun;
        may_join.then(|| Waiter(Arc::clone(&flight.outcome)))
    }

    fn slot(&mut self, kind: FlightKind) -> &mut Option<Flight> {
        match kind {
            FlightKind::Fill => &mut self.fill,
            FlightKind::Heal => &mut self.heal,
        }
    }

    fn void(&mut self) {
        self.fill = None;
        self.heal = None;
        self.issue = None;
    }

    /// Takes a flight out of the register, if it is still in it. Returns whether it was.
    fn leave(&mut self, kind: FlightKind, outcome: &OutcomeCell) -> bool {
        let slot = self.slot(kind);
        let registered = slot.as_ref().is_some_and(|flight| Arc::ptr_eq(&flight.outcome, outcome));
        if registered {
            *slot = None;
        }
        registered
    }

    /// Records what a fill that may not store delivers. A caller that comes after that may know of the value,
    /// so another fill in flight, which may bring an older one, is not joined any more. That fill may store
    /// if it brings the same value.
    fn record_delivery(&mut self, value: Option<&Secret>) {
        self.delivered = match &self.delivered {
            Delivered::Nothing => Delivered::Only(value.cloned()),
            Delivered::Only(_) if self.has_delivered_only(value) => return,
            Delivered::Only(_) | Delivered::Several => Delivered::Several,
        };
        if let Some(fill) = &mut self.fill {
            fill.is_outrun = true;
        }
    }

    fn has_delivered_only(&self, value: Option<&Secret>) -> bool {
        match (&self.delivered, value) {
            (Delivered::Nothing, _) | (Delivered::Only(None), None) => true,
            (Delivered::Only(Some(only)), Some(value)) => only.same_as(value),
            (Delivered::Only(_) | Delivered::Several, _) => false,
        }
    }

    fn is_idle(&self) -> bool {
        self.fill.is_none() && self.heal.is_none() && self.writers == 0
    }
}

impl IssueId {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Waiter {
    /// Returns the outcome, once the flight has completed.
    pub(crate) async fn outcome(self) -> ReadOutcome {
        self.0.wait().await.clone()
    }
}

impl LeaderGuard {
    pub(crate) fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    /// Ends a fill: changes the table with it, and then notifies all waiters. `change` is given whether the
    /// result may be stored.
    pub(crate) fn complete(self, outcome: ReadOutcome, change: impl FnOnce(bool)) {
        self.flights.with_in_flight(&self.workspace, |in_flight| {
            let is_current = in_flight.leave(self.kind, &self.outcome) && in_flight.writers == 0;
            let value = match &outcome {
                Ok(lookup) => Some(Some(&lookup.secret)),
                Err(Error::Absent) => Some(None),
                Err(_) => None,
            };
            let may_store = is_current && value.is_none_or(|value| in_flight.has_delivered_only(value));
            if let Some(value) = value.filter(|_| !may_store) {
                in_flight.record_delivery(value);
            }
            change(may_store);
        });
        self.send(outcome);
    }

    /// Ends a flight that stores nothing by itself: takes it out of the register, and notifies all waiters.
    pub(crate) fn complete_without_store(&self, outcome: ReadOutcome) {
        self.leave();
        self.send(outcome);
    }

    fn leave(&self) {
        self.flights.with_in_flight(&self.workspace, |in_flight| in_flight.leave(self.kind, &self.outcome));
    }

    fn send(&self, outcome: ReadOutcome) {
        // An error says that an outcome has been delivered already.
        let _ = self.outcome.set(outcome);
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        if !self.outcome.initialized() {
            self.leave();
            let lost = "the task of a load ended without an answer";
            self.send(Err(Error::Internal(lost.into())));
        }
    }
}

impl Writer {
    pub(crate) fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    /// Waits for the workspace's write lock, and takes it.
    pub(crate) async fn turn(&mut self) {
        self.held = Some(Arc::clone(&self.turn).lock_owned().await);
        self.flights.with_in_flight(&self.workspace, |in_flight| in_flight.issue = Some(self.id.clone()));
    }

    /// Gives the write lock back early. The workspace still counts as being written: nothing read for it is
    /// stored.
    pub(crate) fn yield_turn(&mut self) {
        self.held = None;
    }

    /// Makes every fill in flight too old, and changes the table with it. `issued` is the value that the
    /// database holds now, if it is known. `change` is given whether the issue may store: not if a removal or
    /// a reset came in between, nor while another issue waits or is in doubt, which may be carried out after
    /// this one, nor if a fill has delivered another value.
    pub(crate) fn finish(&self, issued: Option<&Secret>, change: impl FnOnce(bool)) {
        self.flights.with_in_flight(&self.workspace, |in_flight| {
            let is_latest = in_flight.issue.take().is_some_and(|id| id.is(&self.id));
            // A delivered absence may be newer than the issued value, as any delivered value may.
            let tells_the_same = in_flight.has_delivered_only(issued);
            let may_store = is_latest && in_flight.writers == 1 && tells_the_same;
            // Any statement that is sent from now on reads something newer than what was delivered.
            in_flight.delivered = Delivered::Nothing;
            in_flight.fill = None;
            change(may_store);
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The write lock goes first: while a writer is counted, the workspace keeps the same lock for all
        // issues.
        self.held = None;
        self.flights.with_in_flight(&self.workspace, |in_flight| in_flight.writers -= 1);
    }
}

/// Locks a stripe. A panic under its lock leaves maps that are still whole: each operation is complete or not
/// begun.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
