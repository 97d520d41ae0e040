//! The kept state beside the command line's request: which policies a start is to try, in which order.

use leasehold::{Policy, RetainedPolicy};
use serde::{Deserialize, Serialize};

use crate::policy_source::is_bundled;

/// The policies that an earlier run kept.
pub(crate) struct SavedState {
    pub(crate) active: RetainedPolicy,
    /// Earlier policies, the latest last.
    pub(crate) previous: Vec<RetainedPolicy>,
    /// The command line's request, when the policy that it names was last read.
    pub(super) requested: Requested,
}

/// The policy that the command line requests.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub(crate) struct Requested {
    policy: String,
    settings: Vec<String>,
    /// Digest of the named file, as last read. None is kept for a bundled policy: a later release has another
    /// one.
    digest: Option<String>,
}

/// A policy to start with, and the ones to go back to from it.
pub(crate) type StartCandidate = (RetainedPolicy, Vec<RetainedPolicy>);

impl Requested {
    pub(crate) fn new(policy: &str, settings: &[String], read: Option<&Policy>) -> Self {
        let digest = read.filter(|_| !is_bundled(policy)).map(|policy| policy.digest().to_owned());
        Self { policy: policy.to_owned(), settings: settings.to_vec(), digest }
    }
}

impl SavedState {
    /// Returns whether the command line is the same as when this was kept.
    pub(super) fn is_of(&self, requested: &Requested) -> bool {
        (&self.requested.policy, &self.requested.settings) == (&requested.policy, &requested.settings)
    }

    /// Returns whether the file that it names is the same as well.
    pub(super) fn is_as_read(&self, requested: &Requested) -> bool {
        self.requested == *requested
    }

    /// Returns whether it is the policy that was active: then a crash came between the swap and the note of
    /// what was read.
    fn is_active(&self, policy: &Policy) -> bool {
        let active = &self.active.policy;
        (active.digest(), active.settings()) == (policy.digest(), policy.settings())
    }

    /// Returns each policy with the ones to go back to from it, the latest first.
    pub(super) fn starts(&self) -> Vec<StartCandidate> {
        let in_order: Vec<&RetainedPolicy> = self.previous.iter().chain([&self.active]).collect();
        let starts = in_order.iter().enumerate().rev().map(|(index, first)| {
            let previous = in_order.iter().take(index).map(|previous| (*previous).clone()).collect();
            ((*first).clone(), previous)
        });
        starts.collect()
    }

    /// Returns all policies, the latest last, as the ones before a new policy.
    fn as_previous(&self) -> Vec<RetainedPolicy> {
        self.previous.iter().chain([&self.active]).cloned().collect()
    }
}

/// Returns the policies to try, in order. The policy that was active when the server last ran is resumed,
/// unless the command line or the file that it names has changed since. Then it is what a rollback goes back
/// to, and, if only the file has changed, it serves on where that file is no good; but a command line that
/// names another policy is never answered with the old one.
pub(crate) fn candidates(
    chosen: Option<&Policy>,
    kept: Option<&SavedState>,
    requested: &Requested,
) -> Vec<StartCandidate> {
    let resumed = kept.filter(|kept| kept.is_of(requested));
    let starts = resumed.map(SavedState::starts).unwrap_or_default();
    let Some(chosen) = chosen else { return starts };
    let is_unchanged = resumed.is_some_and(|kept| kept.is_as_read(requested) || kept.is_active(chosen));
    let previous = kept.filter(|_| !is_unchanged).map(SavedState::as_previous).unwrap_or_default();
    let mut candidates = starts;
    let at = if is_unchanged { candidates.len() } else { 0 };
    candidates.insert(at, (RetainedPolicy { policy: chosen.clone(), proven: true }, previous));
    candidates
}
