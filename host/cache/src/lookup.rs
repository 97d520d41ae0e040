//! The result of a read, and how it was answered: one enum for the return value, the field of the span and
//! the server's JSON. (The counters of `stats.rs` have names of their own.)

use std::time::Duration;

use crate::{Instant, Secret};

/// A secret, how it was obtained, and how old it was then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lookup {
    /// The secret.
    pub secret: Secret,
    /// The way in which the read was answered.
    pub status: Status,
    /// The instant when the value was obtained, on the clock of the cache.
    pub(crate) obtained_at: Instant,
    /// The instant of the answer, on the same clock.
    answered_at: Instant,
}

impl Lookup {
    /// Makes an answer at `now`.
    #[inline]
    pub(crate) fn new(secret: Secret, status: Status, obtained_at: Instant, now: Instant) -> Self {
        Self { secret, status, obtained_at, answered_at: now }
    }

    /// The time between when the value was obtained and this answer: since its SELECT was sent, or since its
    /// issue was known to be committed. It may be some milliseconds too long, never too short.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.answered_at.saturating_since(self.obtained_at)
    }
}

/// The way in which a read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Answered from the cache, under a lease: no policy ran and no statement was sent.
    Hit,
    /// Answered from the database.
    Miss,
    /// Answered from the cache: the policy leased the entry again without a SELECT, as after a swap.
    Renewed,
    /// Answered from the cache, after its lease: the policy chose to answer with a kept value.
    Stale,
    /// Answered after a heal: the workspace had no secret, and one was issued (or another replica was first,
    /// and its secret was taken).
    Healed,
    /// Answered from the database, past a policy that failed.
    Bypassed,
}

impl Status {
    /// Returns the word for spans, logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Renewed => "renewed",
            Self::Stale => "stale",
            Self::Healed => "healed",
            Self::Bypassed => "bypassed",
        }
    }
}
