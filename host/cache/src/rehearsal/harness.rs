//! The harness of a rehearsal: a whole cache around the candidate, with a clock and a database that the
//! scenario moves.
//!
//! Everything that the scenario does goes through here, so that no call can fault, and no budget be used up,
//! without the rehearsal ending there and then with the name of the step.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::bisect::{median, nanos_while};
use super::check::Verdict;
use super::database::RehearsalDatabase;
use super::refused;
use crate::admission::Admission;
use crate::core::Core;
use crate::flight::Flights;
use crate::lease::{Ceilings, Cover, Generation, Lease, Moment};
use crate::policy::call::Shortage;
use crate::policy::rollout::Rollout;
use crate::policy::runtime::pool::Loaded;
use crate::reread::Rereads;
use crate::statements::Statements;
use crate::stats::Counters;
use crate::table::{Entry, Snapshot, Table};
use crate::{Clock, Error, Lookup, ManualClock, Secret, SecretCache, Stage, SwapError, WorkspaceId};

/// Maximum processor time of all calls together. Those of the shipped policies take a hundredth of it.
const BUDGET: Duration = Duration::from_secs(1);
/// Timeout of statements. The database answers at once, so that only a machine that stands still reaches it.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(60);
/// Capacity of the cache: more than the scenario has workspaces.
const CAPACITY: usize = 10_000;
/// Time at which the clock begins: that of a machine that has run for a day.
const UPTIME: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Harness {
    pub(super) clock: Arc<ManualClock>,
    pub(super) database: Arc<RehearsalDatabase>,
    pub(super) ceilings: Ceilings,
    core: Arc<Core>,
    cache: SecretCache,
    candidate: Arc<Loaded>,
    step: Cow<'static, str>,
    workspaces: u32,
    /// Number of issues whose outcome is unknown: they stay in flight for as long as the rehearsal lasts.
    in_doubt: usize,
    spent: Duration,
    costs: Vec<Duration>,
    memory_bytes: usize,
}

impl Harness {
    /// Builds the harness. To be called on the rehearsal's own runtime.
    pub(super) fn open(candidate: Arc<Loaded>, ceilings: Ceilings) -> Self {
        let clock = Arc::new(ManualClock::new());
        clock.advance(UPTIME);
        let database = Arc::new(RehearsalDatabase::default());
        let counters = Arc::new(Counters::default());
        let core = Arc::new(Core {
            table: Table::new(CAPACITY),
            flights: Arc::new(Flights::new()),
            rollout: Rollout::fixed(Arc::clone(&candidate), clock.clone()),
            clock: clock.clone(),
            statements: Arc::new(Statements::new(
                database.clone(),
                clock.clone(),
                Arc::clone(&counters),
                DATABASE_TIMEOUT,
                1,
            )),
            counters,
            ceilings,
            reading: Admission::new(1, 1),
            answered: Admission::new(1, 0),
            writing: Admission::new(1, 1),
            rereads: Rereads::default(),
        });
        // Weakly: the cache holds the database.
        let weak = Arc::downgrade(&core);
        database.observe(Box::new(move |workspace| SecretCache::around(weak.upgrade()?).get(workspace)));
        Self {
            clock,
            database,
            ceilings,
            cache: SecretCache::around(Arc::clone(&core)),
            core,
            candidate,
            step: "".into(),
            workspaces: 0,
            in_doubt: 0,
            spent: Duration::ZERO,
            costs: Vec::new(),
            memory_bytes: 0,
        }
    }

    /// Names the next step, for the message if it fails.
    pub(super) fn step(&mut self, name: impl Into<Cow<'static, str>>) {
        self.step = name.into();
    }

    /// Ends the rehearsal if a rule was broken.
    pub(super) fn hold<T>(&self, verdict: Verdict<T>) -> Result<T, SwapError> {
        verdict.map_err(|reason| refused(format!("{}: {reason}", self.step)))
    }

    /// Returns a workspace that the database does not know, and that no request was about.
    pub(super) fn workspace(&mut self) -> Result<WorkspaceId, SwapError> {
        self.workspaces += 1;
        let id = WorkspaceId::new(format!("rehearsal-{:04}", self.workspaces));
        self.hold(id.map_err(|error| error.to_string()))
    }

    /// Returns a workspace with a secret in the database.
    pub(super) fn present(&mut self) -> Result<(WorkspaceId, Secret), SwapError> {
        let workspace = self.workspace()?;
        let secret = self.database.store(&workspace);
        Ok((workspace, secret))
    }

    pub(super) async fn read(&mut self, workspace: &WorkspaceId) -> Result<Result<Lookup, Error>, SwapError> {
        let calls = self.calls();
        let outcome = self.cache.read(workspace).await;
        self.account(calls).await?;
        Ok(outcome)
    }

    pub(super) async fn issue(
        &mut self,
        workspace: &WorkspaceId,
    ) -> Result<Result<Secret, Error>, SwapError> {
        let calls = self.calls();
        let outcome = self.cache.issue(workspace).await;
        self.in_doubt += usize::from(matches!(outcome, Err(Error::OutcomeUnknown(_))));
        self.account(calls).await?;
        Ok(outcome)
    }

    pub(super) async fn read_or_issue(
        &mut self,
        workspace: &WorkspaceId,
    ) -> Result<Result<Lookup, Error>, SwapError> {
        let calls = self.calls();
        let outcome = self.cache.read_or_issue(workspace).await;
        self.account(calls).await?;
        Ok(outcome)
    }

    /// Heals as [`read_or_issue`](Self::read_or_issue) does after its read found no secret, whatever is kept.
    pub(super) async fn heal(&mut self, workspace: &WorkspaceId) -> Result<Result<Lookup, Error>, SwapError> {
        let calls = self.calls();
        let outcome = self.cache.heal(workspace).await;
        self.in_doubt += usize::from(matches!(outcome, Err(Error::OutcomeUnknown(_))));
        self.account(calls).await?;
        Ok(outcome)
    }

    /// Stores what an earlier policy would have put just now under this lease, lowered to the ceilings.
    pub(super) fn keep(&self, workspace: &WorkspaceId, value: Option<Secret>, lease: Lease) {
        let obtained_at = self.clock.now().rounded();
        let lease = lease.lowered(&self.ceilings, obtained_at, value.is_some());
        let earlier = Generation::new(self.core.rollout.generation().number() - 1);
        self.core.table.store(workspace, Entry::new(Snapshot { value, obtained_at, lease }, earlier));
    }

    /// Drops the entry of a workspace.
    pub(super) fn forget(&self, workspace: &WorkspaceId) {
        self.cache.remove(workspace);
    }

    /// Returns the time from now on for which a read is a hit, if no hit asks for a refresh, and the time
    /// before the end of that from which a hit does.
    pub(super) fn life(&self, workspace: &WorkspaceId) -> (Duration, Duration) {
        let now = self.clock.now();
        let generation = self.core.rollout.generation();
        let cover = |after| {
            let moment = Moment { generation, now: now.saturating_add(after), watched: || false };
            self.core.table.cover(workspace, moment)
        };
        // By the ceilings no lease reaches any further.
        let ceiling = self.ceilings.max_fresh.max(self.ceilings.max_absent);
        let life = nanos_while(ceiling, |after| cover(after) != Cover::Expired);
        let quiet = nanos_while(life, |after| cover(after) == Cover::Hit);
        // The moment after which it asks is the last one at which it does not.
        let asks_after = if quiet < life { quiet.saturating_sub(Duration::from_nanos(1)) } else { life };
        (life, life - asks_after)
    }

    /// Returns the number of calls of the policy.
    pub(super) fn calls(&self) -> u64 {
        self.core.counters.policy_calls.load(Ordering::Relaxed)
    }

    /// Returns the median processor time of a call, and the memory of the instance that made the last one.
    pub(super) fn costs(self) -> (Duration, usize) {
        (median(self.costs), self.memory_bytes)
    }

    /// Ends every step: waits until nothing is in flight any more, and checks that no call was at fault and
    /// that there is budget left.
    async fn account(&mut self, calls: u64) -> Result<(), SwapError> {
        // A request that waits for this processor gets it now, and not only at the end of this thread's time
        // slice.
        thread::yield_now();
        // An issue, and a refresh in the background, end a little later than their result is delivered.
        while self.core.flights.len() > self.in_doubt {
            tokio::task::yield_now().await;
        }
        if let Some(Shortage(reason)) = self.candidate.first_shortage.get() {
            return Err(SwapError::new(Stage::Host, format!("{}: {reason}", self.step)));
        }
        if let Some(fault) = self.candidate.first_fault.get() {
            return self.hold(Err(format!("the call failed: {}", fault.0)));
        }
        if self.calls() > calls
            && let Some((cost, memory_bytes)) = self.candidate.last_call()
        {
            self.spent += cost;
            self.costs.push(cost);
            self.memory_bytes = memory_bytes;
        }
        if self.spent > BUDGET {
            let calls = self.calls();
            let reason = format!("its {calls} calls so far have used more than {BUDGET:?} of processor time");
            return self.hold(Err(reason));
        }
        Ok(())
    }
}
