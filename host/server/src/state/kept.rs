//! What an earlier run kept beside what the command line asks for: which policies a start is to try, in which order.

use leasehold::{Policy, Standing};
use serde::{Deserialize, Serialize};

use crate::policy::is_bundled;

/// The policies that an earlier run kept.
pub(crate) struct Kept {
    pub(crate) active: Standing,
    /// The latest last.
    pub(crate) previous: Vec<Standing>,
    /// What the command line asked for, when the policy that it names was last read.
    pub(super) asked: Asked,
}

/// What the command line asks for.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub(crate) struct Asked {
    policy: String,
    settings: Vec<String>,
    /// Of the file that it names, as last read. Of a bundled policy none is kept: a later release has another one.
    digest: Option<String>,
}

/// A policy to start with, and those to go back to from it.
pub(crate) type Candidate = (Standing, Vec<Standing>);

impl Asked {
    pub(crate) fn new(policy: &str, settings: &[String], read: Option<&Policy>) -> Self {
        let digest = read.filter(|_| !is_bundled(policy)).map(|policy| policy.digest().to_owned());
        Self { policy: policy.to_owned(), settings: settings.to_vec(), digest }
    }
}

impl Kept {
    /// Whether the command line is the same as when this was kept.
    pub(super) fn is_of(&self, asked: &Asked) -> bool {
        (&self.asked.policy, &self.asked.settings) == (&asked.policy, &asked.settings)
    }

    /// Whether the file that it names is the same as well.
    pub(super) fn is_as_read(&self, asked: &Asked) -> bool {
        self.asked == *asked
    }

    /// Whether it is the policy that was active: then a crash came between that and the note of what was read.
    fn is_active(&self, policy: &Policy) -> bool {
        let active = &self.active.policy;
        (active.digest(), active.settings()) == (policy.digest(), policy.settings())
    }

    /// Each of them with those to go back to from it, the latest first.
    pub(super) fn starts(&self) -> Vec<Candidate> {
        let in_order: Vec<&Standing> = self.previous.iter().chain([&self.active]).collect();
        let starts = in_order.iter().enumerate().rev().map(|(index, first)| {
            let previous = in_order.iter().take(index).map(|previous| (*previous).clone()).collect();
            ((*first).clone(), previous)
        });
        starts.collect()
    }

    /// All of them, the latest last: what a new policy leaves behind it.
    fn as_previous(&self) -> Vec<Standing> {
        self.previous.iter().chain([&self.active]).cloned().collect()
    }
}

/// The policies to try, in order. What was active when the server last ran is resumed, unless the command line or the file that
/// it names has changed since. Then it is what a rollback goes back to, and serves on where that file is no good; but a
/// command line that names another policy is never answered with the old one.
pub(crate) fn candidates(chosen: Option<&Policy>, kept: Option<&Kept>, asked: &Asked) -> Vec<Candidate> {
    let resumed = kept.filter(|kept| kept.is_of(asked));
    let starts = resumed.map(Kept::starts).unwrap_or_default();
    let Some(chosen) = chosen else { return starts };
    let is_unchanged = resumed.is_some_and(|kept| kept.is_as_read(asked) || kept.is_active(chosen));
    let previous = kept.filter(|_| !is_unchanged).map(Kept::as_previous).unwrap_or_default();
    let mut candidates = starts;
    let at = if is_unchanged { candidates.len() } else { 0 };
    candidates.insert(at, (Standing { policy: chosen.clone(), proven: true }, previous));
    candidates
}
