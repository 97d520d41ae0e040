//! The rules for a single answer at the moment at which it is given.
//!
//! `origin.rs` is about where it can have come from; the rules here hold wherever it came from.

use leasehold::Error;

use super::super::plan::Verb;
use super::super::row::{Content, Ended, Moment};
use super::super::world::World;
use super::{Outcome, Record, Verdict, origin};

pub(super) fn judge(world: &World, record: &Record) -> Verdict {
    in_time(world, record)?;
    match &record.outcome {
        Outcome::Secret(secret, status) => {
            let version = own_commit(record, *secret)?;
            read_your_issue(world, record, version)?;
            never_back(world, record, version)?;
            match (record.open.verb, status) {
                (Verb::Issue, _) => origin::of_issue(world, record, version),
                (_, Some(status)) => origin::of_read(world, record, version, *status),
                (_, None) => Ok(()),
            }
        }
        Outcome::Failed(Error::Absent) => origin::of_absence(world, record),
        Outcome::Failed(error) => explained(world, record, error),
        Outcome::Mismatch => mismatch(world, record),
        Outcome::Nothing | Outcome::Done | Outcome::Dropped => Ok(()),
    }
}

/// A caller that waits for the database waits for as long as the operator allows: a load once, an issue once
/// more for its turn; `read_or_issue` may be both, and `verify` a load and two more of what it holds a
/// mismatch against. An operation that has no await takes no time.
fn in_time(world: &World, record: &Record) -> Verdict {
    let waits = match record.open.verb {
        Verb::Read => 1,
        Verb::Issue => 2,
        Verb::ReadOrIssue | Verb::Verify => 3,
        _ => 0,
    };
    let (took, limit) = (record.end.ms - record.open.start.ms, waits * world.plan.timeout_ms);
    if took <= limit {
        Ok(())
    } else {
        Err(("every call ends in time", format!("{took} ms, and {limit} is the limit")))
    }
}

/// G3, G4: a secret that is handed out was committed, and to the row of this workspace.
fn own_commit(record: &Record, secret: Option<(usize, u32)>) -> Result<u32, (&'static str, String)> {
    match secret {
        None => Err(("nothing that no commit made", "this secret was never in the database".into())),
        Some((key, version)) if key == record.open.key => Ok(version),
        Some((key, version)) => Err(("own key only", format!("this secret is w{key}#{version}"))),
    }
}

/// G1, G3: a secret that is returned was in the database at some moment after the last event that made
/// everything older unreturnable, as of the start of the read. That is: an issue that was acknowledged (its
/// own secret counts, or one that was stored later, or one that a failover brought back); an issue whose
/// outcome is unknown; a removal; a reset. Reads and issues of one key are linearizable by this: between two
/// changes that this process makes a read may be as old as its lease, but it never reaches back over one.
fn read_your_issue(world: &World, record: &Record, version: u32) -> Verdict {
    let floor = record.open.floor;
    let held = world.rows[record.open.key].last_held(Content::Secret(version));
    if held.is_some_and(|until| floor.is_below(until)) {
        return Ok(());
    }
    Err((
        "read your issue",
        format!("it was gone from the database ({held:?}) before the read had to be newer ({floor:?})"),
    ))
}

/// Once a caller has been handed a secret, a caller that begins later is not handed one that was gone from
/// the database before that one was stored, by any writer. A policy that stores nothing leaves what an
/// earlier one has stored, and a later one may answer with that again: so it holds among policies that store
/// what they read.
fn never_back(world: &World, record: &Record, version: u32) -> Verdict {
    let held = world.rows[record.open.key].last_held(Content::Secret(version));
    let newer = record.open.shown_seq;
    if world.plan.hostile || held.is_none_or(|until| newer < until.seq) {
        return Ok(());
    }
    Err((
        "reads never go back",
        format!("it was gone ({held:?}) before {newer}, since when there is one that was shown"),
    ))
}

/// A `verify` that answers no is a read that found another secret or none: there must be one that it can have
/// found, or an absence.
fn mismatch(world: &World, record: &Record) -> Verdict {
    if origin::of_absence(world, record).is_ok() {
        return Ok(());
    }
    let row = &world.rows[record.open.key];
    let found = (1..=row.versions)
        .filter(|version| Some(*version) != record.open.presented)
        .filter_map(|version| row.last_held(Content::Secret(version)))
        .any(|until| record.open.floor.is_below(until));
    if found { Ok(()) } else { Err(("read your issue", "there was no other secret to find".into())) }
}

/// An error is the database's, and of a statement that was in flight: a cache invents none. A read never
/// changes anything, so that nothing about it can be unknown.
fn explained(world: &World, record: &Record, error: &Error) -> Verdict {
    let row = &world.rows[record.open.key];
    let during = |answer: Option<(Moment, Ended)>, ends: &dyn Fn(Ended) -> bool| {
        answer.is_some_and(|(at, ended)| origin::within(at, record) && ends(ended))
    };
    let selects = |ends: &dyn Fn(Ended) -> bool| row.selects.iter().any(|select| during(select.answer, ends));
    let issues = |ends: &dyn Fn(Ended) -> bool| row.issues.iter().any(|issue| during(issue.answer, ends));
    let reads = record.open.verb != Verb::Issue;
    let writes = matches!(record.open.verb, Verb::Issue | Verb::ReadOrIssue);
    let unavailable =
        |ended| matches!(ended, Ended::Refused("refused" | "unreachable") | Ended::Unknown("lost"));
    // A statement that was sent has no answer by the deadline: the answer may well come later.
    let late = |answer: Option<(Moment, Ended)>| {
        let timed_out = |(at, ended)| ended == Ended::Unknown("timeout") && origin::within(at, record);
        answer.is_none_or(|answer| timed_out(answer) || answer.0.ms >= record.end.ms)
    };
    let good = match error {
        Error::Unavailable(_) => (reads && selects(&unavailable)) || (writes && issues(&unavailable)),
        Error::Timeout => {
            reads && (row.selects.iter().any(|select| late(select.answer)) || is_busy(world, record))
        }
        Error::UnknownWorkspace => writes && issues(&|ended| ended == Ended::Refused("unknown workspace")),
        Error::OutcomeUnknown(_) => {
            writes
                && row.issues.iter().any(|issue| {
                    late(issue.answer) || during(issue.answer, &|ended| matches!(ended, Ended::Unknown(_)))
                })
        }
        // The cache's own bounds may be the reason as well.
        Error::Overloaded => true,
        _ => false,
    };
    if good { Ok(()) } else { Err(("an error has a cause", "no statement ended so".into())) }
}

/// Returns whether as many SELECTs were in flight at the end as the operator allows: one more was not even
/// sent in time.
fn is_busy(world: &World, record: &Record) -> bool {
    let selects = world.rows.iter().flat_map(|row| &row.selects);
    let in_flight = selects.filter(|select| select.answer.is_none_or(|(at, _)| at.ms >= record.end.ms));
    in_flight.count() >= world.plan.max_selects
}
