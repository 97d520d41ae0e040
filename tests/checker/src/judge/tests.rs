use super::*;
use crate::Author;

/// Time for which a value is answered at most after it has left the row, in stories whose steps take one
/// nanosecond each.
const LONGEST: u64 = 10;

fn id(text: &str) -> ValueId {
    ValueId::of(text)
}

fn value(text: &str) -> Content {
    Content::Value(id(text))
}

/// Two rows: the first is committed as `a`, `b`, absence and `d`, the second as `other`.
fn history() -> History {
    let mut history = History::new(2);
    for content in [Some("a"), Some("b"), None, Some("d")] {
        history.commit(0, content.map(id), Author::Other).unwrap();
    }
    history.commit(1, Some(id("other")), Author::Other).unwrap();
    history
}

fn did(did: Did, start: u64, end: u64) -> Operation {
    Operation { workspace: 0, span: Span { start, end }, did }
}

fn answered(text: &str, start: u64, end: u64) -> Operation {
    did(Did::Answered(value(text)), start, end)
}

fn written(text: &str, start: u64, end: u64) -> Operation {
    did(Did::Written(value(text)), start, end)
}

/// Returns the broken rules, each with the moment at which its operation began.
fn broken(operations: &[Operation]) -> Vec<(Rule, u64)> {
    broken_at_rest(operations, 0)
}

fn broken_at_rest(operations: &[Operation], position: u32) -> Vec<(Rule, u64)> {
    let mut judge = Judge::new(2, LONGEST);
    judge.settle(0, position, 0);
    let found = judge.judge(&history(), operations.to_vec());
    found.into_iter().map(|violation| (violation.rule, violation.operation.span.start)).collect()
}

#[test]
fn a_history_in_which_all_is_well_is_accepted() {
    let story = [
        did(Did::Answered(Content::Absent), 0, 1),
        did(Did::Issued(id("a")), 2, 5),
        // It overlaps the issue, and may be from before it.
        did(Did::Answered(Content::Absent), 3, 8),
        answered("a", 6, 7),
        did(Did::Verified(id("a"), true), 6, 7),
        written("b", 9, 10),
        // Under a lease.
        answered("a", 11, 12),
        did(Did::Verified(id("b"), false), 11, 12),
        answered("b", 13, 16),
        // It overlaps the answer before it.
        answered("a", 14, 15),
        did(Did::Written(Content::Absent), 17, 18),
        did(Did::Removed, 19, 20),
        did(Did::Answered(Content::Absent), 21, 22),
        did(Did::Healed(id("d")), 22, 24),
        did(Did::Verified(id("b"), false), 25, 26),
        did(Did::Verified(id("other"), false), 25, 26),
        answered("d", 99, 100),
    ];
    assert_eq!(broken(&story), []);
}

#[test]
fn an_answer_older_than_an_issue_is_found_whatever_kind_of_read_gave_it() {
    let issue = did(Did::Issued(id("b")), 1, 4);
    assert_eq!(broken(&[issue, answered("a", 5, 6)]), [(Rule::OlderThanAnIssue, 5)]);
    assert_eq!(broken(&[issue, did(Did::Issued(id("a")), 5, 6)]), [(Rule::OlderThanAnIssue, 5)]);
    assert_eq!(
        broken(&[did(Did::Healed(id("b")), 1, 4), answered("a", 5, 6)]),
        [(Rule::OlderThanAnIssue, 5)]
    );
    assert_eq!(broken(&[issue, answered("a", 4, 6)]), [], "it began when the issue ended");
    let absence = did(Did::Answered(Content::Absent), 5, 6);
    assert_eq!(broken(&[issue, absence]), [], "it may be the later one");
    assert_eq!(broken(&[did(Did::Issued(id("d")), 1, 4), absence]), [(Rule::OlderThanAnIssue, 5)]);
}

#[test]
fn an_old_key_that_is_verified_is_found() {
    let issue = did(Did::Issued(id("b")), 1, 4);
    let verified = |start| did(Did::Verified(id("a"), true), start, start + 1);
    assert_eq!(broken(&[issue, verified(5)]), [(Rule::OldKeyVerified, 5)]);
    assert_eq!(broken(&[issue, verified(3)]), []);
}

#[test]
fn a_value_that_was_never_in_the_row_is_found() {
    assert_eq!(broken(&[answered("minted", 1, 2)]), [(Rule::NeverInTheRow, 1)]);
    assert_eq!(broken(&[did(Did::Issued(id("minted")), 1, 2)]), [(Rule::NeverInTheRow, 1)]);
    assert_eq!(broken(&[answered("other", 1, 2)]), [(Rule::OfAnotherRow, 1)]);
    assert_eq!(broken(&[did(Did::Verified(id("other"), true), 1, 2)]), [(Rule::OfAnotherRow, 1)]);
}

#[test]
fn an_answer_that_goes_back_is_found() {
    assert_eq!(broken(&[answered("b", 1, 2), answered("a", 3, 4)]), [(Rule::WentBack, 3)]);
    assert_eq!(broken(&[answered("b", 1, 3), answered("a", 2, 4)]), []);
    let absence = did(Did::Answered(Content::Absent), 3, 4);
    assert_eq!(broken(&[answered("b", 1, 2), absence, answered("b", 5, 6)]), [(Rule::WentBack, 5)]);
}

#[test]
fn what_had_left_the_row_before_a_removal_is_found_after_it() {
    let removed = did(Did::Removed, 3, 4);
    assert_eq!(broken(&[written("b", 1, 2), removed, answered("a", 5, 6)]), [(Rule::OlderThanARemoval, 5)]);
    assert_eq!(broken(&[written("b", 1, 2), removed, answered("a", 4, 6)]), []);
    assert_eq!(broken(&[written("b", 1, 3), removed, answered("a", 5, 6)]), [], "it was called too early");
    let gone = did(Did::Written(Content::Absent), 1, 2);
    assert_eq!(
        broken(&[answered("b", 0, 0), gone, removed, answered("b", 5, 6)]),
        [(Rule::OlderThanARemoval, 5)]
    );
}

#[test]
fn what_is_answered_for_longer_than_a_lease_is_found() {
    assert_eq!(broken(&[written("b", 1, 2), answered("a", 2 + LONGEST, 20)]), []);
    assert_eq!(broken(&[written("b", 1, 2), answered("a", 3 + LONGEST, 20)]), [(Rule::PastItsLease, 13)]);
    assert_eq!(broken(&[written("d", 1, 2), answered("b", 3 + LONGEST, 20)]), [(Rule::PastItsLease, 13)]);
}

#[test]
fn an_answer_at_rest_that_is_not_the_row_s_is_found() {
    assert_eq!(broken_at_rest(&[answered("b", 1, 2)], 4), [(Rule::NotWhatTheRowHolds, 1)]);
    assert_eq!(
        broken_at_rest(&[did(Did::Answered(Content::Absent), 1, 2)], 4),
        [(Rule::NotWhatTheRowHolds, 1)]
    );
    assert_eq!(broken_at_rest(&[answered("d", 1, 2)], 4), []);
}

#[test]
fn an_issue_that_returns_what_was_there_is_found() {
    let issue = |start| did(Did::Issued(id("b")), start, 9);
    assert_eq!(broken(&[written("b", 1, 2), issue(3)]), [(Rule::NothingNewIssued, 3)]);
    assert_eq!(broken(&[written("b", 1, 2), issue(2)]), []);
}

#[test]
fn the_stored_key_that_is_refused_is_found() {
    let refused = |text| did(Did::Verified(id(text), false), 5, 6);
    assert_eq!(broken(&[answered("d", 1, 2), refused("d")]), [(Rule::StoredKeyRefused, 5)]);
    assert_eq!(broken(&[did(Did::Issued(id("d")), 1, 5), refused("d")]), []);
    // Its successor was not yet there, or may have been.
    assert_eq!(
        broken(&[answered("a", 1, 2), refused("a"), written("b", 7, 8)]),
        [(Rule::StoredKeyRefused, 5)]
    );
    assert_eq!(broken(&[answered("a", 1, 2), refused("a"), written("b", 6, 8)]), []);
    assert_eq!(broken(&[answered("b", 1, 2), refused("a")]), []);
}

#[test]
fn floors_last_from_one_batch_to_the_next() {
    let mut judge = Judge::new(2, LONGEST);
    assert_eq!(judge.judge(&history(), vec![did(Did::Issued(id("b")), 1, 2)]), []);
    let found = judge.judge(&history(), vec![answered("a", 3, 4)]);
    assert_eq!(found.len(), 1);
    let story = found[0].to_string();
    assert!(story.starts_with("OlderThanAnIssue: row 0, Answered("), "{story}");
    assert!(story.ends_with("from 3 to 4 ns: commit 1 of the row, where 2 was known at 2 ns"), "{story}");
}

#[test]
fn a_value_that_is_committed_twice_is_refused() {
    let mut history = history();
    let place = history.place(id("a")).unwrap();
    assert_eq!(history.commit(1, Some(id("a")), Author::Cache), Err(place));
    assert_eq!((history.last(1), history.last_of_cache(1)), (1, 0));
    history.commit(1, Some(id("e")), Author::Cache).unwrap();
    assert_eq!((history.last(1), history.last_of_cache(1)), (2, 2));
}
