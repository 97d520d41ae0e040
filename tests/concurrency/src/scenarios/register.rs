//! The register by itself, with one cell in place of the table: small enough for every interleaving.
//!
//! A fill reads and completes, an issue commits and finishes. Whatever the order, what is stored in the end
//! is what the database holds, or nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use crate::flight::{FlightKind, Flights, Join, LeaderGuard, Writer};
use crate::lease::Generation;
use crate::model::{Stamp, workspace};
use crate::sync::{Arc, point};
use crate::{Status, WorkspaceId};

struct Register {
    flights: Arc<Flights>,
    workspace: WorkspaceId,
    /// The content of the database, and that of the cache. Both are of std: each access is made a step where
    /// it matters.
    database: AtomicU64,
    stored: Mutex<Option<u64>>,
}

impl Register {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Arc::new(Flights::new()),
            workspace: workspace("w"),
            database: AtomicU64::new(1),
            stored: Mutex::default(),
        })
    }

    fn lead(&self) -> LeaderGuard {
        let join = self.flights.join_or_lead(&self.workspace, FlightKind::Fill, Generation::FIRST, || None);
        let Join::Leader(_, leader) = join else { panic!("there is no other flight") };
        leader
    }

    /// Reads, and completes the flight with what was read.
    fn fill(&self, leader: LeaderGuard) {
        point();
        let version = self.database.load(Ordering::Relaxed);
        let stamp = Stamp::new(&self.workspace, version, Generation::FIRST);
        leader.complete(Ok(stamp.lookup(Status::Miss)), |may_store| {
            if may_store {
                self.set(Some(version));
            }
        });
    }

    /// Commits, and finishes with what was committed.
    fn issue(&self, writer: Writer) {
        point();
        let version = self.database.fetch_add(1, Ordering::Relaxed) + 1;
        let secret = Stamp::new(&self.workspace, version, Generation::FIRST).lookup(Status::Miss).secret;
        // A fill that has delivered an older version keeps this one from being stored, and nothing worse.
        writer.finish(Some(&secret), |may_store| self.set(may_store.then_some(version)));
    }

    fn set(&self, version: Option<u64>) {
        point();
        *self.stored.lock().expect("nobody panics") = version;
    }

    fn ends_well(&self, others: JoinHandle<()>) {
        others.join().expect("it ends well");
        let stored = *self.stored.lock().expect("nobody panics");
        assert!(stored.is_none_or(|version| version == self.database.load(Ordering::Relaxed)), "{stored:?}");
        assert_eq!(self.flights.len(), 0);
    }
}

/// The fill leads a flight when the issue begins.
pub fn an_issue_begins_during_a_fill() {
    let register = Register::new();
    let leader = register.lead();
    let issues = {
        let register = Arc::clone(&register);
        thread::spawn(move || {
            let mut writer = register.flights.write(&register.workspace);
            block_on(writer.turn());
            register.issue(writer);
        })
    };
    register.fill(leader);
    register.ends_well(issues);
}

/// The issue has its turn when the fill joins the register as a leader.
pub fn a_fill_begins_during_an_issue() {
    let register = Register::new();
    let mut writer = register.flights.write(&register.workspace);
    block_on(writer.turn());
    let issues = {
        let register = Arc::clone(&register);
        thread::spawn(move || register.issue(writer))
    };
    let leader = register.lead();
    register.fill(leader);
    register.ends_well(issues);
}

/// The fill leads a flight when the workspace is removed.
pub fn a_removal_during_a_fill() {
    let register = Register::new();
    let leader = register.lead();
    let removes = {
        let register = Arc::clone(&register);
        thread::spawn(move || {
            point();
            register.database.store(0, Ordering::Relaxed);
            register.flights.void(&register.workspace, || register.set(None));
        })
    };
    register.fill(leader);
    register.ends_well(removes);
}
