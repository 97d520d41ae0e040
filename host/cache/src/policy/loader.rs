//! The way of a policy from bytes to something that can be called: the gate, the compiler, its configuration, its rehearsal.
//!
//! Each stage may refuse it, and none of them changes what serves. It does not know what is active.

use std::sync::Arc;
use std::time::Duration;

use super::Policy;
use super::gate::{Admitted, Gate, admit};
use super::pool::{CallTerms, Loaded};
use super::rehearse::rehearse;
use crate::lease::Ceilings;
use crate::{Clock, Stage, SwapError};

/// What every policy is loaded under.
pub(super) struct Loader {
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) calls: CallTerms,
    /// The ceilings under which a policy is rehearsed; `None`: it is not.
    pub(super) rehearsal: Option<Ceilings>,
}

/// How long each stage took, in order.
pub(super) type Stages = Vec<(Stage, Duration)>;

impl Loader {
    /// Takes a policy through all stages. One with the same component as one of `known` is not compiled again; `active` is
    /// the digest of the active one, where that is to get other settings.
    pub(super) async fn load(
        &self,
        mut policy: Policy,
        known: &[Arc<Loaded>],
        active: Option<&str>,
    ) -> Result<(Arc<Loaded>, Stages), SwapError> {
        let Admitted { component, signed, mut stages } =
            admit(&self.gate, &self.clock, &policy, known, active).await?;
        policy.set_signed_by(signed);
        let compiled = self.clock.now();
        let loaded = Arc::new(Loaded::new(policy, component, self.calls).await?);
        let configured = self.clock.now();
        stages.push((Stage::Configure, configured.saturating_since(compiled)));
        if let Some(ceilings) = self.rehearsal {
            rehearse(&loaded, ceilings).await?;
            stages.push((Stage::Rehearsal, self.clock.now().saturating_since(configured)));
        }
        Ok((loaded, stages))
    }
}
