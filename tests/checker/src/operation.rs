//! What a caller did, and between which two moments.

use crate::ValueId;

/// The moments before an operation was begun and after it had ended, in nanoseconds on one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before it was begun.
    pub start: u64,
    /// After its answer was there.
    pub end: u64,
}

/// What a row holds, or was answered to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// This value.
    Value(ValueId),
    /// No row, NULL or the empty text.
    Absent,
}

/// What an operation came to. One that failed or was dropped says nothing, and is left out.
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
    /// What is cached was removed, or has to be: by an issue of which is not known what it did.
    Removed,
    /// Another writer committed this behind the cache's back, between these two moments.
    Written(Content),
}

/// One operation on one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The row.
    pub workspace: usize,
    /// When.
    pub span: Span,
    /// What.
    pub did: Did,
}
