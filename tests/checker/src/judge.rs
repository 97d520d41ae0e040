//! The rules, held against operations and commits.
//!
//! For each row there are floors: positions below which nothing may be answered any more. An operation that
//! ends raises them; an operation that begins is held against the floors of that moment. So only what had
//! ended before binds what begins later. Floors last from one batch to the next, so that the operations of a
//! batch may be forgotten: no operation may be of two batches.

use std::fmt;

use crate::{Content, Did, History, Operation, Span, ValueId};

/// Maximum number of moments at which a row is known to have moved on that are remembered: seconds of a busy
/// row.
const MAX_MOVES: usize = 8_192;

/// Rules that must never be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Once an issue has returned a value, no read that begins later answers an older one.
    OlderThanAnIssue,
    /// Once an issue has returned a value, no older one is taken for the row's.
    OldKeyVerified,
    /// Every answer was committed in a row.
    NeverInTheRow,
    /// Every answer was committed in the row that was asked for.
    OfAnotherRow,
    /// After an answer no older value is answered.
    WentBack,
    /// After a removal, a reset or an issue of unknown outcome no value is answered that had left the row
    /// before the call began.
    OlderThanARemoval,
    /// No value is answered for longer after it has left the row than a lease may last.
    PastItsLease,
    /// At rest a read answers what the row holds, or what the cache has last stored in it.
    NotWhatTheRowHolds,
    /// A rotation returns a value that was not there before it was called.
    NothingNewIssued,
    /// A value that the row holds is not refused once every read has to answer it.
    StoredKeyRefused,
}

/// An operation that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The operation.
    pub operation: Operation,
    /// The position of its answer, where there is one.
    pub position: Option<u32>,
    /// The lowest position that was allowed, and since when.
    pub floor: Floor,
}

/// A position below which nothing may be answered, and the moment since which that is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    position: u32,
    since: u64,
}

/// The rules for all rows, with what they have to remember.
#[derive(Debug)]
pub struct Judge {
    rows: Vec<Row>,
    /// Longest time for which a value may be answered after it has left the row, in nanoseconds.
    longest: u64,
}

#[derive(Clone, Debug, Default)]
struct Row {
    issued: Floor,
    answered: Floor,
    removed: Floor,
    rest: Floor,
    /// Moments at which the row was first known to have come to a position, both rising.
    moves: Vec<Floor>,
}

/// The operations on one row.
struct Batch<'a> {
    history: &'a History,
    operations: &'a [Operation],
}

/// The state of a row when an operation began.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    /// The last position that the row was known to have come to.
    known: u32,
    /// The first position that the answer can have, where it is one of a row.
    first: Option<u32>,
}

/// The reason why an operation breaks a rule: the rule, the position of its answer, the floor.
type Verdict<T> = Result<T, (Rule, Option<u32>, Floor)>;

impl Judge {
    /// Creates a judge of so many rows, and of values that are answered for `longest` nanoseconds at most
    /// after they have left their row.
    pub fn new(workspaces: usize, longest: u64) -> Self {
        Self { rows: vec![Row::default(); workspaces], longest }
    }

    /// Has no read of this row answer anything before this position from now on.
    pub fn settle(&mut self, workspace: usize, position: u32, now: u64) {
        self.rows[workspace].rest.rise(position, now);
    }

    /// Finds the operations that break a rule. The history has every commit up to the last end, and none of
    /// these operations was begun before the last batch had ended.
    pub fn judge(&mut self, history: &History, mut operations: Vec<Operation>) -> Vec<Violation> {
        operations.sort_unstable_by_key(|operation| operation.workspace);
        let rows = operations.chunk_by(|one, other| one.workspace == other.workspace);
        let of_row = |operations: &[Operation]| {
            let row = &mut self.rows[operations[0].workspace];
            row.judge(&Batch { history, operations }, self.longest)
        };
        rows.flat_map(of_row).collect()
    }
}

impl Row {
    fn judge(&mut self, batch: &Batch<'_>, longest: u64) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut starts = vec![Start::default(); batch.operations.len()];
        for (is_end, index) in batch.moments() {
            let operation = batch.operations[index];
            if is_end {
                self.end(batch, &operation, starts[index]);
                continue;
            }
            let first = self.begin(batch, &operation, longest).unwrap_or_else(|(rule, position, floor)| {
                violations.push(Violation { rule, operation, position, floor });
                None
            });
            starts[index] = Start { known: self.known().position, first };
        }
        if let Some(excess) = self.moves.len().checked_sub(MAX_MOVES) {
            self.moves.drain(..excess);
        }
        violations
    }

    /// Holds an operation against the floors of the moment at which it began. Returns the position of its
    /// answer: of an absence the first one that it can be.
    fn begin(&self, batch: &Batch<'_>, operation: &Operation, longest: u64) -> Verdict<Option<u32>> {
        let (first, last) = match operation.did {
            Did::Removed | Did::Written(_) => return Ok(None),
            Did::Verified(value, false) => return self.refused(batch, operation, value),
            Did::Answered(Content::Absent) => {
                batch.history.absences(operation.workspace, self.highest().position)
            }
            Did::Answered(Content::Value(value))
            | Did::Issued(value)
            | Did::Healed(value)
            | Did::Verified(value, true) => {
                let nowhere = (Rule::NeverInTheRow, None, Floor::default());
                let place = batch.history.place(value).ok_or(nowhere)?;
                if place.workspace != operation.workspace {
                    return Err((Rule::OfAnotherRow, None, Floor::default()));
                }
                (place.position, place.position)
            }
        };
        self.hold(operation, first)?;
        let left = self.moves.get(self.moves.partition_point(|moved| moved.position <= last));
        match left {
            Some(left) if operation.span.start > left.since.saturating_add(longest) => {
                Err((Rule::PastItsLease, Some(last), *left))
            }
            _ => Ok(Some(first)),
        }
    }

    /// Checks that this position may be answered.
    fn hold(&self, operation: &Operation, position: u32) -> Verdict<()> {
        let older_than_an_issue = match operation.did {
            Did::Verified(..) => Rule::OldKeyVerified,
            _ => Rule::OlderThanAnIssue,
        };
        for (rule, floor) in [
            (older_than_an_issue, self.issued),
            (Rule::OlderThanARemoval, self.removed),
            (Rule::NotWhatTheRowHolds, self.rest),
            (Rule::WentBack, self.answered),
        ] {
            if position < floor.position {
                return Err((rule, Some(position), floor));
            }
        }
        if matches!(operation.did, Did::Issued(_)) && position <= self.known().position {
            return Err((Rule::NothingNewIssued, Some(position), self.known()));
        }
        Ok(())
    }

    /// Checks a refusal, which is a read that found something else. Where the presented value is the oldest
    /// that may be answered, there must be something newer that it can have found.
    fn refused(&self, batch: &Batch<'_>, operation: &Operation, value: ValueId) -> Verdict<Option<u32>> {
        let floor = self.highest();
        let place = batch.history.place(value).filter(|place| place.workspace == operation.workspace);
        match place {
            Some(place)
                if place.position == floor.position && !batch.may_follow(place.position, operation.span) =>
            {
                Err((Rule::StoredKeyRefused, Some(place.position), floor))
            }
            _ => Ok(None),
        }
    }

    /// Raises the floors for operations that begin later.
    fn end(&mut self, batch: &Batch<'_>, operation: &Operation, start: Start) {
        let now = operation.span.end;
        let position = match operation.did {
            Did::Removed => return self.removed.rise(start.known, now),
            Did::Written(Content::Value(value)) => batch.history.place(value).map(|place| place.position),
            // It was committed after what was known.
            Did::Written(Content::Absent) => batch.history.absence_from(operation.workspace, start.known + 1),
            _ => start.first,
        };
        let Some(position) = position else { return };
        if matches!(operation.did, Did::Issued(_) | Did::Healed(_)) {
            self.issued.rise(position, now);
        }
        if !matches!(operation.did, Did::Written(_)) {
            self.answered.rise(position, now);
        }
        if position > self.known().position {
            self.moves.push(Floor { position, since: now });
        }
    }

    fn highest(&self) -> Floor {
        let floors = [self.issued, self.removed, self.rest, self.answered];
        floors.into_iter().max_by_key(|floor| floor.position).unwrap_or_default()
    }

    /// Returns the last position that the row is known to have come to.
    fn known(&self) -> Floor {
        self.moves.last().copied().unwrap_or_default()
    }
}

impl Floor {
    fn rise(&mut self, position: u32, since: u64) {
        if position > self.position {
            *self = Self { position, since };
        }
    }
}

impl Batch<'_> {
    /// Returns starts and ends in the order of time, each with the index of its operation. An operation that
    /// ends when another one begins overlaps it: starts come first.
    fn moments(&self) -> Vec<(bool, usize)> {
        let spans = self.operations.iter().map(|operation| operation.span).enumerate();
        let mut moments: Vec<(u64, bool, usize)> =
            spans.flat_map(|(index, span)| [(span.start, false, index), (span.end, true, index)]).collect();
        moments.sort_unstable();
        moments.into_iter().map(|(_, is_end, index)| (is_end, index)).collect()
    }

    /// Returns whether the commit after this position may have been made before the end of this span: not if
    /// there is none, nor if the call that brought it was begun later.
    fn may_follow(&self, position: u32, span: Span) -> bool {
        let workspace = self.operations[0].workspace;
        let brings_it_later = |operation: &Operation| match operation.did {
            Did::Issued(value) | Did::Written(Content::Value(value)) => {
                operation.span.start > span.end
                    && self.history.place(value).is_some_and(|place| place.position == position + 1)
            }
            _ => false,
        };
        self.history.last(workspace) > position && !self.operations.iter().any(brings_it_later)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { workspace, span, did } = self.operation;
        write!(f, "{:?}: row {workspace}, {did:?} from {} to {} ns", self.rule, span.start, span.end)?;
        if let Some(position) = self.position {
            let Floor { position: floor, since } = self.floor;
            write!(f, ": commit {position} of the row, where {floor} was known at {since} ns")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
