//! The operator's changes of the active policy, and the one place where it is replaced.
//!
//! Every change ends in `install`, under the lock of the history.

use std::sync::Arc;

use tracing::{info, warn};

use super::Rollout;
use crate::lease::Generation;
use crate::policy::Policy;
use crate::policy::error::{Stage, SwapError};
use crate::policy::intake::Stages;
use crate::policy::report::{Cause, SwapRecord, SwapReport};
use crate::policy::rollout::activation::{Activation, ActivePolicy};
use crate::policy::rollout::history::History;
use crate::policy::rollout::probation::rate;
use crate::policy::runtime::pool::Loaded;

/// A policy that is to become active, and the reason.
pub(super) struct Switch {
    loaded: Arc<Loaded>,
    cause: Cause,
    by: String,
    /// Failure of the policy before it, if that is the reason.
    reason: Option<String>,
    stages: Stages,
    /// Number of entries that it finds.
    entries: u64,
    /// SELECTs per second under the policy that it replaces.
    loads_before: Option<f64>,
}

impl Switch {
    /// Makes a switch without an author and without a known reason.
    pub(super) fn to(loaded: Arc<Loaded>, cause: Cause) -> Self {
        let (by, reason) = (String::new(), None);
        Self { loaded, cause, by, reason, stages: Vec::new(), entries: 0, loads_before: None }
    }

    fn by(self, by: &str) -> Self {
        Self { by: by.to_owned(), ..self }
    }

    pub(super) fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }
}

impl Rollout {
    /// Checks a policy and makes it active. Until the last step the old one serves, and a refusal changes
    /// nothing.
    pub(crate) async fn swap(&self, policy: Policy, by: &str, entries: u64) -> Result<SwapReport, SwapError> {
        let _one = self.loading.lock().await;
        self.swap_in_turn(policy, None, by, entries).await
    }

    /// Does the same for the active policy with these settings over its own. The active policy is looked up
    /// once it is this call's turn.
    pub(crate) async fn reconfigure(
        &self,
        settings: Vec<(String, String)>,
        by: &str,
        entries: u64,
    ) -> Result<SwapReport, SwapError> {
        let _one = self.loading.lock().await;
        let active = self.active();
        let policy = active.loaded().policy.clone();
        let policy = settings.into_iter().fold(policy, |policy, (name, value)| policy.setting(name, value));
        self.swap_in_turn(policy, Some(active.generation), by, entries).await
    }

    /// Loads a policy and makes it active. With `only_over`, the swap is refused if another generation has
    /// become active meanwhile.
    async fn swap_in_turn(
        &self,
        policy: Policy,
        only_over: Option<Generation>,
        by: &str,
        entries: u64,
    ) -> Result<SwapReport, SwapError> {
        let asked_for = policy.clone();
        let active = only_over.map(|_| asked_for.digest());
        let loaded = self.loader.load(policy, active).await;
        let swapped = self.take_or_refuse(loaded, &asked_for, only_over, by, entries);
        self.notices.deliver();
        self.notices.delivered().await;
        let report = swapped?;
        announce(&report, Cause::Swap, by);
        Ok(report)
    }

    /// Makes a loaded policy active, or notes why it is not.
    fn take_or_refuse(
        &self,
        loaded: Result<(Arc<Loaded>, Stages), SwapError>,
        asked_for: &Policy,
        only_over: Option<Generation>,
        by: &str,
        entries: u64,
    ) -> Result<SwapReport, SwapError> {
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
        let (loaded, stages) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let refused = SwapRecord::refused(self.clock.wall(), by, asked_for, &error);
                self.record(&mut history, refused, active.loaded());
                drop(history);
                warn!(
                    digest = asked_for.digest(),
                    by,
                    %error,
                    "a policy was refused; the active one serves on"
                );
                return Err(error);
            }
        };
        let loads_before = self.loads_under(&active);
        if active.loaded().does_as(&loaded) {
            // The same policy again has nothing to prove, and is nothing to go back to.
            loaded.set_proven(active.loaded().is_proven());
        } else {
            history.remember(active);
        }
        history.trip = None;
        self.loader.gate.note_active(loaded.policy.signed_by());
        let switch = Switch { stages, entries, loads_before, ..Switch::to(loaded, Cause::Swap).by(by) };
        Ok(self.install(&mut history, switch))
    }

    /// Returns the SELECTs per second since the active policy became active.
    fn loads_under(&self, active: &ActivePolicy) -> Option<f64> {
        let selects = self.usage(active.loaded()).selects;
        rate(
            active.activation.began,
            self.clock.now(),
            selects.saturating_sub(active.activation.at_begin.selects),
        )
    }

    /// Goes back to the policy that was active before this one. It waits for no compiler and no other swap,
    /// only for the observer.
    pub(crate) async fn rollback(&self, by: &str, entries: u64) -> Result<SwapReport, SwapError> {
        let report = self.go_back(by, entries)?;
        self.notices.deliver();
        self.notices.delivered().await;
        announce(&report, Cause::Rollback, by);
        Ok(report)
    }

    fn go_back(&self, by: &str, entries: u64) -> Result<SwapReport, SwapError> {
        let mut history = self.history();
        // A policy that was kept behind itself is not needed once that has proved itself.
        history.drop_repeated(self.active().loaded());
        let previous = history.take_previous();
        let previous = previous
            .ok_or_else(|| SwapError::new(Stage::Rollback, "there is no earlier policy to go back to"))?;
        history.trip = None;
        let loaded = Arc::clone(previous.loaded());
        history.remember_left(self.active(), &loaded);
        let switch = Switch { entries, ..Switch::to(loaded, Cause::Rollback).by(by) };
        Ok(self.install(&mut history, switch))
    }

    /// Replaces the active policy: the moment of the swap. The history's lock makes it one at a time.
    pub(super) fn install(&self, history: &mut History, switch: Switch) -> SwapReport {
        let Switch { loaded, cause, by, reason, stages, entries, loads_before } = switch;
        let (replaced, since) = (self.active(), self.clock.wall());
        loaded.revive();
        history.breaker.reset();
        history.trial = None;
        let (began, at_begin) = (self.clock.now(), self.usage(&loaded));
        let activation = Activation { loaded: Arc::clone(&loaded), since, began, at_begin };
        let generation = self.active.replace(activation);
        if !Arc::ptr_eq(replaced.loaded(), &loaded) {
            replaced.loaded().retire();
        }
        let record = SwapRecord::new(since, &loaded, cause, Ok(generation.number()));
        let record = SwapRecord { by, reason, ..record };
        self.put_on_trial(history, &loaded, loads_before);
        history.drop_repeated(&loaded);
        self.record(history, record, &loaded);
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
}

/// Logs that a policy became active. To be called without the lock.
pub(super) fn announce(report: &SwapReport, cause: Cause, by: &str) {
    let SwapReport { generation, name, version, digest, .. } = report;
    let settings: Vec<String> =
        report.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let settings = settings.join(" ");
    info!(generation, name, version, digest, settings, cause = cause.as_str(), by, "a policy became active");
}
