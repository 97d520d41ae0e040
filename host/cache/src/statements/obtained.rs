//! What the database said, and when it was known to be so.

use crate::{DatabaseError, Instant, Secret};

/// Something that the database said, and when it was known to be so.
#[derive(Clone, Debug)]
pub(crate) struct Obtained<T> {
    pub(crate) value: T,
    pub(crate) at: Instant,
}

/// What the database said of one workspace when it was read.
pub(crate) type Read = Result<Obtained<Option<Secret>>, DatabaseError>;

/// What a database found, from when it was asked. The empty secret is absence, whatever the database calls
/// it: it would be a secret that anybody can present.
pub(super) fn obtained(found: Result<Option<Secret>, DatabaseError>, at: Instant) -> Read {
    found.map(|value| Obtained { value: value.filter(|secret| !secret.is_empty()), at })
}
