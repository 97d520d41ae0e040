//! A policy while it is active, or was: its generation, its start, and the usage counters at that start.

use std::sync::Arc;
use std::time::SystemTime;

use super::active::Active;
use super::probation::Usage;
use crate::policy::runtime::pool::Loaded;
use crate::{Clock, Instant};

/// A policy with the generation under which it is active, or was.
pub(crate) type ActivePolicy = Active<Activation>;

/// A policy that is active or was, and the start of that time.
pub(crate) struct Activation {
    pub(super) loaded: Arc<Loaded>,
    pub(super) since: SystemTime,
    pub(super) began: Instant,
    /// Usage of the policy when the activation began.
    pub(super) at_begin: Usage,
}

impl ActivePolicy {
    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.activation.loaded
    }
}

impl Activation {
    /// Returns the activation of a policy that begins with the cache.
    pub(super) fn first(loaded: &Arc<Loaded>, clock: &dyn Clock) -> Self {
        let (since, began) = (clock.wall(), clock.now());
        Self { loaded: Arc::clone(loaded), since, began, at_begin: Usage::default() }
    }
}
