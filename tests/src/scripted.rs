//! A database in memory that a test steers: it fails, waits or loses its answer on request.
//!
//! It keeps the contract of `leasehold::Database` and no more. The same suite that runs against SQLite and
//! PostgreSQL runs against it, so that what is shown with it is not a property of the fake.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use leasehold::{Answer, Database, DatabaseError, IssueMode, Secret, WorkspaceId};
use tokio::sync::watch;

use crate::MAX_WAIT;

/// A handle of the database; clones share its rows.
#[derive(Clone)]
pub struct Scripted(Arc<State>);

struct State {
    rows: Mutex<HashMap<String, Option<String>>>,
    fault: Mutex<Option<Fault>>,
    /// Gates, closed while statements of their kind have to wait before they are carried out, or before their
    /// answer is sent.
    gates: [watch::Sender<bool>; 4],
    selects: AtomicU64,
    issues: AtomicU64,
    arrived: watch::Sender<u64>,
    /// Number of turns of the scheduler that a statement takes.
    turns: AtomicU64,
    in_flight: AtomicU64,
    peak: AtomicU64,
}

/// A statement from when it is sent until its answer arrives or no task waits for it any more.
struct UnderWay<'a>(&'a State);

/// The fault that every statement meets from now on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The statement is refused, and changes nothing.
    Fails(DatabaseError),
    /// The statement is carried out, and the answer is lost.
    LosesAnswer,
}

/// The places where a statement can be held up.
#[derive(Clone, Copy, Debug)]
pub enum Gate {
    /// The place before a SELECT has read the row.
    BeforeSelect = 0,
    /// The place after a SELECT has read the row, before its answer arrives.
    AfterSelect = 1,
    /// The place before an issue has changed the row.
    BeforeIssue = 2,
    /// The place after an issue has changed the row, before its answer arrives.
    AfterIssue = 3,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// Creates a database without rows that carries out every statement.
    pub fn new() -> Self {
        let gates = std::array::from_fn(|_| watch::channel(true).0);
        Self(Arc::new(State {
            rows: Mutex::default(),
            fault: Mutex::default(),
            gates,
            selects: AtomicU64::new(0),
            issues: AtomicU64::new(0),
            arrived: watch::channel(0).0,
            turns: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }))
    }

    /// Writes a row as another process would; `None` is NULL.
    pub fn store(&self, workspace: &str, secret: Option<&str>) {
        self.0.rows.lock().unwrap().insert(workspace.to_string(), secret.map(str::to_string));
    }

    /// Deletes a row as another process would.
    pub fn delete(&self, workspace: &str) {
        self.0.rows.lock().unwrap().remove(workspace);
    }

    /// Returns what is stored.
    pub fn stored(&self, workspace: &str) -> Option<String> {
        self.0.rows.lock().unwrap().get(workspace).cloned().flatten()
    }

    /// Sets the fault that every statement meets from now on.
    pub fn fault(&self, fault: Option<Fault>) {
        *self.0.fault.lock().unwrap() = fault;
    }

    /// Holds statements up at a gate.
    pub fn close(&self, gate: Gate) {
        self.0.gates[gate as usize].send_replace(false);
    }

    /// Lets them go on.
    pub fn open(&self, gate: Gate) {
        self.0.gates[gate as usize].send_replace(true);
    }

    /// Waits until `count` statements in all have arrived at a closed gate.
    pub async fn arrivals(&self, count: u64) {
        let mut arrived = self.0.arrived.subscribe();
        let arrival = tokio::time::timeout(MAX_WAIT, arrived.wait_for(|arrived| *arrived >= count)).await;
        assert!(
            matches!(arrival, Ok(Ok(_))),
            "expected {count} statements at a closed gate, got {}",
            self.arrived()
        );
    }

    /// Returns how many statements have arrived at a closed gate so far.
    pub fn arrived(&self) -> u64 {
        *self.0.arrived.borrow()
    }

    /// Returns the number of SELECTs.
    pub fn selects(&self) -> u64 {
        self.0.selects.load(Ordering::SeqCst)
    }

    /// Returns the number of issues.
    pub fn issues(&self) -> u64 {
        self.0.issues.load(Ordering::SeqCst)
    }

    /// Makes every statement take so many turns of the scheduler, so that other tasks begin meanwhile.
    pub fn take_turns(&self, turns: u64) {
        self.0.turns.store(turns, Ordering::SeqCst);
    }

    /// Returns the greatest number of statements that were in flight at once.
    pub fn peak(&self) -> u64 {
        self.0.peak.load(Ordering::SeqCst)
    }

    async fn begin(&self) -> UnderWay<'_> {
        let in_flight = self.0.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.peak.fetch_max(in_flight, Ordering::SeqCst);
        let statement = UnderWay(&self.0);
        for _ in 0..self.0.turns.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        statement
    }

    async fn pass(&self, gate: Gate) {
        let mut open = self.0.gates[gate as usize].subscribe();
        if !*open.borrow() {
            self.0.arrived.send_modify(|arrived| *arrived += 1);
        }
        open.wait_for(|open| *open).await.expect("the sender is ours");
    }

    fn refusal(&self) -> Result<bool, DatabaseError> {
        match &*self.0.fault.lock().unwrap() {
            Some(Fault::Fails(error)) => Err(error.clone()),
            Some(Fault::LosesAnswer) => Ok(true),
            None => Ok(false),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lost() -> DatabaseError {
    DatabaseError::Lost("the answer was lost".into())
}

impl Database for Scripted {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            self.0.selects.fetch_add(1, Ordering::SeqCst);
            let _statement = self.begin().await;
            self.pass(Gate::BeforeSelect).await;
            let loses_answer = self.refusal()?;
            let found = self.stored(workspace.as_str()).filter(|secret| !secret.is_empty());
            self.pass(Gate::AfterSelect).await;
            if loses_answer { Err(lost()) } else { Ok(found.map(|secret| Secret::new(&secret))) }
        })
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            self.0.issues.fetch_add(1, Ordering::SeqCst);
            let _statement = self.begin().await;
            self.pass(Gate::BeforeIssue).await;
            let loses_answer = self.refusal()?;
            let issued = {
                let mut rows = self.0.rows.lock().unwrap();
                let row = rows.get_mut(workspace.as_str()).ok_or(DatabaseError::UnknownWorkspace)?;
                let stored = row.as_ref().filter(|secret| mode == IssueMode::Heal && !secret.is_empty());
                let issued = stored.map_or(minted, |stored| Secret::new(stored));
                *row = issued.expose_str().map(str::to_string);
                issued
            };
            self.pass(Gate::AfterIssue).await;
            if loses_answer { Err(lost()) } else { Ok(issued) }
        })
    }

    fn statements(&self) -> u64 {
        self.selects() + self.issues()
    }
}
