//! The history: what was asked, of which key, by whom, from when until when, under which policy, and what came of it.
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
    /// Which secret is presented to `verify`.
    pub(crate) presented: Option<u32>,
    /// A secret that is returned must have been stored after this.
    pub(super) floor: Floor,
    /// A SELECT that is waited for must have been sent after this.
    pub(super) fresh: Floor,
    /// What is served without asking must have been obtained after this: the last suspension that was noticed.
    pub(super) awake: Moment,
    /// See `Row::shown_seq`.
    pub(super) shown_seq: u64,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// With a secret, if it is one: whose, and which.
    Secret(Option<(usize, u32)>, Option<Status>),
    /// `verify` said no.
    Mismatch,
    /// `get` or `with` found no lease.
    Nothing,
    /// What has no answer was done.
    Done,
    Failed(Error),
    /// The caller was dropped.
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
    /// What it is counted as.
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
