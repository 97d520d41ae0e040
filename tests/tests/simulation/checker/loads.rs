//! The number of loads of a key that run at once, and of issues.
//!
//! Loads are checked when a SELECT arrives. The database cannot see which load sent it, so that a SELECT is
//! excused where any reading of what the database sees excuses it.

use super::super::row::{Ended, Moment, Row, Select};
use super::super::world::World;

/// G5: one load at a time for a key, except where an issue, a removal, a reset or a swap came between the
/// beginnings of the two and made the first one's result too old to be joined, where a third one delivered
/// something meanwhile, or where the first one has been given up on.
pub(crate) fn one_load(world: &mut World, key: usize, sent: &Select) {
    let (row, timeout_ms) = (&world.rows[key], world.plan.timeout_ms);
    let began = row.load_may_have_begun(sent, world.plan.queued_ms());
    let (mut suspect, mut beside) = (None, 0);
    for (index, select) in row.selects.iter().enumerate().filter(|(_, select)| select.answer.is_none()) {
        let others = row.load_may_have_begun(select, world.plan.queued_ms());
        let pairs = || others.iter().flat_map(|other| began.iter().map(move |began| (*other, *began)));
        let voided = |(one, other): (Moment, Moment)| {
            let (first, second) = if one.seq < other.seq { (one, other) } else { (other, one) };
            void_between(world, row, first, second)
        };
        let given_up =
            |(one, other): (Moment, Moment)| one.ms.abs_diff(other.ms) + world.plan.queued_ms() >= timeout_ms;
        if !pairs().any(|pair| given_up(pair) || voided(pair)) {
            suspect = Some(format!("w{key}: a SELECT is sent while number {} is under way", index + 1));
        }
        beside += u64::from(pairs().any(voided));
    }
    *world.tally.entry("loads beside one that was too old to join").or_default() += beside;
    if let Some(story) = suspect {
        // Unless the policy has changed by itself, which is not known here: see `Sim::observe`.
        world.suspects.push((world.generation, story));
    }
}

/// G1: issues of one key take turns. The next one is sent when the one before it has ended, or has been given
/// up on: else it would be unknown which of the two secrets the database holds.
pub(crate) fn one_issue(world: &mut World, key: usize, sent: Moment) {
    let timeout_ms = world.plan.timeout_ms;
    let pending = world.rows[key].issues.iter().position(|issue| issue.has_the_turn(sent.ms, timeout_ms));
    if let Some(index) = pending {
        let story = format!("w{key}: an issue is sent while number {} is under way", index + 1);
        world.violate("one issue at a time", story);
    }
}

/// Returns whether anything may have made a load that sent its SELECT at `first` too old to be joined at
/// `second`. It may have waited for its turn before that.
fn void_between(world: &World, row: &Row, first: Moment, second: Moment) -> bool {
    let timeout_ms = world.plan.timeout_ms;
    let queued_ms = world.plan.queued_ms();
    let first_ms = first.ms.saturating_sub(queued_ms);
    let after_first = |moment: Moment| first.seq < moment.seq || (queued_ms > 0 && first_ms <= moment.ms);
    let between = |moment: Moment| after_first(moment) && moment.seq < second.seq;
    row.voids.iter().any(|void| between(*void))
        || world.swaps.iter().any(|(_, end)| between(*end))
        || world.changes.iter().any(|change| between(*change))
        // The cache notices within a second.
        || world.suspensions.iter().any(|at| at.ms + 1_000 >= first_ms && at.ms <= second.ms)
        // Only beside a load that was made too old earlier is there another one that can end meanwhile.
        || row.selects.iter().any(|select| {
            let answered = select
                .answer
                .filter(|(_, ended)| matches!(ended, Ended::Secret(_) | Ended::Absent));
            answered.is_some_and(|(at, _)| first_ms <= at.ms && at.ms <= second.ms)
        })
        || row.issues.iter().any(|issue| {
            let unsure = issue.answer.map(|(at, _)| at.ms).filter(|ms| *ms == issue.sent.ms + timeout_ms);
            issue.voids(timeout_ms).into_iter().chain(unsure).any(|ms| first_ms <= ms && ms <= second.ms)
        })
}
