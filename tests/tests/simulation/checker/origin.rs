//! The possible origins of an answer: for each there must be a statement, and the right to keep what it
//! brought.
//!
//! A statement that was voided while it was in flight delivers its answer to the callers that waited for it,
//! and to no other.

use leasehold::Status;

use super::super::row::{Ended, Moment, Row, Select};
use super::super::world::World;
use super::{Kind, Record, Verdict};

/// G1, G3: the secret that an issue returns is the one that its own rotation committed, between its start and
/// its end.
pub(super) fn of_issue(world: &World, record: &Record, version: u32) -> Verdict {
    let row = &world.rows[record.open.key];
    let own = row.issues.iter().any(|issue| {
        !issue.heals
            && issue.effect.is_some_and(|(at, stored)| stored == version && at.seq > record.open.start.seq)
            && issue.answer.is_some_and(|(at, _)| at.seq < record.end.seq)
    });
    if own {
        Ok(())
    } else {
        Err(("an issue returns what it committed", "no rotation of its own committed this".into()))
    }
}

/// Each status says where the value came from, and there is a rule for each.
pub(super) fn of_read(world: &World, record: &Record, version: u32, status: Status) -> Verdict {
    let found = Ended::Secret(version);
    match status {
        // A hit is decided in the first step, by the policy that was active then. After a swap no lease of an
        // older one counts: an answer as old as only the older policy would allow breaks this.
        Status::Hit => {
            let kind = kind(world, record.open.generation);
            kept(world, record, found, kind.hit_ms, record.open.start.ms, "a hit under a lease")
        }
        // A renewal is decided by a policy that was active between the start and the end, in the step in
        // which the read ended: a read that joins an older load than that would break G6. The policy's clock
        // is rounded down to a millisecond.
        Status::Renewed => {
            let limit = kinds(world, record).into_iter().filter_map(|kind| kind.renewed_ms).max();
            kept(world, record, found, limit.map(|ms| ms + 1), record.end.ms, "a value leased again")
        }
        Status::Stale => {
            let limit = kinds(world, record).into_iter().filter_map(|kind| kind.stale_ms).max();
            kept(world, record, found, limit.map(|ms| ms + 1), record.end.ms, "a value kept")
        }
        Status::Healed => healed(world, record, version),
        // Any other answer is from a SELECT (or a heal whose policy failed).
        _ => asked(world, record, found).or_else(|failed| healed(world, record, version).map_err(|_| failed)),
    }
}

/// The default policy stores no absence: an absence that is reported was found by a SELECT that this read
/// waited for. A policy that does store absence may do so for as long as the operator allows.
pub(super) fn of_absence(world: &World, record: &Record) -> Verdict {
    use super::super::plan::Verb::{Read, Verify};
    if !matches!(record.open.verb, Read | Verify) {
        return Err(("an error has a cause", "only a read can find an absence".into()));
    }
    let limit = kinds(world, record).into_iter().filter_map(|kind| kind.absent_ms).max();
    if limit.is_some() {
        let answered = asked(world, record, Ended::Absent);
        return answered.or_else(|_| {
            kept(world, record, Ended::Absent, limit, record.open.start.ms, "an absence under a lease")
        });
    }
    asked(world, record, Ended::Absent)
        .map_err(|(_, story)| ("no absence stored by the default policy", story))
}

/// G5, G6: there is a SELECT that saw this, that ended while the read waited, and that was sent after
/// everything that makes a load too old to join: an issue that was answered before the read began, a removal,
/// a reset, a swap.
fn asked(world: &World, record: &Record, found: Ended) -> Verdict {
    let fresh = record.open.fresh;
    let row = &world.rows[record.open.key];
    let good = row.selects.iter().any(|select| {
        let answered = select.answer.is_some_and(|(at, ended)| ended == found && within(at, record));
        answered && fresh.is_below(select.sent)
    });
    if good {
        return Ok(());
    }
    Err((
        "a load that is joined is young enough",
        format!("no SELECT sent after {fresh:?} and ended since the start found this"),
    ))
}

/// A heal returns what its statement found or committed, while the caller waited.
fn healed(world: &World, record: &Record, version: u32) -> Verdict {
    let row = &world.rows[record.open.key];
    let good = row.issues.iter().any(|issue| {
        issue.heals
            && issue.answer.is_some_and(|(at, ended)| ended == Ended::Secret(version) && within(at, record))
    });
    if good {
        Ok(())
    } else {
        Err(("an issue returns what it committed", "no heal that ended since the start returned this".into()))
    }
}

/// G2, G3, G6: an answer out of the cache came from a statement that brought this value, that had the right
/// to be stored, and that is young enough by the lease of the policy that answers. Leases live on a clock
/// that stands still in suspension, so that what was stored before one counts no more.
fn kept(
    world: &World,
    record: &Record,
    found: Ended,
    limit_ms: Option<u64>,
    now_ms: u64,
    what: &str,
) -> Verdict {
    let Some(limit_ms) = limit_ms else {
        return Err(("one generation per answer", format!("{what}, and the active policy grants none")));
    };
    let row = &world.rows[record.open.key];
    let selects = row.selects.iter().filter(|select| may_store(world, row, select, found)).map(|select| {
        // A secret cannot be stored before its SELECT is answered.
        (select.answer.map_or(select.sent, |(at, _)| at), select.sent.ms)
    });
    let issues = row.issues.iter().filter_map(|issue| {
        let (at, ended) = issue.answer?;
        let good = ended == found
            && issue.is_acknowledged(world.plan.timeout_ms)
            && undisturbed(world, row, issue.sent, at);
        good.then_some((at, at.ms))
    });
    let obtained = selects
        .chain(issues)
        .filter(|(at, _)| record.open.awake.seq < at.seq && at.seq < record.end.seq)
        .map(|(_, obtained_ms)| obtained_ms);
    match obtained.max() {
        None => {
            Err(("nothing is stored that is too old", format!("{what}, and no statement may have stored it")))
        }
        Some(obtained_ms) if now_ms.saturating_sub(obtained_ms) < limit_ms => Ok(()),
        Some(obtained_ms) => {
            let age_ms = now_ms - obtained_ms;
            Err((
                "no value older than its lease",
                format!("{what} at the age of {age_ms} ms; {limit_ms} ms is the limit"),
            ))
        }
    }
}

/// Returns whether a load with this SELECT may have been stored: it was answered in time, nothing has voided
/// it, no issue was in flight when it was answered, and the policy was still the active one.
fn may_store(world: &World, row: &Row, select: &Select, found: Ended) -> bool {
    let timeout_ms = world.plan.timeout_ms;
    let Some((at, ended)) = select.answer else { return false };
    ended == found
        && at.ms <= select.sent.ms + timeout_ms
        && undisturbed(world, row, select.sent, at)
        && !row.issues.iter().any(|issue| {
            issue.forbids_storing_in(at.ms, timeout_ms)
                || issue.voids(timeout_ms).into_iter().any(|ms| select.sent.ms < ms && ms < at.ms)
        })
}

/// Returns whether no removal, no reset and no whole swap came between.
fn undisturbed(world: &World, row: &Row, sent: Moment, answered: Moment) -> bool {
    let between = |moment: Moment| sent.seq < moment.seq && moment.seq < answered.seq;
    !row.voids.iter().any(|void| between(*void))
        && !world.swaps.iter().any(|(start, end)| between(*start) && between(*end))
}

/// Returns whether a statement's end can be what a caller waited for. An end that came just before the call,
/// in the same millisecond, may not have been passed on yet.
pub(super) fn within(at: Moment, record: &Record) -> bool {
    record.open.start.ms <= at.ms && at.seq < record.end.seq
}

fn kind(world: &World, generation: u64) -> Kind {
    world.kinds.get(&generation).cloned().unwrap_or_else(|| Kind::unknown(&world.plan))
}

/// Returns the policies that were active at some moment between the start and the end.
fn kinds(world: &World, record: &Record) -> Vec<Kind> {
    (record.open.generation..=record.generation).map(|generation| kind(world, generation)).collect()
}
