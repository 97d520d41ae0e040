//! The active policy: which one it is, since when, and how it is replaced.
//!
//! One policy decides each read: a miss takes the active policy and its generation together, in one step. A
//! hit looks at the generation alone. An operator replaces the policy (`change.rs`), and so does the host
//! where it fails (`failure.rs`).

pub(crate) mod activation;
pub(crate) mod active;
pub(crate) mod breaker;
mod change;
mod failure;
mod history;
pub(crate) mod notices;
pub(crate) mod probation;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tracing::warn;

use self::activation::{Activation, ActivePolicy};
use self::active::ActiveCell;
use self::breaker::Breaker;
use self::history::History;
use self::notices::{Notice, Notices, Observer};
use self::probation::{Probation, Trial, Usage};
use super::Policy;
use super::error::SwapError;
use super::intake::gate::Gate;
use super::intake::{Loader, Rehearsal};
use super::report::{BreakerStatus, Cause, PolicyStatus, SwapRecord};
use super::runtime::pool::{CallLimits, Loaded};
use super::runtime::shortage::Shortages;
use crate::lease::Generation;
use crate::stats::Counters;
use crate::{Clock, RetainedPolicy, Stage};

pub(crate) struct Rollout {
    active: ActiveCell<Activation>,
    /// The policy that serves when every policy that an operator chose has failed.
    builtin: Arc<Loaded>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    loader: Loader,
    probation: Probation,
    /// One policy is compiled and configured at a time. Neither a rollback nor the breaker waits for it.
    loading: AsyncMutex<()>,
    history: Mutex<History>,
    shortages: Shortages,
    notices: Notices,
}

/// Configuration of a rollout, beside its policies.
pub(crate) struct RolloutConfig {
    pub(crate) gate: Gate,
    pub(crate) calls: CallLimits,
    /// `None` if nothing is rehearsed.
    pub(crate) rehearsal: Option<Rehearsal>,
    pub(crate) breaker: Breaker,
    pub(crate) probation: Probation,
    /// `true` if the first policy is still to prove itself.
    pub(crate) first_on_probation: bool,
    pub(crate) observer: Option<Observer>,
}

impl Rollout {
    /// Loads the first policy, the built-in one, which needs no operator, and the ones to go back to, the
    /// latest last.
    pub(crate) async fn new(
        policy: Policy,
        builtin: Policy,
        previous: Vec<RetainedPolicy>,
        config: RolloutConfig,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Self, SwapError> {
        let loader = Loader {
            gate: Arc::new(config.gate),
            clock: Arc::clone(&clock),
            calls: config.calls,
            counters: Arc::clone(&counters),
            rehearsal: config.rehearsal,
        };
        let (loaded, _) = loader.load(policy, None).await?;
        loaded.set_proven(!config.first_on_probation);
        let builtin = if loaded.policy.is(&builtin) {
            Arc::clone(&loaded)
        } else {
            let (builtin, _) = loader.load(builtin, None).await?;
            builtin.set_proven(true);
            builtin.retire();
            builtin
        };
        let mut history = History::new(config.breaker);
        for RetainedPolicy { policy, proven } in previous {
            let digest = policy.digest().to_owned();
            match loader.load(policy, None).await {
                Ok((previous, _)) => {
                    previous.set_proven(proven);
                    previous.retire();
                    // It was active before there were generations here.
                    let activation = Activation::first(&previous, &*clock);
                    history.remember(Arc::new(ActivePolicy { generation: Generation::new(0), activation }));
                }
                // The machine may have enough for it at another time: it is not to be lost over that.
                Err(error) if error.stage == Stage::Host => return Err(error),
                Err(error) => warn!(digest, %error, "a policy to go back to cannot be loaded any more"),
            }
        }
        loader.gate.note_active(loaded.policy.signed_by());
        loader.gate.note_started();
        let rollout = Self {
            active: ActiveCell::new(Activation::first(&loaded, &*clock)),
            builtin,
            clock,
            counters,
            loader,
            probation: config.probation,
            loading: AsyncMutex::default(),
            history: Mutex::new(history),
            shortages: Shortages::default(),
            notices: Notices::new(config.observer),
        };
        let (at, generation) = (rollout.clock.wall(), rollout.generation().number());
        let record = SwapRecord::new(at, &loaded, Cause::Start, Ok(generation));
        let mut history = rollout.history();
        rollout.put_on_trial(&mut history, &loaded, None);
        history.drop_repeated(&loaded);
        rollout.record(&mut history, record, &loaded);
        drop(history);
        rollout.notices.deliver();
        Ok(rollout)
    }

    /// Makes a rollout whose policy is never replaced: for a rehearsal.
    pub(crate) fn fixed(loaded: Arc<Loaded>, clock: Arc<dyn Clock>) -> Self {
        let history = History::new(Breaker::new(u32::MAX, Duration::ZERO));
        Self {
            active: ActiveCell::new(Activation::first(&loaded, &*clock)),
            loader: Loader {
                gate: Arc::default(),
                clock: Arc::clone(&clock),
                calls: loaded.call_limits(),
                counters: Arc::default(),
                rehearsal: None,
            },
            builtin: loaded,
            clock,
            counters: Arc::default(),
            probation: Probation::NONE,
            loading: AsyncMutex::default(),
            history: Mutex::new(history),
            shortages: Shortages::default(),
            notices: Notices::new(None),
        }
    }

    /// Returns the active policy with its generation.
    pub(crate) fn active(&self) -> Arc<ActivePolicy> {
        self.active.load()
    }

    /// Returns the active generation.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        self.active.generation()
    }

    /// Returns the status for the operator.
    pub(crate) fn status(&self) -> PolicyStatus {
        let mut history = self.history();
        let (active, now) = (self.active(), self.clock.now());
        let trial = history.trial.as_ref();
        let loaded = active.loaded();
        PolicyStatus {
            generation: active.generation.number(),
            digest: loaded.policy.digest().to_owned(),
            name: loaded.description.name.clone(),
            version: loaded.description.version.clone(),
            summary: loaded.description.summary.clone(),
            settings: loaded.settings(),
            execution: loaded.execution(),
            card: loaded.card.get().cloned(),
            since: active.activation.since,
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
                SwapRecord::new(previous.activation.since, previous.loaded(), Cause::Swap, outcome)
            }),
            recent: history.records(),
        }
    }

    /// Begins the trial of a policy that has still to prove itself.
    fn put_on_trial(&self, history: &mut History, loaded: &Loaded, loads_before: Option<f64>) {
        if self.probation.lasts.is_zero() {
            loaded.set_proven(true);
        } else if !loaded.is_proven() {
            history.trial = Some(Trial::new(self.clock.now(), self.usage(loaded), loads_before));
        }
    }

    fn usage(&self, loaded: &Loaded) -> Usage {
        // Relaxed: numbers that order nothing.
        let selects = self.counters.selects.load(Ordering::Relaxed);
        Usage {
            // The SELECTs that the machine's own shortage took are not the policy's.
            selects: selects.saturating_sub(self.counters.shortages.load(Ordering::Relaxed)),
            calls: loaded.calls.load(Ordering::Relaxed),
            call_nanos: loaded.call_nanos.load(Ordering::Relaxed),
        }
    }

    /// Keeps a record, and a notice for the observer, to be delivered without the lock. `active` is the
    /// policy that is active from here on.
    fn record(&self, history: &mut History, record: SwapRecord, active: &Loaded) {
        if self.notices.is_wanted() {
            self.notices.put_in(Notice {
                record: record.clone(),
                active: active.retained(),
                previous: history.retained(),
                highest_revision: self.loader.gate.highest_revision(),
            });
        }
        history.record(record);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // A panic cannot leave the history half-written: it holds whole records.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
