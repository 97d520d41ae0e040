//! Counts of everything that happened: a run in which nothing did would break no rule either.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Operations by kind.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// Figures that the cache reports of itself, and errors by kind.
    pub(crate) others: BTreeMap<&'static str, u64>,
    /// Number of futures; of those that were waited for; of those that were dropped meanwhile, and of those
    /// that were dropped before they were polled.
    pub(crate) futures: u64,
    pub(crate) waited: u64,
    pub(crate) dropped: u64,
    pub(crate) unbegun: u64,
}

/// Events that must have happened.
const EXPECTED: [&str; 15] = [
    "hits",
    "misses",
    "joined",
    "renewed",
    "healed",
    "absent",
    "evicted",
    "swaps",
    "issues",
    "rereads",
    "verified",
    "refused",
    "error: Refused",
    "error: OutcomeUnknown",
    "committed",
];

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.others.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (counts, more) in [(&mut self.kinds, &other.kinds), (&mut self.others, &other.others)] {
            for (what, count) in more {
                *counts.entry(what).or_default() += count;
            }
        }
        self.futures += other.futures;
        self.waited += other.waited;
        self.dropped += other.dropped;
        self.unbegun += other.unbegun;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Checks that the run exercised everything that it is for.
    pub(crate) fn check(&self) {
        let happened = |what: &&&str| self.others.get(**what).is_some_and(|count| *count > 0);
        let missing: Vec<_> = EXPECTED.iter().filter(|what| !happened(what)).collect();
        assert!(missing.is_empty(), "these never happened: {missing:?}; {self}");
        assert!(10 * self.dropped > 4 * self.waited, "fewer than four of ten futures were dropped: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&str, u64>| -> Vec<String> {
            let counts = counts.iter().filter(|(_, count)| **count > 0);
            counts.map(|(what, count)| format!("{count} {what}")).collect()
        };
        write!(f, "{} operations ({})", self.operations(), list(&self.kinds).join(", "))?;
        let Self { futures, waited, dropped, unbegun, .. } = self;
        write!(
            f,
            "; {futures} futures, {waited} of them waited for, {dropped} of those dropped meanwhile, "
        )?;
        write!(f, "{unbegun} dropped before they were polled; {}", list(&self.others).join(", "))
    }
}
