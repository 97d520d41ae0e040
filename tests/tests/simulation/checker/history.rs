//! The history: each operation with its key, its caller, its start and end, its policy and its outcome.
//!
//! It records, and judges nothing.

use std::fmt;

use leasehold::{Error, Status};

use super::super::plan::Verb;
use super::super::row::{Floor, Moment};
use super::super::world::World;

/// An operation that has begun, with what was known then.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) client: u64,
    pub(crate) verb: Verb,
    pub(crate) key: usize,
    pub(crate) start: Moment,
    pub(crate) generation: u64,
    /// The secret that is presented to `verify`.
    pub(crate) presented: Option<u32>,
    /// The floor after which a returned secret must have been stored.
    pub(super) floor: Floor,
    /// The floor after which a SELECT that is waited for must have been sent.
    pub(super) fresh: Floor,
    /// The moment after which a value that is served without asking must have been obtained: the last
    /// suspension that was noticed.
    pub(super) awake: Moment,
    /// The moment of the latest secret that was handed out; see `Row::shown_seq`.
    pub(super) shown_seq: u64,
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// An answer with a secret, if it is one: its row, and its number.
    Secret(Option<(usize, u32)>, Option<Status>),
    /// The answer no of `verify`.
    Mismatch,
    /// The answer of `get` or `with` that found no lease.
    Nothing,
    /// The end of an operation that has no answer.
    Done,
    Failed(Error),
    /// The drop of the caller.
    Dropped,
}

/// A line of the history.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) open: Open,
    pub(crate) end: Moment,
    /// The generation that was active at the end.
    pub(crate) generation: u64,
    pub(crate) outcome: Outcome,
}

impl Open {
    pub(crate) fn new(
        world: &mut World,
        client: u64,
        verb: Verb,
        key: usize,
        presented: Option<u32>,
    ) -> Self {
        let (start, generation) = (world.moment(), world.generation);
        let (mut floor, mut fresh) = world.rows[key].floors(start, world.plan.timeout_ms);
        // The cache looks once a second whether the machine was suspended, and drops everything.
        let noticed = world.suspensions.iter().rfind(|suspension| suspension.ms + 1_000 < start.ms);
        let awake = noticed.copied().unwrap_or_default();
        floor.rise_to(awake.seq, 0);
        fresh.rise_to(awake.seq, 0);
        Self {
            client,
            verb,
            key,
            start,
            generation,
            presented,
            floor,
            fresh,
            awake,
            shown_seq: world.rows[key].shown_seq,
        }
    }
}

impl Record {
    /// Returns the name under which it is counted.
    pub(super) fn label(&self) -> &'static str {
        match (&self.outcome, self.open.verb) {
            (Outcome::Secret(_, Some(status)), _) => match status {
                Status::Hit => "hits",
                Status::Miss => "misses",
                Status::Renewed => "reads renewed",
                Status::Stale => "stale reads",
                Status::Healed => "heals",
                _ => "reads past a policy that failed",
            },
            (Outcome::Secret(..), Verb::Issue) => "issues acknowledged",
            (Outcome::Secret(..), _) => "secrets verified",
            (Outcome::Mismatch, _) => "secrets refused by verify",
            (Outcome::Nothing, _) => "lookups without a lease",
            (Outcome::Done, verb) => match verb {
                Verb::Swap => "swaps",
                Verb::Rollback => "rollbacks",
                Verb::Reset => "resets",
                _ => "removals",
            },
            (Outcome::Dropped, Verb::Issue) => "dropped issues",
            (Outcome::Dropped, Verb::ReadOrIssue) => "dropped heals",
            (Outcome::Dropped, _) => "dropped reads",
            (Outcome::Failed(error), _) => match error {
                Error::Absent => "reads of an absence",
                Error::UnknownWorkspace => "issues without a row",
                Error::Unavailable(_) => "errors: unavailable",
                Error::Timeout => "errors: timeout",
                Error::OutcomeUnknown(_) => "errors: outcome unknown",
                Error::Overloaded => "errors: overloaded",
                _ => "errors: internal",
            },
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, end, generation, outcome } = self;
        write!(f, "{:?} w{}", open.verb, open.key)?;
        if let Some(presented) = open.presented {
            write!(f, " presenting #{presented}")?;
        }
        write!(f, " -> ")?;
        match outcome {
            Outcome::Secret(Some((key, version)), status) => {
                write!(f, "w{key}#{version}")?;
                status.map_or(Ok(()), |status| write!(f, " ({})", status.as_str()))?;
            }
            Outcome::Secret(None, _) => f.write_str("a secret that nobody knows")?,
            Outcome::Failed(error) => write!(f, "{error}")?,
            other => write!(f, "{other:?}")?,
        }
        let (from, to) = (open.start.ms, end.ms);
        write!(f, " [{from} to {to} ms, generation {} to {generation}]", open.generation)
    }
}
