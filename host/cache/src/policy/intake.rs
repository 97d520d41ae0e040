//! The stages of a policy from bytes to something that can be called: the gate, the compiler, its
//! configuration, its rehearsal.
//!
//! Each stage may refuse it, and none of them changes what serves. This file does not know what is active.

pub(crate) mod gate;
mod inspect;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::gate::{Admitted, Gate, admit};
use super::runtime::compiled::Rehearsed;
use super::runtime::pool::{CallLimits, Loaded};
use crate::lease::Ceilings;
use crate::stats::{Counters, count};
use crate::{Clock, Policy, PolicyCard, Stage, SwapError};

/// Settings and parts with which every policy is loaded.
pub(crate) struct Loader {
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calls: CallLimits,
    pub(crate) counters: Arc<Counters>,
    /// `None` if nothing is rehearsed.
    pub(crate) rehearsal: Option<Rehearsal>,
}

/// Settings of a rehearsal.
#[derive(Clone, Copy)]
pub(crate) struct Rehearsal {
    pub(crate) ceilings: Ceilings,
    /// Runs the rehearsal, which is made of parts above this file.
    pub(crate) run: fn(Arc<Loaded>, Ceilings) -> Rehearsing,
}

/// A rehearsal in progress.
pub(crate) type Rehearsing = Pin<Box<dyn Future<Output = Result<PolicyCard, SwapError>> + Send>>;

/// Duration of each stage, in order.
pub(crate) type Stages = Vec<(Stage, Duration)>;

impl Loader {
    /// Takes a policy through all stages. A component that the process has already is not compiled again;
    /// `active` is the digest of the active policy, if that policy is to get other settings.
    pub(crate) async fn load(
        &self,
        mut policy: Policy,
        active: Option<&str>,
    ) -> Result<(Arc<Loaded>, Stages), SwapError> {
        let Admitted { compiled, is_new, signed, mut stages } =
            admit(&self.gate, &self.clock, &policy, active, self.calls.execution).await?;
        if is_new {
            count(&self.counters.compilations);
        }
        policy.set_signed_by(signed);
        let began = self.clock.now();
        let loaded = Arc::new(Loaded::new(policy, compiled, self.calls).await?);
        let configured = self.clock.now();
        stages.push((Stage::Configure, configured.saturating_since(began)));
        if let Some(rehearsal) = self.rehearsal {
            self.rehearse_once(&loaded, rehearsal).await?;
            stages.push((Stage::Rehearsal, self.clock.now().saturating_since(configured)));
        }
        Ok((loaded, stages))
    }

    /// Rehearses a policy, unless the same component has come through the same rehearsal in this process.
    async fn rehearse_once(&self, loaded: &Arc<Loaded>, rehearsal: Rehearsal) -> Result<(), SwapError> {
        let Rehearsal { ceilings, run } = rehearsal;
        let settings = loaded.policy.settings().to_vec();
        let rehearsed = Rehearsed { settings, ceilings, cpu_limit: self.calls.cpu_limit };
        if let Some(card) = loaded.compiled.rehearsal(&rehearsed) {
            // The policy is new here, so the cell is empty.
            let _ = loaded.card.set(card);
            return Ok(());
        }
        let card = run(Arc::clone(loaded), ceilings).await?;
        loaded.compiled.remember_rehearsal(rehearsed, card);
        Ok(())
    }
}
