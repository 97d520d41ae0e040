//! What an operator does to a cache: looks at its policy and changes it.
//!
//! Nothing here is on the way of a read. What a change is and when it takes effect is the slot's; it is
//! counted here, and gets a name and a span.

use tracing::{Instrument as _, debug_span};

use super::SecretCache;
use crate::stats::count;
use crate::{Policy, PolicyStatus, SwapError, SwapReport};

/// Whoever changes the policy; made by [`SecretCache::on_behalf_of`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Operator<'a> {
    cache: &'a SecretCache,
    name: &'a str,
}

impl SecretCache {
    /// Replaces the policy. When this returns, no hit is served under a lease of an older policy. Entries
    /// stay: the new policy may lease them again without a SELECT.
    ///
    /// # Errors
    ///
    /// [`SwapError`] says at which stage the policy was refused. The old one serves on.
    pub async fn swap(&self, policy: Policy) -> Result<SwapReport, SwapError> {
        self.on_behalf_of("").swap(policy).await
    }

    /// Makes the policy active that was active before this one; called again, the one before that, up to
    /// eight.
    ///
    /// # Errors
    ///
    /// [`SwapError`] if there is none.
    pub async fn rollback(&self) -> Result<SwapReport, SwapError> {
        self.on_behalf_of("").rollback().await
    }

    /// Swaps and rollbacks with a name to them, which goes into the record: who asked, and by what way.
    pub fn on_behalf_of<'a>(&'a self, name: &'a str) -> Operator<'a> {
        Operator { cache: self, name }
    }

    /// The active policy as it was given, to be swapped in again with other settings.
    #[must_use]
    pub fn active(&self) -> Policy {
        self.core.rollout.active().loaded().policy.clone()
    }

    /// Which policy is active, and how it came to be.
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
    /// As [`SecretCache::swap`].
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

    /// Gives the active policy other settings: a swap of whatever is active when its turn has come, with
    /// these settings over its own.
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

    /// As [`SecretCache::rollback`].
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
