//! What the operator is told: which policy is active, how a swap went, why one was refused.
//!
//! Everything here is plain data. What a policy says of itself is shown, never trusted.

use std::time::{Duration, SystemTime};

use super::Policy;
use super::card::PolicyCard;
use super::error::{Stage, SwapError};
use super::execution::Execution;
use super::signature::Signed;

/// The active policy, and how it came to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyStatus {
    /// Counts the policies that were active since the start; the first is 1.
    pub generation: u64,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The name that the policy gives itself.
    pub name: String,
    /// The version that the policy gives itself.
    pub version: String,
    /// What the policy says that it does.
    pub summary: String,
    /// Every setting with the value in force, defaults included.
    pub settings: Vec<(String, String)>,
    /// How it is run: as machine code, or by an interpreter.
    pub execution: Execution,
    /// What its rehearsal found. `None` where it was not rehearsed: where that is switched off, and for the built-in policy
    /// where the breaker chose it.
    pub card: Option<PolicyCard>,
    /// When it became active, for people: by the wall clock.
    pub since: SystemTime,
    /// Calls that failed since it became active.
    pub faults: u64,
    /// Whether it has failed so often that it will be replaced, or became active because another one had.
    pub breaker: BreakerStatus,
    /// How much of its probation is left; nothing if it is not on probation.
    pub probation: Option<Duration>,
    /// The highest signed revision that was ever active: what [`Builder::revision_floor`](crate::Builder::revision_floor)
    /// takes at the next start. 0 where nothing signed was.
    pub highest_revision: u64,
    /// What [`rollback`](crate::SecretCache::rollback) would go back to.
    pub last_good: Option<SwapRecord>,
    /// The latest swaps and refusals, newest first, 16 at most.
    pub recent: Vec<SwapRecord>,
}

/// The breaker: it replaces a policy that has failed too often by the last good one, and where there is none by the built-in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// Failed calls of the active policy within the window.
    pub faults: u32,
    /// At how many it is replaced.
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
    /// By the wall clock.
    pub at: SystemTime,
    /// Whether it failed too often, or in its probation.
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

/// Why the active policy changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The cache was built with it.
    Start,
    /// [`swap`](crate::SecretCache::swap).
    Swap,
    /// [`rollback`](crate::SecretCache::rollback).
    Rollback,
    /// The policy before it failed too often.
    Breaker,
    /// The policy before it exceeded a budget of its probation.
    Probation,
}

impl Cause {
    /// The word for logs and JSON.
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

/// One change of the policy, or one that was refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SwapRecord {
    /// By the wall clock.
    pub at: SystemTime,
    /// On whose behalf: what [`on_behalf_of`](crate::SecretCache::on_behalf_of) was told. Empty where the cache did it by
    /// itself, or nobody said.
    pub by: String,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// `name version`, where the component got far enough to say.
    pub policy: Option<String>,
    /// The settings in force, or those that were asked for if it was refused.
    pub settings: Vec<(String, String)>,
    /// What kind of change it is.
    pub cause: Cause,
    /// What the policy before it did, where that is why it was replaced.
    pub reason: Option<String>,
    /// What its rehearsal has found, if there was one.
    pub card: Option<PolicyCard>,
    /// The key and the revision that it was signed with, where trusted keys are configured.
    pub signed: Option<Signed>,
    /// Whether an older revision was allowed: see [`Policy::forced`](crate::Policy::forced).
    pub forced: bool,
    /// The generation that it became, or why it did not.
    pub outcome: Result<u64, SwapError>,
}

/// A change of the policy or a refusal, at the moment at which it takes effect.
#[derive(Debug)]
#[non_exhaustive]
pub struct PolicyChange<'a> {
    /// What happened.
    pub record: &'a SwapRecord,
    /// The policy that is active now.
    pub active: RetainedPolicy,
    /// The policies that [`rollback`](crate::SecretCache::rollback) would go back to, the latest last.
    pub previous: Vec<RetainedPolicy>,
    /// The highest signed revision that was ever active, for [`Builder::remembered_revision`](crate::Builder::remembered_revision).
    pub highest_revision: u64,
}

/// A policy, and what it is worth: the breaker and a failed probation go back to proven ones only.
#[derive(Clone, Debug)]
pub struct RetainedPolicy {
    /// The policy.
    pub policy: Policy,
    /// Whether it has come through its probation, or was never on one.
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
    /// What its rehearsal found, as in [`PolicyStatus`].
    pub card: Option<PolicyCard>,
    /// The entries that were kept for the new policy to lease again.
    pub entries: u64,
    /// How long each stage took, in order.
    pub stages: Vec<(Stage, Duration)>,
}
