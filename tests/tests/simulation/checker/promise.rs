//! The promises of an operation to those that begin after it, and the rules at the end of a run.
//!
//! A promise is a floor: a moment after which something must have been so. Floors only rise.

use leasehold::{Error, Status};

use super::super::plan::Verb;
use super::super::row::{Content, Moment};
use super::super::world::{Actor, World};
use super::{Outcome, Record, origin};

/// Records what an operation means for operations that begin after it.
pub(super) fn settle(world: &mut World, record: Record) {
    world.note(Actor::Client(record.open.client), record.to_string());
    world.count(record.label());
    let (end, timeout_ms) = (record.end, world.plan.timeout_ms);
    let row = &mut world.rows[record.open.key];
    if let Outcome::Secret(Some((_, version)), _) = &record.outcome {
        let since = row.first_held(Content::Secret(*version)).map_or(0, |since| since.seq);
        row.shown_seq = row.shown_seq.max(since);
    }
    match (record.open.verb, &record.outcome) {
        (Verb::Issue, Outcome::Secret(Some((_, version)), _))
        | (Verb::ReadOrIssue, Outcome::Secret(Some((_, version)), Some(Status::Healed))) => {
            // The statement is its own, or the one that was joined: the first that ended with this secret
            // since the start.
            let statement = row.issues.iter().find(|issue| {
                issue.is_acknowledged(timeout_ms)
                    && issue.effect.is_some_and(|(_, stored)| stored == *version)
                    && issue.answer.is_some_and(|(at, _)| origin::within(at, &record))
            });
            if let Some((at, (effect, _))) =
                statement.and_then(|issue| Some((issue.answer?.0, issue.effect?)))
            {
                row.floor.rise_to(effect.seq, 0);
                row.fresh.rise_to(at.seq, 0);
            }
        }
        (Verb::Issue | Verb::ReadOrIssue, Outcome::Failed(Error::OutcomeUnknown(_))) => {
            // The caller was answered in the millisecond of the answer, or in that of the deadline.
            row.floor.rise_to(0, end.ms);
            row.fresh.rise_to(0, end.ms);
        }
        _ => {}
    }
    world.history.push(record);
}

/// Records a removal, or a reset: at once, for every operation that begins later.
pub(crate) fn void(world: &mut World, key: usize) {
    let moment = world.moment();
    let row = &mut world.rows[key];
    row.voids.push(moment);
    row.floor.rise_to(moment.seq, 0);
    row.fresh.rise_to(moment.seq, 0);
}

/// Records a swap that has returned: loads of the older policy are joined no more.
pub(crate) fn swapped(world: &mut World, start: Moment) {
    let end = world.moment();
    world.swaps.push((start, end));
    for row in &mut world.rows {
        row.fresh.rise_to(end.seq, 0);
    }
}

/// G3, at the end of the run: each secret that a rotation committed was returned by one issue, or belongs to
/// one that was answered that its outcome is unknown or whose caller was dropped. So an issue that was
/// refused has changed nothing, and none was sent twice.
pub(crate) fn claims(world: &mut World) {
    for key in 0..world.rows.len() {
        let issues = |record: &&Record| record.open.verb == Verb::Issue && record.open.key == key;
        let records: Vec<&Record> = world.history.iter().filter(issues).collect();
        let returned = |version| Outcome::Secret(Some((key, version)), None);
        let mut open: Vec<&&Record> = records
            .iter()
            .filter(|record| {
                matches!(record.outcome, Outcome::Dropped | Outcome::Failed(Error::OutcomeUnknown(_)))
            })
            .collect();
        open.sort_by_key(|record| record.open.start.seq);
        let mut orphan = None;
        for issue in world.rows[key].issues.iter().filter(|issue| !issue.heals) {
            let Some((effect, version)) = issue.effect else { continue };
            let claimed = records.iter().filter(|record| record.outcome == returned(version)).count();
            let owner = open.iter().position(|record| {
                let answered = record.outcome != Outcome::Dropped;
                record.open.start.seq < issue.sent.seq && (!answered || issue.sent.seq < record.end.seq)
            });
            match (claimed, owner) {
                (1, _) => {}
                (0, Some(owner)) => drop(open.remove(owner)),
                _ => {
                    orphan = Some(format!("w{key}#{version}, committed at {effect:?}, has {claimed} owners"))
                }
            }
        }
        if let Some(story) = orphan {
            world.violate("a failed issue changes nothing", story);
        }
    }
}
