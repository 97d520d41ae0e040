//! The earlier policies, and the outcome of every attempt to change the active one: for rollback, for the
//! breaker, for people.
//!
//! No decision about a read looks at it. The holder of its lock changes the active policy; so there is one
//! change at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::activation::ActivePolicy;
use super::breaker::Breaker;
use super::probation::Trial;
use crate::policy::Policy;
use crate::policy::error::SwapError;
use crate::policy::report::{Cause, PolicyFailure, RetainedPolicy, SwapRecord};
use crate::policy::runtime::pool::Loaded;

/// Maximum number of swaps and refusals that are remembered.
const MAX_RECORDS: usize = 16;
/// Maximum number of earlier policies that a rollback can go back through.
const MAX_PREVIOUS: usize = 8;

pub(super) struct History {
    /// Policies that were active before, the latest last.
    previous: Vec<Arc<ActivePolicy>>,
    /// Swaps and refusals, the latest last.
    records: VecDeque<SwapRecord>,
    pub(super) breaker: Breaker,
    /// Failure that made the active policy active, if the one before it failed.
    pub(super) trip: Option<PolicyFailure>,
    /// Trial of the active policy, while it is on probation.
    pub(super) trial: Option<Trial>,
}

impl History {
    pub(super) fn new(breaker: Breaker) -> Self {
        Self { previous: Vec::new(), records: VecDeque::new(), breaker, trip: None, trial: None }
    }

    /// Keeps a policy to go back to.
    pub(super) fn remember(&mut self, active: Arc<ActivePolicy>) {
        self.make_room();
        self.previous.push(active);
    }

    /// Keeps the proven policy that an operator leaves for an unproven one, if a failure of the latter would
    /// find no other.
    pub(super) fn remember_left(&mut self, left: Arc<ActivePolicy>, taken: &Loaded) {
        if left.loaded().is_proven() && !taken.is_proven() && self.latest_proven().is_none() {
            self.previous.insert(0, left);
        }
    }

    /// Takes the policy that was active last.
    pub(super) fn take_previous(&mut self) -> Option<Arc<ActivePolicy>> {
        self.previous.pop()
    }

    /// Takes the latest proven policy. An operator may still go back to the ones that came after it.
    pub(super) fn take_proven(&mut self) -> Option<Arc<ActivePolicy>> {
        self.latest_proven().map(|proven| self.previous.remove(proven))
    }

    fn latest_proven(&self) -> Option<usize> {
        self.previous.iter().rposition(|previous| previous.loaded().is_proven())
    }

    /// Forgets a policy that is not worth going back to.
    pub(super) fn forget(&mut self, bad: &Loaded) {
        self.previous.retain(|previous| !previous.loaded().does_as(bad));
    }

    /// Keeps a failed policy that an operator chose: a rollback goes back to it when there is nothing else.
    /// It has to prove itself then, and the host never goes back to it by itself.
    pub(super) fn remember_failed(&mut self, failed: Arc<ActivePolicy>) {
        failed.loaded().set_proven(false);
        self.make_room();
        self.previous.insert(0, failed);
    }

    /// Drops one policy if the list is full, but never the only proven one: that is what a failure goes back
    /// to.
    fn make_room(&mut self) {
        if self.previous.len() == MAX_PREVIOUS {
            self.previous.remove(usize::from(self.latest_proven() == Some(0)));
        }
    }

    /// Drops each policy that a rollback would find active already: one that does as the policy before it, or
    /// as the active one. What was between them may have been taken or forgotten. Of two the proven one
    /// stays, and a proven one stays behind an active one that is not: a failure goes back to it.
    pub(super) fn drop_repeated(&mut self, active: &Loaded) {
        self.previous.dedup_by(|later, earlier| {
            let is_repeated = later.loaded().does_as(earlier.loaded());
            if is_repeated && later.loaded().is_proven() {
                std::mem::swap(later, earlier);
            }
            is_repeated
        });
        self.previous.pop_if(|last| {
            let is_needed = last.loaded().is_proven() && !active.is_proven();
            last.loaded().does_as(active) && !is_needed
        });
    }

    /// Returns the policies that were active before, the latest last.
    pub(super) fn previous(&self) -> &[Arc<ActivePolicy>] {
        &self.previous
    }

    /// Returns the policies that a rollback would go back to, the latest last.
    pub(super) fn retained(&self) -> Vec<RetainedPolicy> {
        self.previous.iter().map(|previous| previous.loaded().retained()).collect()
    }

    /// Keeps a record.
    pub(super) fn record(&mut self, record: SwapRecord) {
        if self.records.len() == MAX_RECORDS {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// Returns the records, the latest first.
    pub(super) fn records(&self) -> Vec<SwapRecord> {
        self.records.iter().rev().cloned().collect()
    }
}

impl SwapRecord {
    pub(super) fn new(
        at: SystemTime,
        loaded: &Loaded,
        cause: Cause,
        outcome: Result<u64, SwapError>,
    ) -> Self {
        Self {
            at,
            by: String::new(),
            digest: loaded.policy.digest().to_owned(),
            policy: Some(loaded.full_name()),
            settings: loaded.settings(),
            cause,
            reason: None,
            signed: loaded.policy.signed_by().cloned(),
            forced: loaded.policy.is_forced(),
            card: loaded.card.get().cloned(),
            outcome,
        }
    }

    /// Makes the record of a policy that did not become active, from what the policy was given: it may not
    /// have got far enough to say more.
    pub(super) fn refused(at: SystemTime, by: &str, policy: &Policy, error: &SwapError) -> Self {
        Self {
            at,
            by: by.to_owned(),
            digest: policy.digest().to_owned(),
            policy: None,
            settings: policy.settings().to_vec(),
            cause: Cause::Swap,
            reason: None,
            signed: None,
            forced: policy.is_forced(),
            card: None,
            outcome: Err(error.clone()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
