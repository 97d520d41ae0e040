//! The steps of `load.rs` and `cache.rs` around the register, the table and the active cell, without a policy
//! engine.
//!
//! Each function has the order of steps of its original, and its name but for `start`: `Core::{fill, issue,
//! store}` and `SecretCache::{covered, find_or_start, refresh, remove, reset}`. The policy is one of three
//! that matter for interleavings, and the database a row with a version. One thing is asserted here, that
//! issues take turns, because it cannot be seen anywhere else: everything else that must hold is stated in
//! `scenarios/`.

mod database;
mod issue;
mod stamp;

use std::sync::atomic::AtomicBool;

use shuttle::future::{JoinHandle, spawn};

pub(crate) use database::{Database, Fate};
pub(crate) use stamp::Stamp;

use crate::active::ActiveCell;
use crate::flight::{FlightKind, Flights, Join, LeaderGuard, ReadOutcome, Waiter};
use crate::lease::{Generation, Lease, Moment};
use crate::sync::Arc;
use crate::table::{Entry, Found, Snapshot, Table};
use crate::{Error, Instant, Lookup, Status, WorkspaceId};

/// The current time, which stands still: leases that end are the table's own scenarios.
pub(crate) const NOW: Instant = Instant::from_nanos(1_000);

/// Returns the moment of a read under this policy; no channel tells of changes.
pub(crate) fn now(generation: Generation) -> Moment<impl FnOnce() -> bool> {
    Moment { generation, now: NOW, watched: || false }
}

/// The answer of the policy to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The policy answers with a SELECT.
    Selects,
    /// The policy answers with the kept entry under a new lease, where there is one: as after a swap.
    Renews,
    /// The policy answers with a SELECT, and under a lease that asks for a refresh with its first hit.
    Refreshes,
}

pub(crate) struct Model {
    pub(crate) table: Table,
    pub(crate) flights: Arc<Flights>,
    pub(crate) active: ActiveCell<()>,
    pub(crate) database: Arc<Database>,
    policy: Policy,
    /// True while an issue has its turn. A scenario issues for a single workspace.
    in_turn: AtomicBool,
    /// The tasks of the host, to be waited for at the end. The lock is of std: no task is switched away from
    /// under it.
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Model {
    pub(crate) fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            table: Table::new(100),
            flights: Arc::new(Flights::new()),
            active: ActiveCell::new(()),
            database: Arc::default(),
            policy,
            in_turn: AtomicBool::default(),
            tasks: std::sync::Mutex::default(),
        })
    }

    /// Returns what a lease covers at this moment: a hit.
    pub(crate) fn covered(self: &Arc<Self>, workspace: &WorkspaceId) -> Option<Stamp> {
        match self.table.lookup(workspace, || now(self.active.generation()), Stamp::of) {
            Found::Hit(value) => value.present(),
            Found::Refresh(value) => {
                self.refresh(workspace);
                value.present()
            }
            Found::Expired => None,
        }
    }

    pub(crate) async fn read(self: &Arc<Self>, workspace: &WorkspaceId) -> Result<Stamp, Error> {
        match self.covered(workspace) {
            Some(stamp) => Ok(stamp),
            None => self.join_or_lead(workspace, FlightKind::Fill).await,
        }
    }

    pub(crate) async fn read_or_issue(self: &Arc<Self>, workspace: &WorkspaceId) -> Result<Stamp, Error> {
        match self.read(workspace).await {
            Err(Error::Absent) => self.join_or_lead(workspace, FlightKind::Heal).await,
            answer => answer,
        }
    }

    pub(crate) fn remove(&self, workspace: &WorkspaceId) {
        self.flights.void(workspace, || self.table.remove(workspace));
    }

    pub(crate) fn reset(&self) {
        self.flights.void_all(|| self.table.clear());
    }

    /// Waits until the tasks of the host, and those that they started, have ended.
    pub(crate) async fn settle(&self) {
        while let Some(task) = self.pop_task() {
            // A task that was cancelled early has ended.
            let _ = task.await;
        }
    }

    async fn join_or_lead(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        kind: FlightKind,
    ) -> Result<Stamp, Error> {
        let outcome = match self.start(workspace, kind) {
            Ok(waiter) => waiter.outcome().await,
            Err(outcome) => outcome,
        };
        outcome.map(|lookup| Stamp::of(&lookup.secret))
    }

    pub(crate) fn start(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        kind: FlightKind,
    ) -> Result<Waiter, ReadOutcome> {
        let generation = self.active.load().generation;
        let stored = || self.stored(workspace).filter(|outcome| kind == FlightKind::Fill || outcome.is_ok());
        match self.flights.join_or_lead(workspace, kind, generation, stored) {
            Join::Cached(outcome) => Err(outcome),
            Join::Follower(waiter) => Ok(waiter),
            Join::Leader(waiter, leader) => {
                match kind {
                    FlightKind::Fill => self.host(Arc::clone(self).fill(generation, leader)),
                    FlightKind::Heal => self.host(Arc::clone(self).heal(generation, leader)),
                }
                Ok(waiter)
            }
        }
    }

    fn refresh(self: &Arc<Self>, workspace: &WorkspaceId) {
        let generation = self.active.load().generation;
        let join = self.flights.join_or_lead(workspace, FlightKind::Fill, generation, || None);
        if let Join::Leader(_, leader) = join {
            self.host(Arc::clone(self).fill(generation, leader));
        }
    }

    fn stored(&self, workspace: &WorkspaceId) -> Option<ReadOutcome> {
        let value = self.table.peek(workspace, now(self.active.generation()))?.present();
        let hit = |(secret, obtained_at)| Lookup::new(secret, Status::Hit, obtained_at, NOW);
        Some(value.map(hit).ok_or(Error::Absent))
    }

    pub(crate) async fn fill(self: Arc<Self>, generation: Generation, leader: LeaderGuard) {
        let workspace = leader.workspace().clone();
        let snapshot = self.table.snapshot(&workspace, NOW).filter(|_| self.policy == Policy::Renews);
        let version = match snapshot.and_then(|kept| kept.value) {
            Some(secret) => Some(Stamp::of(&secret).version),
            None => self.database.select(&workspace).await,
        };
        let stamp = version.map(|version| Stamp::new(&workspace, version, generation));
        let outcome = stamp.as_ref().map(|stamp| stamp.lookup(Status::Miss)).ok_or(Error::Absent);
        let delivered = stamp.as_ref().map(|stamp| stamp.lookup(Status::Miss).secret);
        leader.complete(outcome, |may_store| {
            if may_store {
                self.store(&workspace, stamp.as_ref(), generation);
            }
            self.table.remove_other(&workspace, delivered.as_ref());
        });
        self.table.evict();
    }

    /// Stores what the policy put, unless that policy is no longer the active one. The caller holds the
    /// stripe's lock.
    pub(crate) fn store(&self, workspace: &WorkspaceId, put: Option<&Stamp>, generation: Generation) {
        if generation != self.active.generation() {
            return;
        }
        if let Some(stamp) = put {
            self.table.store(workspace, stamp.entry(self.lease(), generation));
        }
    }

    fn lease(&self) -> Lease {
        let asks_at_once = self.policy == Policy::Refreshes;
        lease(if asks_at_once { Instant::default() } else { FAR }, FAR)
    }

    /// Runs a task of the host.
    pub(crate) fn host(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = spawn(task);
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
    }

    fn pop_task(&self) -> Option<JoinHandle<()>> {
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop()
    }
}

/// An instant that never comes.
pub(crate) const FAR: Instant = Instant::from_nanos(u64::MAX);

/// Returns a lease that answers until `end`, and asks for a refresh after `refresh_after`.
pub(crate) fn lease(refresh_after: Instant, end: Instant) -> Lease {
    Lease { refresh_after, fresh_until: end, watched_until: end, keep_until: end }
}

impl Stamp {
    pub(crate) fn entry(&self, lease: Lease, generation: Generation) -> Entry {
        Entry::new(Snapshot { value: Some(self.secret()), obtained_at: NOW, lease }, generation)
    }
}

/// Stores the entry of the first version, under a lease that the first policy granted.
pub(crate) fn keep_the_first_version(model: &Model, workspace: &WorkspaceId, refresh_after: Instant) {
    let stamp = Stamp::new(workspace, 1, Generation::FIRST);
    model.table.store(workspace, stamp.entry(lease(refresh_after, FAR), Generation::FIRST));
}

/// Returns the id of a workspace.
pub(crate) fn workspace(id: &str) -> WorkspaceId {
    WorkspaceId::new(id).expect("a valid id")
}
