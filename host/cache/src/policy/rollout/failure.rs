//! The host's replacement of a policy that fails: too often, or within its probation.

use std::sync::{Arc, MutexGuard};

use tracing::{error, info, warn};

use super::Rollout;
use super::change::{Switch, announce};
use crate::policy::call::{Fault, Shortage};
use crate::policy::report::{Cause, PolicyFailure};
use crate::policy::rollout::activation::ActivePolicy;
use crate::policy::rollout::breaker::Reading;
use crate::policy::rollout::history::History;
use crate::policy::runtime::pool::Loaded;
use crate::policy::runtime::shortage::ShortageReport;

impl Rollout {
    /// Notes that a call of this policy failed. Returns the cause if that was one fault too many, so that
    /// another policy is active now.
    pub(crate) fn note_fault(&self, active: &Arc<ActivePolicy>, fault: &Fault) -> Option<Cause> {
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

    /// Notes that the machine had not enough for a call. It changes nothing, and is logged at the begin of a
    /// burst and then now and again.
    pub(crate) fn note_shortage(&self, active: &ActivePolicy, Shortage(reason): &Shortage) {
        // An error means that there was one before.
        let _ = active.loaded().first_shortage.set(Shortage(reason.clone()));
        match self.shortages.note(self.clock.now()) {
            Some(ShortageReport::Begins) => warn!(
                reason,
                "this machine has not enough memory, address space or threads for a call of the policy; the \
                 database is asked directly, and the policy keeps its place"
            ),
            Some(ShortageReport::GoesOn(calls) | ShortageReport::Ended(calls)) => {
                warn!(calls, reason, "there is still not enough for calls of the policy");
            }
            None => {}
        }
    }

    /// Logs the end of a shortage; to be called now and then.
    pub(crate) fn look_for_shortage(&self) {
        if let Some(ShortageReport::Ended(calls)) = self.shortages.look(self.clock.now()) {
            info!(calls, "there is enough for calls of the policy again");
        }
    }

    /// Checks the budgets of a policy on probation; to be called now and then. Returns the cause if another
    /// policy is active now.
    pub(crate) fn supervise(&self) -> Option<Cause> {
        let mut history = self.history();
        let (active, now) = (self.active(), self.clock.now());
        let trial = history.trial.as_ref()?;
        if trial.is_over(&self.probation, now) {
            history.trial = None;
            active.loaded().set_proven(true);
            drop(history);
            info!(policy = active.loaded().full_name(), "the policy's probation is over");
            return None;
        }
        let reason = trial.judge(&self.probation, now, self.usage(active.loaded()))?;
        self.replace_failed(history, &active, Cause::Probation, reason)
    }

    /// Makes the last good policy active in place of a failed one, or the built-in one.
    fn replace_failed(
        &self,
        mut history: MutexGuard<'_, History>,
        active: &Arc<ActivePolicy>,
        cause: Cause,
        reason: String,
    ) -> Option<Cause> {
        let failed = active.loaded();
        history.trial = None;
        let Some(fallback) = self.fallback(&mut history, active) else {
            drop(history);
            error!(policy = failed.full_name(), reason, "the built-in policy keeps failing");
            return None;
        };
        history.trip = Some(PolicyFailure {
            at: self.clock.wall(),
            cause,
            generation: active.generation.number(),
            digest: failed.policy.digest().to_owned(),
            policy: failed.full_name(),
            reason: reason.clone(),
        });
        let report = self.install(&mut history, Switch::to(fallback, cause).because(&reason));
        drop(history);
        self.notices.deliver();
        error!(
            failed = failed.full_name(),
            failed_digest = failed.policy.digest(),
            cause = cause.as_str(),
            reason,
            "the policy failed and was replaced"
        );
        announce(&report, cause, "");
        Some(cause)
    }

    /// Returns the last good policy, or the built-in one; `None` if the built-in one failed. A failed policy
    /// that an operator chose is still kept for a rollback.
    fn fallback(&self, history: &mut History, active: &Arc<ActivePolicy>) -> Option<Arc<Loaded>> {
        let failed = active.loaded();
        history.forget(failed);
        let previous = history.take_proven().map(|previous| Arc::clone(previous.loaded()));
        let is_builtin = failed.does_as(&self.builtin);
        let fallback = previous.or_else(|| (!is_builtin).then(|| Arc::clone(&self.builtin)))?;
        if !is_builtin {
            history.remember_failed(Arc::clone(active));
        }
        Some(fallback)
    }
}

#[cfg(test)]
mod tests;
