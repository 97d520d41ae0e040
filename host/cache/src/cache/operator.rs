//! An operator's actions on a cache: looking at its policy and changing it.
//!
//! Nothing here is on the path of a read. The rollout decides what a change is and when it takes effect; the
//! change is counted here, and gets a name and a span.

use tracing::{Instrument as _, debug_span};

use super::SecretCache;
use crate::stats::count;
use crate::{Policy, PolicyStatus, SwapError, SwapReport};

/// A handle for changes of the policy in an operator's name; made by [`SecretCache::on_behalf_of`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Operator<'a> {
    cache: &'a SecretCache,
    name: &'a str,
}

impl SecretCache {
    /// Replaces the policy. When this returns, no hit is served under a lease of an older policy. Entries
    /// stay: the new policy may grant them new leases without a SELECT.
    ///
    /// # Errors
    ///
    /// [`SwapError`] says at which stage the policy was refused. The old one serves on.
    pub async fn swap(&self, policy: Policy) -> Result<SwapReport, SwapError> {
        self.on_behalf_of("").swap(policy).await
    }

    /// Makes the policy active that was active before this one; called again, the policy before that, up to
    /// eight.
    ///
    /// # Errors
    ///
    /// [`SwapError`] if there is none.
    pub async fn rollback(&self) -> Result<SwapReport, SwapError> {
        self.on_behalf_of("").rollback().await
    }

    /// Swaps and rollbacks under a name, which goes into the record: which operator asked, and by what way.
    pub fn on_behalf_of<'a>(&'a self, name: &'a str) -> Operator<'a> {
        Operator { cache: self, name }
    }

    /// Returns the active policy as it was given, to be swapped in again with other settings.
    #[must_use]
    pub fn active(&self) -> Policy {
        self.core.rollout.active().loaded().policy.clone()
    }

    /// The status of the active policy: which one it is, and how it became active.
    #[must_use]
    pub fn policy(&self) -> PolicyStatus {
        self.core.rollout.status()
    }

    fn count_swap(&self, swapped: Result<SwapReport, SwapError>) -> Result<SwapReport, SwapError> {
        let counters = &self.core.counters;
        count(if swapped.is_ok() { &counters.swaps } else { &counters.swaps_refused });
        swapped
    }
}

impl Operator<'_> {
    /// Replaces the policy, as [`SecretCache::swap`] does.
    ///
    /// # Errors
    ///
    /// As [`SecretCache::swap`].
    pub async fn swap(self, policy: Policy) -> Result<SwapReport, SwapError> {
        let core = &self.cache.core;
        let span = debug_span!(target: "leasehold", "swap", by = self.name);
        let swapped = core.rollout.swap(policy, self.name, core.table.len() as u64).instrument(span).await;
        self.cache.count_swap(swapped)
    }

    /// Gives the active policy other settings: a swap of the policy that is active when its turn has come,
    /// with these settings over its own.
    ///
    /// # Errors
    ///
    /// As [`SecretCache::swap`]; and if another policy became active meanwhile.
    pub async fn reconfigure(self, settings: Vec<(String, String)>) -> Result<SwapReport, SwapError> {
        let core = &self.cache.core;
        let span = debug_span!(target: "leasehold", "swap", by = self.name);
        let entries = core.table.len() as u64;
        let swapped = core.rollout.reconfigure(settings, self.name, entries).instrument(span).await;
        self.cache.count_swap(swapped)
    }

    /// Makes the policy before this one active, as [`SecretCache::rollback`] does.
    ///
    /// # Errors
    ///
    /// As [`SecretCache::rollback`].
    pub async fn rollback(self) -> Result<SwapReport, SwapError> {
        let core = &self.cache.core;
        let swapped = core.rollout.rollback(self.name, core.table.len() as u64).await;
        self.cache.count_swap(swapped)
    }
}
