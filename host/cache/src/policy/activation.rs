//! A policy while it is active, or was: under which generation, since when, and what had been used by then.

use std::sync::Arc;
use std::time::SystemTime;

use super::active::Generational;
use super::pool::Loaded;
use super::probation::Usage;
use crate::{Clock, Instant};

/// A policy with the generation under which it is active, or was.
pub(crate) type ActivePolicy = Generational<Activation>;

/// A policy that is active, or was, and since when.
pub(crate) struct Activation {
    pub(crate) loaded: Arc<Loaded>,
    pub(super) since: SystemTime,
    pub(super) began: Instant,
    /// What had been used by then.
    pub(super) at_begin: Usage,
}

impl Activation {
    /// Of a policy that begins with the cache.
    pub(super) fn first(loaded: &Arc<Loaded>, clock: &dyn Clock) -> Self {
        let (since, began) = (clock.wall(), clock.now());
        Self { loaded: Arc::clone(loaded), since, began, at_begin: Usage::default() }
    }
}
