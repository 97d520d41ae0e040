//! A stand-in for the rollout: the product's active cell, and swaps to a policy of the same kind.

product! {
    active = "../../../../host/cache/src/policy/rollout/active.rs",
}

pub(crate) mod activation;

use self::activation::{Activation, ActivePolicy};
use self::active::ActiveCell;
use super::Cause;
use super::call::{Fault, Shortage};
use super::pool::{Kind, Loaded};
use crate::lease::Generation;
use crate::sync::Arc;

pub(crate) struct Rollout {
    active: ActiveCell<Activation>,
    kind: Kind,
}

impl Rollout {
    pub(crate) fn new(kind: Kind) -> Self {
        let loaded = Loaded::new(kind, Generation::FIRST);
        Self { active: ActiveCell::new(Activation { loaded }), kind }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.active.generation()
    }

    pub(crate) fn active(&self) -> Arc<ActivePolicy> {
        self.active.load()
    }

    /// Makes another policy active. Callers take turns.
    pub(crate) fn swap(&self) -> Generation {
        let next = self.generation().next();
        let generation = self.active.replace(Activation { loaded: Loaded::new(self.kind, next) });
        assert_eq!(generation, next, "swaps take turns");
        generation
    }

    pub(crate) fn note_fault(&self, _: &Arc<ActivePolicy>, _: &Fault) -> Option<Cause> {
        None
    }

    pub(crate) fn note_shortage(&self, _: &Arc<ActivePolicy>, _: &Shortage) {}
}
