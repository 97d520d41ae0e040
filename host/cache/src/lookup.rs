//! How a read was answered: one enum for the return value, the log field and the metric label.

use crate::Secret;

/// A secret, and how it was come by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lookup {
    /// The secret.
    pub secret: Secret,
    /// Where it came from.
    pub status: Status,
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
