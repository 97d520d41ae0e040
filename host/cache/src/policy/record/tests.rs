//! The judgement of answers: what a policy may say, by what it was shown and what it did.

use std::time::Duration;

use super::*;

const CEILINGS: Ceilings = Ceilings {
    max_fresh: Duration::from_secs(100),
    max_keep: Duration::from_secs(200),
    max_absent: Duration::from_secs(10),
};

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn lease(fresh: u64, keep: u64) -> Lease {
    Lease { refresh_after: at(fresh), fresh_until: at(fresh), watched_until: at(fresh), keep_until: at(keep) }
}

/// What is kept: a value that was obtained at 0, fresh to 10 and kept to 50.
fn kept(value: Option<&str>) -> Option<Snapshot> {
    Some(Snapshot { value: value.map(Secret::new), obtained_at: at(0), lease: lease(10, 50) })
}

fn record(request: Request, kept: Option<Snapshot>) -> Record {
    Record::new(request, kept, CEILINGS)
}

fn reads(kept: Option<Snapshot>) -> Record {
    record(Request::Read, kept)
}

/// A SELECT that brings this at a moment.
fn select(record: &mut Record, found: Result<Option<&str>, DatabaseError>, seconds: u64) -> Option<Handle> {
    let step = record.begin_select().unwrap();
    let read = found.map(|value| Obtained { value: value.map(Secret::new), at: at(seconds) });
    record.note_read(step, read).ok().flatten()
}

fn issue(record: &mut Record, mode: IssueMode, secret: &str) -> Handle {
    let step = record.begin_issue(mode, true).unwrap();
    record.note_issue(step, Ok(Obtained { value: Secret::new(secret), at: at(20) })).unwrap()
}

fn judged(record: &Record, answer: PolicyAnswer) -> Result<Option<(String, Status)>, String> {
    match record.judge_read(answer, at(20), at(20)) {
        Ok(JudgedRead::Found(lookup)) => {
            Ok(Some((lookup.secret.expose_str().unwrap().to_owned(), lookup.status)))
        }
        Ok(JudgedRead::Absent) => Ok(None),
        Ok(JudgedRead::Failed(error)) => Err(error.to_string()),
        Err(Fault(fault)) => Err(format!("fault: {fault}")),
    }
}

fn down() -> DatabaseError {
    DatabaseError::Unavailable("down".into())
}

#[test]
fn what_a_select_found_may_be_answered() {
    let mut record = reads(None);
    let found = select(&mut record, Ok(Some("s")), 20).unwrap();
    assert_eq!(judged(&record, PolicyAnswer::Secret(found)), Ok(Some(("s".into(), Status::Miss))));
    let mut record = reads(None);
    assert!(select(&mut record, Ok(None), 20).is_none());
    assert_eq!(judged(&record, PolicyAnswer::Absent), Ok(None));
    let mut record = reads(None);
    assert!(select(&mut record, Err(down()), 20).is_none());
    assert_eq!(judged(&record, PolicyAnswer::Error), Err(down().to_string()));
}

#[test]
fn an_absence_or_an_error_that_nothing_bears_out_is_a_fault() {
    let is_fault =
        |record: &Record, answer| judged(record, answer).is_err_and(|why| why.starts_with("fault"));
    assert!(is_fault(&reads(None), PolicyAnswer::Absent));
    assert!(is_fault(&reads(None), PolicyAnswer::Error));
    assert!(is_fault(&reads(kept(Some("s"))), PolicyAnswer::Absent));
    // The row was read, and has a secret: what was kept does not count any more.
    let mut record = reads(kept(None));
    select(&mut record, Ok(Some("s")), 20);
    assert!(is_fault(&record, PolicyAnswer::Absent));
    // The last SELECT counts.
    let mut record = reads(None);
    select(&mut record, Ok(None), 20);
    select(&mut record, Ok(Some("s")), 20);
    assert!(is_fault(&record, PolicyAnswer::Absent));
}

#[test]
fn a_kept_absence_may_be_answered_while_it_is_kept_or_was_shown() {
    let judge = |record: &Record, now| record.judge_read(PolicyAnswer::Absent, at(now), at(now)).is_ok();
    let mut record = reads(kept(None));
    assert!(judge(&record, 49) && !judge(&record, 50), "kept until 50");
    assert!(record.entry(at(49)).is_some_and(|(_, handle)| handle.is_none()));
    assert!(judge(&record, 51), "it was shown, and the call took a while");
}

#[test]
fn an_entry_that_is_leased_again_is_renewed_and_one_after_an_error_is_stale() {
    let mut record = reads(kept(Some("s")));
    let (_, handle) = record.entry(at(20)).unwrap();
    assert_eq!(
        judged(&record, PolicyAnswer::Secret(handle.unwrap())),
        Ok(Some(("s".into(), Status::Stale))),
        "no lease covers it"
    );
    let (_, handle) = record.entry(at(20)).unwrap();
    let handle = handle.unwrap();
    record.put(Some(&handle), lease(30, 40)).unwrap();
    assert_eq!(judged(&record, PolicyAnswer::Secret(handle)), Ok(Some(("s".into(), Status::Renewed))));

    let mut record = reads(kept(Some("s")));
    select(&mut record, Err(down()), 20);
    let (_, handle) = record.entry(at(20)).unwrap();
    let handle = handle.unwrap();
    record.put(Some(&handle), lease(30, 40)).unwrap();
    assert_eq!(judged(&record, PolicyAnswer::Secret(handle)), Ok(Some(("s".into(), Status::Stale))));
}

#[test]
fn nothing_is_shown_that_is_kept_no_longer() {
    let mut record = reads(kept(Some("s")));
    assert!(record.entry(at(50)).is_none());
    record.remove();
    assert!(record.entry(at(1)).is_none(), "the policy has removed it");
}

#[test]
fn a_put_is_lowered_to_the_ceilings_from_when_its_value_was_obtained() {
    let mut record = reads(None);
    let found = select(&mut record, Ok(Some("s")), 20).unwrap();
    record.put(Some(&found), lease(1_000, 2_000)).unwrap();
    let Some(Change::Put(put)) = record.take_change() else { panic!("it was put") };
    assert_eq!((put.lease.fresh_until, put.lease.keep_until), (at(120), at(220)));
    assert!(record.take_change().is_none(), "it is taken once");
    select(&mut record, Ok(None), 20);
    record.put(None, lease(1_000, 2_000)).unwrap();
    let Some(Change::Put(put)) = record.take_change() else { panic!("it was put") };
    assert_eq!((put.value.is_none(), put.lease.fresh_until, put.lease.keep_until), (true, at(30), at(30)));
}

#[test]
fn an_absence_is_put_only_where_the_last_select_found_it() {
    let mut record = reads(kept(None));
    assert!(record.put(None, lease(30, 40)).is_err(), "kept is not found");
    select(&mut record, Ok(None), 20);
    assert!(record.put(None, lease(30, 40)).is_ok());
    select(&mut record, Ok(Some("s")), 20);
    assert!(record.put(None, lease(30, 40)).is_err());
}

#[test]
fn what_came_before_an_issue_may_not_be_stored_or_shown_after_it() {
    let mut record = record(Request::Issue(IssueMode::Rotate), kept(Some("old")));
    let (_, old) = record.entry(at(20)).unwrap();
    let old = old.unwrap();
    record.put(Some(&old), lease(30, 40)).unwrap();
    let new = issue(&mut record, IssueMode::Rotate, "new");
    assert!(record.entry(at(20)).is_none(), "the entry is older than the issue");
    assert!(record.put(Some(&old), lease(30, 40)).is_err());
    record.put(Some(&new), lease(30, 40)).unwrap();
    let put = record.take_change();
    assert!(
        matches!(put, Some(Change::Put(put)) if put.value.as_ref().is_some_and(|value| value.verify(b"new")))
    );
    assert!(record.judge_issue(PolicyAnswer::Secret(old)).is_err());
    assert!(matches!(record.judge_issue(PolicyAnswer::Secret(new)), Ok(JudgedIssue::Secret(_))));
}

#[test]
fn an_issue_is_sent_in_its_own_call_and_once() {
    assert!(reads(None).begin_issue(IssueMode::Rotate, true).is_err());
    assert!(record(Request::Issue(IssueMode::Heal), None).begin_issue(IssueMode::Rotate, true).is_err());
    assert!(record(Request::Issue(IssueMode::Heal), None).begin_issue(IssueMode::Heal, false).is_err());
}

#[test]
fn a_heal_may_answer_what_it_selected_unless_it_has_issued() {
    let mut heals = record(Request::Issue(IssueMode::Heal), None);
    let found = select(&mut heals, Ok(Some("s")), 20).unwrap();
    assert!(heals.judge_issue(PolicyAnswer::Secret(found)).is_ok());
    let mut heals = record(Request::Issue(IssueMode::Heal), None);
    let found = select(&mut heals, Ok(Some("s")), 20).unwrap();
    issue(&mut heals, IssueMode::Heal, "new");
    assert!(heals.judge_issue(PolicyAnswer::Secret(found)).is_err());
    let mut rotates = record(Request::Issue(IssueMode::Rotate), None);
    let found = select(&mut rotates, Ok(Some("s")), 20).unwrap();
    assert!(rotates.judge_issue(PolicyAnswer::Secret(found)).is_err());
    assert!(rotates.judge_issue(PolicyAnswer::Absent).is_err());
}

#[test]
fn the_ninth_statement_is_a_fault() {
    let mut record = reads(None);
    (0..MAX_STATEMENTS).for_each(|_| drop(select(&mut record, Ok(None), 20)));
    assert!(record.begin_select().is_err());
}
