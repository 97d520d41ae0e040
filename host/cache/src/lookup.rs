//! How a read was answered: one enum for the return value, the log field and the metric label.

use std::time::Duration;

use crate::{Instant, Secret};

/// A secret, how it was come by, and how old it was then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lookup {
    /// The secret.
    pub secret: Secret,
    /// Where it came from.
    pub status: Status,
    /// When the value was obtained, on the clock of the cache.
    pub(crate) obtained_at: Instant,
    /// When it was answered, on the same clock.
    answered_at: Instant,
}

impl Lookup {
    /// An answer at `now`.
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

/// How a read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// From the cache, under a lease: no policy ran and no statement was sent.
    Hit,
    /// From the database.
    Miss,
    /// From the cache: the policy leased the entry again without a SELECT, as after a swap.
    Renewed,
    /// From the cache, after its lease: the policy chose to answer with a kept value.
    Stale,
    /// The workspace had no secret, and one was issued (or another replica was first, and that one was taken).
    Healed,
    /// From the database, past a policy that failed.
    Bypassed,
}

impl Status {
    /// The word for logs, metrics and JSON.
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
