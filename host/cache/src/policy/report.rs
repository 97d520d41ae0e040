//! Reports to the operator: which policy is active, how a swap went, why a policy was refused.
//!
//! Everything here is plain data. A policy's description of itself is shown, never trusted.

use std::time::{Duration, SystemTime};

use super::Policy;
use super::card::PolicyCard;
use super::error::{Stage, SwapError};
use super::runtime::execution::Execution;
use super::signature::Signed;

/// The active policy, and how it came to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyStatus {
    /// Number of policies that were active since the start; the first is 1.
    pub generation: u64,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The name that the policy gives itself.
    pub name: String,
    /// The version that the policy gives itself.
    pub version: String,
    /// The policy's own summary of what it does.
    pub summary: String,
    /// Every setting with the value in force, defaults included.
    pub settings: Vec<(String, String)>,
    /// Way of running it: as machine code, or by an interpreter.
    pub execution: Execution,
    /// Findings of its rehearsal. `None` if it was not rehearsed: where that is switched off, and for the
    /// built-in policy where the breaker chose it.
    pub card: Option<PolicyCard>,
    /// Time at which it became active, for people: by the wall clock.
    pub since: SystemTime,
    /// Calls that failed since it became active.
    pub faults: u64,
    /// State of the breaker: how close the policy is to being replaced, and the failure that made it active,
    /// if one did.
    pub breaker: BreakerStatus,
    /// Rest of its probation; `None` if it is not on probation.
    pub probation: Option<Duration>,
    /// The highest signed revision that was ever active: the value for
    /// [`Builder::revision_floor`](crate::Builder::revision_floor) at the next start. 0 if no signed policy
    /// was active.
    pub highest_revision: u64,
    /// The policy that [`rollback`](crate::SecretCache::rollback) would go back to.
    pub last_good: Option<SwapRecord>,
    /// The latest swaps and refusals, newest first, 16 at most.
    pub recent: Vec<SwapRecord>,
}

/// The breaker: it replaces a policy that has failed too often by the last good one, or by the built-in one
/// if there is none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// Failed calls of the active policy within the window.
    pub faults: u32,
    /// Number of failed calls at which it is replaced.
    pub limit: u32,
    /// The window.
    pub window: Duration,
    /// The failure by which the active policy became active. Gone with the next swap or rollback.
    pub trip: Option<PolicyFailure>,
}

/// A policy that was replaced because it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFailure {
    /// Time of the replacement, by the wall clock.
    pub at: SystemTime,
    /// Kind of failure: too many faults, or an exceeded budget of its probation.
    pub cause: Cause,
    /// The generation of the policy that failed.
    pub generation: u64,
    /// The SHA-256 of its component, in hexadecimal.
    pub digest: String,
    /// Its `name version`.
    pub policy: String,
    /// Its last fault, or the budget that it exceeded.
    pub reason: String,
}

/// Reason for which the active policy changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The start of the cache, which was built with it.
    Start,
    /// A [`swap`](crate::SecretCache::swap).
    Swap,
    /// A [`rollback`](crate::SecretCache::rollback).
    Rollback,
    /// Too many failures of the policy before it.
    Breaker,
    /// A budget of its probation that the policy before it exceeded.
    Probation,
}

impl Cause {
    /// Returns the word for logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Swap => "swap",
            Self::Rollback => "rollback",
            Self::Breaker => "breaker",
            Self::Probation => "probation",
        }
    }
}

/// A change of the policy, or one that was refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SwapRecord {
    /// Time of the change, by the wall clock.
    pub at: SystemTime,
    /// Author of the change: the name that [`on_behalf_of`](crate::SecretCache::on_behalf_of) was given.
    /// Empty if the cache made the change by itself, or if no name was given.
    pub by: String,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The `name version`, where the component got far enough to say.
    pub policy: Option<String>,
    /// The settings in force, or the requested ones if it was refused.
    pub settings: Vec<(String, String)>,
    /// Kind of the change.
    pub cause: Cause,
    /// Failure of the policy before it, if that is why it was replaced.
    pub reason: Option<String>,
    /// Findings of its rehearsal, if there was one.
    pub card: Option<PolicyCard>,
    /// The key and the revision that it was signed with, where trusted keys are configured.
    pub signed: Option<Signed>,
    /// `true` if an older revision was allowed: see [`Policy::forced`](crate::Policy::forced).
    pub forced: bool,
    /// The generation that it became, or the reason why it did not.
    pub outcome: Result<u64, SwapError>,
}

/// A change of the policy or a refusal, at the moment at which it takes effect.
#[derive(Debug)]
#[non_exhaustive]
pub struct PolicyChange<'a> {
    /// Record of the change or refusal.
    pub record: &'a SwapRecord,
    /// The policy that is active now.
    pub active: RetainedPolicy,
    /// The policies that [`rollback`](crate::SecretCache::rollback) would go back to, the latest last.
    pub previous: Vec<RetainedPolicy>,
    /// The highest signed revision that was ever active, for
    /// [`Builder::remembered_revision`](crate::Builder::remembered_revision).
    pub highest_revision: u64,
}

/// A policy, and whether it is proven: the breaker and a failed probation go back to proven ones only.
#[derive(Clone, Debug)]
pub struct RetainedPolicy {
    /// The policy.
    pub policy: Policy,
    /// `true` if it has come through its probation, or was never on one.
    pub proven: bool,
}

/// A swap that was done: no hit is served under an older policy's lease any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SwapReport {
    /// The generation of the policy that is active now.
    pub generation: u64,
    /// The generation that it replaced.
    pub replaced: u64,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The name that the policy gives itself.
    pub name: String,
    /// The version that the policy gives itself.
    pub version: String,
    /// Every setting with the value in force, defaults included.
    pub settings: Vec<(String, String)>,
    /// Findings of its rehearsal, as in [`PolicyStatus`].
    pub card: Option<PolicyCard>,
    /// The entries that were kept for the new policy to lease again.
    pub entries: u64,
    /// Duration of each stage, in order.
    pub stages: Vec<(Stage, Duration)>,
}
