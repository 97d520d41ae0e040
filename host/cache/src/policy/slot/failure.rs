//! How the host replaces a policy that fails: too often, or within its probation.

use std::sync::{Arc, MutexGuard};

use tracing::{error, info};

use super::Slot;
use super::change::{Switch, announce};
use crate::policy::breaker::Reading;
use crate::policy::call::Fault;
use crate::policy::history::History;
use crate::policy::pool::Loaded;
use crate::policy::report::{Cause, Trip};
use crate::policy::tenure::Active;

impl Slot {
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
        let report = self.install(&mut history, Switch::to(fallback, cause).because(&reason));
        drop(history);
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

    /// The last good policy, or the built-in one; nothing if that is the one that failed.
    fn fallback(&self, history: &mut History, failed: &Loaded) -> Option<Arc<Loaded>> {
        history.forget(failed);
        let previous = history.take_proven().map(|previous| Arc::clone(&previous.value.loaded));
        previous.or_else(|| (!failed.does_as(&self.builtin)).then(|| Arc::clone(&self.builtin)))
    }
}
