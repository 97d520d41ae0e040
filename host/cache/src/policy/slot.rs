//! The active policy: which one it is, since when, and how it is replaced.
//!
//! One policy decides each read: whoever misses takes the active policy and its generation together, in one step. A hit
//! looks at the generation alone. An operator replaces a policy by a swap or a rollback; the breaker replaces one that
//! fails. All end in `install`, under the lock of the history.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tracing::{error, info, warn};

use super::Policy;
use super::active::{ActiveCell, Generational};
use super::breaker::{Breaker, Reading};
use super::call::Fault;
use super::history::History;
use super::pool::{Loaded, compile};
use super::report::{BreakerStatus, Cause, PolicyStatus, Stage, SwapError, SwapRecord, SwapReport, Trip};
use crate::Clock;
use crate::lease::Generation;

/// A policy with the generation under which it is active, or was.
pub(crate) type Active = Generational<Tenure>;

/// A policy that is active, or was, and since when.
pub(crate) struct Tenure {
    pub(crate) loaded: Arc<Loaded>,
    since: SystemTime,
}

pub(crate) struct Slot {
    active: ActiveCell<Tenure>,
    /// What serves when every policy that an operator chose has failed.
    builtin: Arc<Loaded>,
    clock: Arc<dyn Clock>,
    cpu_limit: Duration,
    /// One policy is compiled and configured at a time. Neither a rollback nor the breaker waits for it.
    loading: AsyncMutex<()>,
    history: Mutex<History>,
}

impl Slot {
    /// Loads the first policy, and the one that needs no operator.
    pub(crate) async fn new(
        policy: Policy,
        builtin: Policy,
        cpu_limit: Duration,
        breaker: Breaker,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SwapError> {
        let component = compile(&policy, &[]).await?;
        let loaded = Arc::new(Loaded::new(policy, component, cpu_limit).await?);
        let builtin = if loaded.policy.is(&builtin) {
            Arc::clone(&loaded)
        } else {
            let component = compile(&builtin, &[Arc::clone(&loaded)]).await?;
            let builtin = Loaded::new(builtin, component, cpu_limit).await?;
            builtin.retire();
            Arc::new(builtin)
        };
        let now = clock.wall();
        let active = ActiveCell::new(Tenure { loaded: Arc::clone(&loaded), since: now });
        let mut history = History::new(breaker);
        history.record(SwapRecord::new(now, &loaded, Cause::Start, Ok(active.generation().number())));
        Ok(Self {
            active,
            builtin,
            clock,
            cpu_limit,
            loading: AsyncMutex::default(),
            history: Mutex::new(history),
        })
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
                history.trip = None;
                let report = self.install(&mut history, &loaded, Cause::Swap, stages, entries);
                drop(history);
                announce(&report);
                Ok(report)
            }
            Err(error) => {
                warn!(digest, %error, "a policy was refused; the active one serves on");
                let (at, outcome) = (self.clock.wall(), Err(error.clone()));
                let record = SwapRecord { at, digest, policy: None, cause: Cause::Swap, outcome };
                self.history().record(record);
                Err(error)
            }
        }
    }

    /// Goes back to the policy that was active before this one. It waits for nothing, least of all for a compiler.
    pub(crate) fn rollback(&self, entries: u64) -> Result<SwapReport, SwapError> {
        let mut history = self.history();
        let previous = history.take_previous();
        let previous = previous
            .ok_or_else(|| SwapError::new(Stage::Rollback, "there is no earlier policy to go back to"))?;
        history.trip = None;
        let report = self.install(&mut history, &previous.value.loaded, Cause::Rollback, Vec::new(), entries);
        drop(history);
        announce(&report);
        Ok(report)
    }

    /// Notes that a call of this policy failed. Says whether that was one too many, so that another one is active now.
    pub(crate) fn note_fault(&self, active: &Active, fault: &Fault) -> bool {
        let mut history = self.history();
        // A late call of a policy that is no longer active says nothing about the one that is.
        if active.generation != self.generation() || history.breaker.note(self.clock.now()) == Reading::Closed
        {
            return false;
        }
        let failed = &active.value.loaded;
        let Some(fallback) = self.fallback(&mut history, failed) else {
            drop(history);
            error!(policy = failed.full_name(), fault = fault.0, "the built-in policy keeps failing");
            return false;
        };
        history.trip = Some(Trip {
            at: self.clock.wall(),
            generation: active.generation.number(),
            digest: failed.policy.digest().to_owned(),
            policy: failed.full_name(),
            reason: fault.0.clone(),
        });
        let report = self.install(&mut history, &fallback, Cause::Breaker, Vec::new(), 0);
        drop(history);
        error!(
            failed = failed.full_name(),
            failed_digest = failed.policy.digest(),
            fault = fault.0,
            "the policy failed too often and was replaced"
        );
        announce(&report);
        true
    }

    /// What the operator is shown.
    pub(crate) fn status(&self) -> PolicyStatus {
        let mut history = self.history();
        let active = self.active();
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
            breaker: BreakerStatus {
                faults: history.breaker.recent(self.clock.now()),
                limit: history.breaker.limit(),
                window: history.breaker.window(),
                trip: history.trip.clone(),
            },
            last_good: history.previous().last().map(|previous| {
                let outcome = Ok(previous.generation.number());
                SwapRecord::new(previous.value.since, &previous.value.loaded, Cause::Swap, outcome)
            }),
            recent: history.records(),
        }
    }

    /// The last good policy, or the built-in one; nothing if that is the one that failed.
    fn fallback(&self, history: &mut History, failed: &Loaded) -> Option<Arc<Loaded>> {
        history.forget(failed);
        let previous = history.take_previous().map(|previous| Arc::clone(&previous.value.loaded));
        previous.or_else(|| (!failed.policy.is(&self.builtin.policy)).then(|| Arc::clone(&self.builtin)))
    }

    async fn load(&self, policy: Policy) -> Result<(Arc<Loaded>, Vec<(Stage, Duration)>), SwapError> {
        let known: Vec<Arc<Loaded>> = {
            let history = self.history();
            let previous = history.previous().iter().map(|previous| Arc::clone(&previous.value.loaded));
            previous.chain([Arc::clone(&self.active().value.loaded), Arc::clone(&self.builtin)]).collect()
        };
        let started = self.clock.now();
        let component = compile(&policy, &known).await?;
        let compiled = self.clock.now();
        let loaded = Loaded::new(policy, component, self.cpu_limit).await?;
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
        cause: Cause,
        stages: Vec<(Stage, Duration)>,
        entries: u64,
    ) -> SwapReport {
        let (replaced, since) = (self.active(), self.clock.wall());
        loaded.revive();
        history.breaker.reset();
        let generation = self.active.replace(Tenure { loaded: Arc::clone(loaded), since });
        if !Arc::ptr_eq(&replaced.value.loaded, loaded) {
            replaced.value.loaded.retire();
        }
        history.record(SwapRecord::new(since, loaded, cause, Ok(generation.number())));
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
