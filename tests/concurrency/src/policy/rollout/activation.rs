//! A policy while it is active, without the time since when.

use super::active::Active;
use crate::policy::pool::Loaded;
use crate::sync::Arc;

pub(crate) type ActivePolicy = Active<Activation>;

pub(crate) struct Activation {
    pub(super) loaded: Arc<Loaded>,
}

impl ActivePolicy {
    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.activation.loaded
    }
}
