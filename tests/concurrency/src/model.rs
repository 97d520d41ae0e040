//! A cache of the product's own parts, over a policy and a database that are a few lines each.
//!
//! What a caller starts, how a read and an issue go on and what they store is the product's `start.rs`,
//! `fill.rs`, `issue.rs` and `core.rs`. Repeated by hand are two compositions of `SecretCache`, which has
//! counters and spans around them: a read is a hit or a flight, and a heal follows a read that found no
//! secret.

mod stamp;

use std::time::Duration;

use shuttle::current::{me, remove_label_for_task, set_label_for_task};
use tracing::Span;

pub(crate) use crate::database::Fate;
pub(crate) use crate::policy::Kind as Policy;
pub(crate) use stamp::Stamp;

use crate::admission::Admission;
use crate::clock::ManualClock;
use crate::core::Core;
use crate::database::Database;
use crate::flight::{FlightKind, Flights};
use crate::lease::{Ceilings, Generation, Lease, Moment};
use crate::policy::rollout::Rollout;
use crate::reread::Rereads;
use crate::start::LoadStart;
use crate::statements::{Runtime, Statements};
use crate::stats::Counters;
use crate::sync::{Arc, Deadline};
use crate::table::{Entry, Snapshot, Table};
use crate::{Clock, Error, Instant, WorkspaceId};

/// The current time of a [`ManualClock`], which stands still: leases that end are the table's own scenarios.
pub(crate) const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Returns the moment of a read under this policy; no channel tells of changes.
pub(crate) fn now(generation: Generation) -> Moment<impl FnOnce() -> bool> {
    Moment { generation, now: NOW, watched: || false }
}

/// Leases are as long as a policy asks for.
const CEILINGS: Ceilings =
    Ceilings { max_fresh: Duration::MAX, max_keep: Duration::MAX, max_absent: Duration::MAX };

/// Permits and places in a queue: more than any scenario has loads.
const ROOM: usize = 100;

pub(crate) struct Model {
    pub(crate) core: Arc<Core>,
    pub(crate) database: Arc<Database>,
    pub(crate) runtime: Runtime,
}

impl Model {
    pub(crate) fn new(policy: Policy) -> Arc<Self> {
        let (database, runtime) = (Arc::<Database>::default(), Runtime::default());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let statements = Statements {
            database: Arc::clone(&database),
            clock: Arc::clone(&clock),
            runtime: runtime.clone(),
        };
        let core = Arc::new(Core {
            table: Table::new(100),
            flights: Arc::new(Flights::new()),
            rollout: Rollout::new(policy),
            clock,
            statements: Arc::new(statements),
            counters: Arc::new(Counters::default()),
            ceilings: CEILINGS,
            reading: Admission::new(ROOM, ROOM),
            answered: Admission::new(ROOM, ROOM),
            writing: Admission::new(ROOM, ROOM),
            rereads: Rereads::default(),
        });
        Arc::new(Self { core, database, runtime })
    }

    /// Returns what a lease covers at this moment: a hit.
    pub(crate) fn covered(&self, workspace: &WorkspaceId) -> Option<Stamp> {
        self.core.covered(workspace, Stamp::of)?.present()
    }

    pub(crate) async fn read(&self, workspace: &WorkspaceId) -> Result<Stamp, Error> {
        match self.core.covered(workspace, Stamp::of) {
            Some(value) => value.present().ok_or(Error::Absent),
            None => self.join_or_lead(workspace, FlightKind::Fill).await,
        }
    }

    pub(crate) async fn read_or_issue(&self, workspace: &WorkspaceId) -> Result<Stamp, Error> {
        match self.read(workspace).await {
            Err(Error::Absent) => self.join_or_lead(workspace, FlightKind::Heal).await,
            answer => answer,
        }
    }

    /// Rotates the secret, by statements with this fate.
    pub(crate) async fn issue(&self, workspace: &WorkspaceId, fate: Fate) -> Result<Stamp, Error> {
        set_label_for_task(me(), fate);
        let outcome = self.core.rotate_in_task(workspace, Span::none()).await;
        remove_label_for_task::<Fate>(me());
        outcome.map(|lookup| Stamp::of(&lookup.secret))
    }

    /// Rotates the secret, with deadlines that may pass at any moment: while it waits for its turn, and while
    /// it waits for the answer.
    pub(crate) async fn issue_with_deadline(&self, workspace: &WorkspaceId) -> Result<Stamp, Error> {
        set_label_for_task(me(), Deadline::AnyMoment);
        let outcome = self.issue(workspace, Fate::Committed).await;
        remove_label_for_task::<Deadline>(me());
        outcome
    }

    pub(crate) fn remove(&self, workspace: &WorkspaceId) {
        self.core.remove(workspace);
    }

    pub(crate) fn reset(&self) {
        self.core.reset();
    }

    /// Makes another policy of the same kind active.
    pub(crate) fn swap(&self) -> Generation {
        self.core.rollout.swap()
    }

    /// Waits until the tasks of the host, and those that they started, have ended.
    pub(crate) async fn settle(&self) {
        self.runtime.settle().await;
    }

    async fn join_or_lead(&self, workspace: &WorkspaceId, kind: FlightKind) -> Result<Stamp, Error> {
        let outcome = match self.core.find_or_start(workspace, kind) {
            LoadStart::InFlight(waiter) => waiter.outcome().await,
            LoadStart::Answered(outcome) => outcome,
        };
        outcome.map(|lookup| Stamp::of(&lookup.secret))
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
    model.core.table.store(workspace, stamp.entry(lease(refresh_after, FAR), Generation::FIRST));
}

/// Returns the id of a workspace.
pub(crate) fn workspace(id: &str) -> WorkspaceId {
    WorkspaceId::new(id).expect("a valid id")
}
