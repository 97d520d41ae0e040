//! The active policy: which one it is, since when, and how it is replaced.
//!
//! One policy decides each read: whoever misses takes the active policy and its generation together, in one step. A hit
//! looks at the generation alone. The history is for people and for rollback; no decision about a read looks at it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tracing::{info, warn};

use super::active::{ActiveCell, Generational};
use super::pool::{Loaded, compile};
use super::report::{PolicyStatus, Stage, SwapError, SwapRecord, SwapReport};
use super::{Policy, pool};
use crate::Clock;
use crate::lease::Generation;

/// How many swaps and refusals are remembered.
const MAX_RECORDS: usize = 16;
/// How many earlier policies a rollback can go back through.
const MAX_PREVIOUS: usize = 8;

/// A policy with the generation under which it is active, or was.
pub(crate) type Active = Generational<Tenure>;

/// A policy that is active, or was, and since when.
pub(crate) struct Tenure {
    pub(crate) loaded: Arc<Loaded>,
    since: SystemTime,
}

pub(crate) struct Slot {
    active: ActiveCell<Tenure>,
    clock: Arc<dyn Clock>,
    budget_ticks: u32,
    /// One policy is compiled and configured at a time. A rollback does not wait for it.
    loading: AsyncMutex<()>,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    /// Policies that were active before, the latest last.
    previous: Vec<Arc<Active>>,
    /// The latest last.
    records: VecDeque<SwapRecord>,
}

impl Slot {
    /// Loads the first policy. There is no cache without one.
    pub(crate) async fn new(
        policy: Policy,
        cpu_limit: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SwapError> {
        let (budget_ticks, now) = (pool::ticks(cpu_limit), clock.wall());
        let component = compile(&policy, &[]).await?;
        let loaded = Arc::new(Loaded::new(policy, component, budget_ticks).await?);
        let active = ActiveCell::new(Tenure { loaded: Arc::clone(&loaded), since: now });
        let mut history = History::default();
        history.record(SwapRecord::new(now, &loaded, Ok(active.generation().number())));
        Ok(Self { active, clock, budget_ticks, loading: AsyncMutex::default(), history: Mutex::new(history) })
    }

    /// The active policy with its generation.
    pub(crate) fn active(&self) -> Arc<Active> {
        self.active.load()
    }

    /// The active generation.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        self.active.generation()
    }

    /// Checks a policy and makes it active. Until the last step the old one serves, and a refusal changes nothing.
    pub(crate) async fn swap(&self, policy: Policy, entries: u64) -> Result<SwapReport, SwapError> {
        let _one = self.loading.lock().await;
        let digest = policy.digest().to_owned();
        match self.load(policy).await {
            Ok((loaded, stages)) => {
                let mut history = self.history();
                // The same policy again is nothing to go back to.
                let active = self.active();
                if active.value.loaded.policy.digest() != loaded.policy.digest()
                    || active.value.loaded.settings() != loaded.settings()
                {
                    history.remember(active);
                }
                let report = self.install(&mut history, &loaded, stages, entries);
                drop(history);
                announce(&report);
                Ok(report)
            }
            Err(error) => {
                warn!(digest, %error, "a policy was refused; the active one serves on");
                let record =
                    SwapRecord { at: self.clock.wall(), digest, policy: None, outcome: Err(error.clone()) };
                self.history().record(record);
                Err(error)
            }
        }
    }

    /// Goes back to the policy that was active before this one. It waits for nothing, least of all for a compiler.
    pub(crate) fn rollback(&self, entries: u64) -> Result<SwapReport, SwapError> {
        let mut history = self.history();
        let previous = history.previous.pop();
        let previous = previous
            .ok_or_else(|| SwapError::new(Stage::Rollback, "there is no earlier policy to go back to"))?;
        let report = self.install(&mut history, &previous.value.loaded, Vec::new(), entries);
        drop(history);
        announce(&report);
        Ok(report)
    }

    /// What the operator is shown.
    pub(crate) fn status(&self) -> PolicyStatus {
        let active = self.active();
        let history = self.history();
        let loaded = &active.value.loaded;
        PolicyStatus {
            generation: active.generation.number(),
            digest: loaded.policy.digest().to_owned(),
            name: loaded.description.name.clone(),
            version: loaded.description.version.clone(),
            summary: loaded.description.summary.clone(),
            settings: loaded.settings(),
            since: active.value.since,
            faults: loaded.faults.load(Ordering::Relaxed),
            last_good: history.previous.last().map(|previous| {
                SwapRecord::new(
                    previous.value.since,
                    &previous.value.loaded,
                    Ok(previous.generation.number()),
                )
            }),
            recent: history.records.iter().rev().cloned().collect(),
        }
    }

    async fn load(&self, policy: Policy) -> Result<(Arc<Loaded>, Vec<(Stage, Duration)>), SwapError> {
        let known: Vec<Arc<Loaded>> = {
            let history = self.history();
            let previous = history.previous.iter().map(|previous| Arc::clone(&previous.value.loaded));
            previous.chain([Arc::clone(&self.active().value.loaded)]).collect()
        };
        let started = self.clock.now();
        let component = compile(&policy, &known).await?;
        let compiled = self.clock.now();
        let loaded = Loaded::new(policy, component, self.budget_ticks).await?;
        let configured = self.clock.now();
        let stages = vec![
            (Stage::Compile, compiled.saturating_since(started)),
            (Stage::Configure, configured.saturating_since(compiled)),
        ];
        Ok((Arc::new(loaded), stages))
    }

    /// The moment of the swap. The history's lock makes it one at a time.
    fn install(
        &self,
        history: &mut History,
        loaded: &Arc<Loaded>,
        stages: Vec<(Stage, Duration)>,
        entries: u64,
    ) -> SwapReport {
        let (replaced, since) = (self.active(), self.clock.wall());
        loaded.revive();
        let generation = self.active.replace(Tenure { loaded: Arc::clone(loaded), since });
        if !Arc::ptr_eq(&replaced.value.loaded, loaded) {
            replaced.value.loaded.retire();
        }
        history.record(SwapRecord::new(since, loaded, Ok(generation.number())));
        SwapReport {
            generation: generation.number(),
            replaced: replaced.generation.number(),
            digest: loaded.policy.digest().to_owned(),
            name: loaded.description.name.clone(),
            version: loaded.description.version.clone(),
            settings: loaded.settings(),
            entries,
            stages,
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // A panic cannot leave the history half-written: it holds whole records.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announce(report: &SwapReport) {
    let SwapReport { generation, name, version, digest, .. } = report;
    info!(generation, name, version, digest, "a policy became active");
}

impl History {
    fn remember(&mut self, active: Arc<Active>) {
        if self.previous.len() == MAX_PREVIOUS {
            self.previous.remove(0);
        }
        self.previous.push(active);
    }

    fn record(&mut self, record: SwapRecord) {
        if self.records.len() == MAX_RECORDS {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }
}

impl SwapRecord {
    fn new(at: SystemTime, loaded: &Loaded, outcome: Result<u64, SwapError>) -> Self {
        let policy = Some(format!("{} {}", loaded.description.name, loaded.description.version));
        Self { at, digest: loaded.policy.digest().to_owned(), policy, outcome }
    }
}
