//! An answer of the database, and when it was known to be so.

use crate::{DatabaseError, Instant, Secret};

/// A value that the database gave, and when it was known to be so.
#[derive(Clone, Debug)]
pub(crate) struct Obtained<T> {
    pub(crate) value: T,
    pub(crate) at: Instant,
}

/// The answer of the database for one workspace that was read.
pub(crate) type Read = Result<Obtained<Option<Secret>>, DatabaseError>;

/// Makes the answer from what a database found, dated by when it was asked. The empty secret is absence,
/// whatever the database calls it: it would be a secret that any client can present.
pub(super) fn obtained(found: Result<Option<Secret>, DatabaseError>, at: Instant) -> Read {
    found.map(|value| Obtained { value: value.filter(|secret| !secret.is_empty()), at })
}
