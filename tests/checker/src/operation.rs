//! The action of a caller, and the two moments between which it happened.

use crate::ValueId;

/// The moments before an operation was begun and after it had ended, in nanoseconds on one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The moment before it was begun.
    pub start: u64,
    /// The moment after its answer was there.
    pub end: u64,
}

/// The content of a row, stored or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// This value.
    Value(ValueId),
    /// No row, NULL or the empty text.
    Absent,
}

/// The outcome of an operation. An operation that failed or was dropped says nothing, and is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// A read of any kind answered.
    Answered(Content),
    /// A rotation returned this value.
    Issued(ValueId),
    /// A heal returned this value, which it may have found.
    Healed(ValueId),
    /// A comparison with this value said whether it is the row's.
    Verified(ValueId, bool),
    /// The cached value was removed, or has to be: by an issue whose outcome is unknown.
    Removed,
    /// Another writer committed this behind the cache's back, between these two moments.
    Written(Content),
}

/// One operation on one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The row.
    pub workspace: usize,
    /// The time of the operation.
    pub span: Span,
    /// The outcome.
    pub did: Did,
}
