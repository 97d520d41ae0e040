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
use super::gate::Gate;
use super::history::{History, Observer};
use super::loader::{Loader, Stages};
use super::pool::{CallTerms, Loaded};
use super::probation::{Probation, Trial, Usage, rate};
use super::report::{BreakerStatus, Cause, PolicyStatus, Stage, SwapError, SwapRecord, SwapReport, Trip};
use crate::lease::{Ceilings, Generation};
use crate::stats::Counters;
use crate::{Clock, Instant, Standing};

/// A policy with the generation under which it is active, or was.
pub(crate) type Active = Generational<Tenure>;

/// A policy that is active, or was, and since when.
pub(crate) struct Tenure {
    pub(crate) loaded: Arc<Loaded>,
    since: SystemTime,
    began: Instant,
    /// What had been used by then.
    at_begin: Usage,
}

impl Tenure {
    /// Of a policy that begins with the cache.
    fn first(loaded: &Arc<Loaded>, clock: &dyn Clock) -> Self {
        let (since, began) = (clock.wall(), clock.now());
        Self { loaded: Arc::clone(loaded), since, began, at_begin: Usage::default() }
    }
}

pub(crate) struct Slot {
    active: ActiveCell<Tenure>,
    /// What serves when every policy that an operator chose has failed.
    builtin: Arc<Loaded>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    loader: Loader,
    probation: Probation,
    /// One policy is compiled and configured at a time. Neither a rollback nor the breaker waits for it.
    loading: AsyncMutex<()>,
    history: Mutex<History>,
}

/// What a slot is made with, beside its policies.
pub(crate) struct Terms {
    pub(crate) gate: Gate,
    pub(crate) calls: CallTerms,
    /// The ceilings for rehearsals, if there are to be any.
    pub(crate) rehearsal: Option<Ceilings>,
    pub(crate) breaker: Breaker,
    pub(crate) probation: Probation,
    /// Whether the first policy is still to prove itself.
    pub(crate) first_on_probation: bool,
    pub(crate) observer: Option<Observer>,
}

/// What is to become active, and why.
struct Switch<'a> {
    loaded: &'a Arc<Loaded>,
    cause: Cause,
    by: &'a str,
    reason: Option<String>,
    stages: Stages,
    entries: u64,
    /// SELECTs per second under the policy that it replaces.
    loads_before: Option<f64>,
}

impl Slot {
    /// Loads the first policy, the one that needs no operator, and those to go back to, the latest last.
    pub(crate) async fn new(
        policy: Policy,
        builtin: Policy,
        previous: Vec<Standing>,
        terms: Terms,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Self, SwapError> {
        let loader = Loader {
            gate: Arc::new(terms.gate),
            clock: Arc::clone(&clock),
            calls: terms.calls,
            rehearsal: terms.rehearsal,
        };
        let (loaded, _) = loader.load(policy, &[], None).await?;
        loaded.set_proven(!terms.first_on_probation);
        let builtin = if loaded.policy.is(&builtin) {
            Arc::clone(&loaded)
        } else {
            let (builtin, _) = loader.load(builtin, &[Arc::clone(&loaded)], None).await?;
            builtin.set_proven(true);
            builtin.retire();
            builtin
        };
        let mut history = History::new(terms.breaker, terms.observer);
        for Standing { policy, proven } in previous {
            let digest = policy.digest().to_owned();
            match loader.load(policy, &[Arc::clone(&loaded), Arc::clone(&builtin)], None).await {
                Ok((previous, _)) => {
                    previous.set_proven(proven);
                    previous.retire();
                    // From before there were generations here.
                    let value = Tenure::first(&previous, &*clock);
                    history.remember(Arc::new(Active { generation: Generation::new(0), value }));
                }
                Err(error) => warn!(digest, %error, "a policy to go back to cannot be loaded any more"),
            }
        }
        loader.gate.note_active(loaded.policy.signed_by());
        loader.gate.note_started();
        let slot = Self {
            active: ActiveCell::new(Tenure::first(&loaded, &*clock)),
            builtin,
            clock,
            counters,
            loader,
            probation: terms.probation,
            loading: AsyncMutex::default(),
            history: Mutex::new(history),
        };
        let (at, generation) = (slot.clock.wall(), slot.generation().number());
        let record = SwapRecord::new(at, &loaded, Cause::Start, Ok(generation));
        let mut history = slot.history();
        slot.put_on_trial(&mut history, &loaded, None);
        history.record(record, &loaded, slot.loader.gate.highest_revision());
        drop(history);
        Ok(slot)
    }

    /// A slot that nothing replaces the policy of: for a rehearsal.
    pub(super) fn fixed(loaded: Arc<Loaded>, clock: Arc<dyn Clock>) -> Self {
        let history = History::new(Breaker::new(u32::MAX, Duration::ZERO), None);
        Self {
            active: ActiveCell::new(Tenure::first(&loaded, &*clock)),
            loader: Loader {
                gate: Arc::default(),
                clock: Arc::clone(&clock),
                calls: loaded.terms(),
                rehearsal: None,
            },
            builtin: loaded,
            clock,
            counters: Arc::default(),
            probation: Probation::NONE,
            loading: AsyncMutex::default(),
            history: Mutex::new(history),
        }
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
    pub(crate) async fn swap(&self, policy: Policy, by: &str, entries: u64) -> Result<SwapReport, SwapError> {
        let _one = self.loading.lock().await;
        self.swap_in_turn(policy, None, by, entries).await
    }

    /// The same for the active policy with these settings over its own. What that is is looked up when its turn has come.
    pub(crate) async fn reconfigure(
        &self,
        settings: Vec<(String, String)>,
        by: &str,
        entries: u64,
    ) -> Result<SwapReport, SwapError> {
        let _one = self.loading.lock().await;
        let active = self.active();
        let policy = active.value.loaded.policy.clone();
        let policy = settings.into_iter().fold(policy, |policy, (name, value)| policy.setting(name, value));
        self.swap_in_turn(policy, Some(active.generation), by, entries).await
    }

    /// `only_over`: the swap is refused if another generation has become active meanwhile.
    async fn swap_in_turn(
        &self,
        policy: Policy,
        only_over: Option<Generation>,
        by: &str,
        entries: u64,
    ) -> Result<SwapReport, SwapError> {
        let (digest, forced) = (policy.digest().to_owned(), policy.is_forced());
        let settings = policy.settings().to_vec();
        let active = only_over.map(|_| digest.clone());
        let loaded = self.loader.load(policy, &self.known(), active.as_deref()).await;
        let mut history = self.history();
        let active = self.active();
        let loaded = loaded.and_then(|loaded| match only_over {
            Some(generation) if generation != active.generation => {
                let reason =
                    "another policy became active meanwhile; ask again if it is to have these settings";
                Err(SwapError::new(Stage::Configure, reason))
            }
            _ => Ok(loaded),
        });
        match loaded {
            Ok((loaded, stages)) => {
                let began = active.value.began;
                let selects = self.usage(&loaded).selects.saturating_sub(active.value.at_begin.selects);
                let loads_before = rate(began, self.clock.now(), selects);
                // The same policy again is nothing to go back to.
                if active.value.loaded.policy.digest() != loaded.policy.digest()
                    || active.value.loaded.settings() != loaded.settings()
                {
                    history.remember(active);
                }
                history.trip = None;
                self.loader.gate.note_active(loaded.policy.signed_by());
                let cause = Cause::Swap;
                let switch =
                    Switch { loaded: &loaded, cause, by, reason: None, stages, entries, loads_before };
                let report = self.install(&mut history, switch);
                drop(history);
                announce(&report);
                Ok(report)
            }
            Err(error) => {
                warn!(digest, by, %error, "a policy was refused; the active one serves on");
                let record = SwapRecord {
                    at: self.clock.wall(),
                    by: by.to_owned(),
                    digest,
                    policy: None,
                    settings,
                    cause: Cause::Swap,
                    reason: None,
                    signed: None,
                    forced,
                    card: None,
                    outcome: Err(error.clone()),
                };
                history.record(record, &active.value.loaded, self.loader.gate.highest_revision());
                Err(error)
            }
        }
    }

    /// Goes back to the policy that was active before this one. It waits for nothing, least of all for a compiler.
    pub(crate) fn rollback(&self, by: &str, entries: u64) -> Result<SwapReport, SwapError> {
        let mut history = self.history();
        let previous = history.take_previous();
        let previous = previous
            .ok_or_else(|| SwapError::new(Stage::Rollback, "there is no earlier policy to go back to"))?;
        history.trip = None;
        let (loaded, cause) = (&previous.value.loaded, Cause::Rollback);
        let (stages, loads_before) = (Vec::new(), None);
        let switch = Switch { loaded, cause, by, reason: None, stages, entries, loads_before };
        let report = self.install(&mut history, switch);
        drop(history);
        announce(&report);
        Ok(report)
    }

    /// Notes that a call of this policy failed. Says whether that was one too many, so that another one is active now.
    pub(crate) fn note_fault(&self, active: &Active, fault: &Fault) -> Option<Cause> {
        let mut history = self.history();
        // A late call of a policy that is no longer active says nothing about the one that is.
        if active.generation != self.generation() {
            return None;
        }
        let now = self.clock.now();
        if history.breaker.note(now) == Reading::Trips {
            return self.replace_failed(history, active, Cause::Breaker, fault.0.clone());
        }
        let trial = history.trial.as_mut().filter(|trial| !trial.is_over(&self.probation, now));
        let reason = trial.and_then(|trial| trial.note_fault(&self.probation, &fault.0))?;
        self.replace_failed(history, active, Cause::Probation, reason)
    }

    /// Looks at the budgets of a policy on probation; to be called now and then. Says whether another one is active now.
    pub(crate) fn supervise(&self) -> Option<Cause> {
        let mut history = self.history();
        let (active, now) = (self.active(), self.clock.now());
        let trial = history.trial.as_ref()?;
        if trial.is_over(&self.probation, now) {
            history.trial = None;
            active.value.loaded.set_proven(true);
            drop(history);
            info!(policy = active.value.loaded.full_name(), "the policy's probation is over");
            return None;
        }
        let reason = trial.judge(&self.probation, now, self.usage(&active.value.loaded))?;
        self.replace_failed(history, &active, Cause::Probation, reason)
    }

    /// Makes the last good policy active in place of one that failed, or the built-in one.
    fn replace_failed(
        &self,
        mut history: MutexGuard<'_, History>,
        active: &Active,
        cause: Cause,
        reason: String,
    ) -> Option<Cause> {
        let failed = &active.value.loaded;
        history.trial = None;
        let Some(fallback) = self.fallback(&mut history, failed) else {
            drop(history);
            error!(policy = failed.full_name(), reason, "the built-in policy keeps failing");
            return None;
        };
        history.trip = Some(Trip {
            at: self.clock.wall(),
            cause,
            generation: active.generation.number(),
            digest: failed.policy.digest().to_owned(),
            policy: failed.full_name(),
            reason: reason.clone(),
        });
        let (loaded, told) = (&fallback, Some(reason.clone()));
        let (stages, loads_before) = (Vec::new(), None);
        let switch = Switch { loaded, cause, by: "", reason: told, stages, entries: 0, loads_before };
        let report = self.install(&mut history, switch);
        drop(history);
        error!(
            failed = failed.full_name(),
            failed_digest = failed.policy.digest(),
            cause = cause.as_str(),
            reason,
            "the policy failed and was replaced"
        );
        announce(&report);
        Some(cause)
    }

    /// What the operator is shown.
    pub(crate) fn status(&self) -> PolicyStatus {
        let mut history = self.history();
        let (active, now) = (self.active(), self.clock.now());
        let trial = history.trial.as_ref();
        let loaded = &active.value.loaded;
        PolicyStatus {
            generation: active.generation.number(),
            digest: loaded.policy.digest().to_owned(),
            name: loaded.description.name.clone(),
            version: loaded.description.version.clone(),
            summary: loaded.description.summary.clone(),
            settings: loaded.settings(),
            card: loaded.card.get().cloned(),
            since: active.value.since,
            faults: loaded.faults.load(Ordering::Relaxed),
            probation: trial.and_then(|trial| trial.remaining(&self.probation, now)),
            breaker: BreakerStatus {
                faults: history.breaker.recent(now),
                limit: history.breaker.limit(),
                window: history.breaker.window(),
                trip: history.trip.clone(),
            },
            highest_revision: self.loader.gate.highest_revision(),
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
        let previous = history.take_proven().map(|previous| Arc::clone(&previous.value.loaded));
        previous.or_else(|| (!failed.policy.is(&self.builtin.policy)).then(|| Arc::clone(&self.builtin)))
    }

    /// A policy that has still to prove itself is watched from here on.
    fn put_on_trial(&self, history: &mut History, loaded: &Loaded, loads_before: Option<f64>) {
        if self.probation.lasts.is_zero() {
            loaded.set_proven(true);
        } else if !loaded.is_proven() {
            history.trial = Some(Trial::new(self.clock.now(), self.usage(loaded), loads_before));
        }
    }

    fn usage(&self, loaded: &Loaded) -> Usage {
        // Relaxed: numbers that order nothing.
        Usage {
            selects: self.counters.selects.load(Ordering::Relaxed),
            calls: loaded.calls.load(Ordering::Relaxed),
            call_nanos: loaded.call_nanos.load(Ordering::Relaxed),
        }
    }

    /// The policies whose compiled code is at hand.
    fn known(&self) -> Vec<Arc<Loaded>> {
        let history = self.history();
        let previous = history.previous().iter().map(|previous| Arc::clone(&previous.value.loaded));
        previous.chain([Arc::clone(&self.active().value.loaded), Arc::clone(&self.builtin)]).collect()
    }

    /// The moment of the swap. The history's lock makes it one at a time.
    fn install(&self, history: &mut History, switch: Switch<'_>) -> SwapReport {
        let Switch { loaded, cause, by, reason, stages, entries, loads_before } = switch;
        let (replaced, since) = (self.active(), self.clock.wall());
        loaded.revive();
        history.breaker.reset();
        history.trial = None;
        let (loaded, began, at_begin) = (Arc::clone(loaded), self.clock.now(), self.usage(loaded));
        let tenure = Tenure { loaded: Arc::clone(&loaded), since, began, at_begin };
        let generation = self.active.replace(tenure);
        if !Arc::ptr_eq(&replaced.value.loaded, &loaded) {
            replaced.value.loaded.retire();
        }
        let record = SwapRecord::new(since, &loaded, cause, Ok(generation.number()));
        let record = SwapRecord { by: by.to_owned(), reason, ..record };
        self.put_on_trial(history, &loaded, loads_before);
        history.record(record, &loaded, self.loader.gate.highest_revision());
        SwapReport {
            generation: generation.number(),
            replaced: replaced.generation.number(),
            digest: loaded.policy.digest().to_owned(),
            name: loaded.description.name.clone(),
            version: loaded.description.version.clone(),
            settings: loaded.settings(),
            card: loaded.card.get().cloned(),
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
