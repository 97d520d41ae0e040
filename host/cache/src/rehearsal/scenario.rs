//! The scenario: the steps that a candidate is run through, always the same, and the figures that come of
//! them.
//!
//! Every step is named, held against the rules of `check.rs` and measured by its outcome. A candidate that
//! breaks no rule gets its card whatever its taste: that it never caches, or caches absence for as long as it
//! may, is for people to read there.

use std::sync::Arc;
use std::time::Duration;

use super::bisect::{Bisect, millis};
use super::check;
use super::database::{InjectedFault, down};
use super::harness::Harness;
use super::inherited;
use crate::lease::Ceilings;
use crate::policy::card::{OnError, PolicyCard, Range, WriteOrder};
use crate::policy::runtime::pool::Loaded;
use crate::{DatabaseError, Error, SwapError};

/// Rounds of reads: the pause before each, and the number of workspaces in it. A jitter may depend on either.
const ROUNDS: [(Duration, usize); 3] =
    [(Duration::ZERO, 64), (Duration::from_millis(3_607_013), 16), (Duration::from_millis(86_399_977), 16)];
/// Number of workspaces over which the time after an issue is measured.
const ISSUES: usize = 16;
/// Number of workspaces that send heartbeats, and how many each sends, a minute apart: first those in which
/// the lengths of its leases settle, and then those that count.
const SENDERS: u32 = 4;
const SETTLING: u32 = 10;
const HEARTBEATS: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Runs a candidate through the scenario.
pub(super) async fn run(candidate: Arc<Loaded>, ceilings: Ceilings) -> Result<PolicyCard, SwapError> {
    let mut harness = Harness::open(Arc::clone(&candidate), ceilings);
    reads(&mut harness).await?;
    let write = issues(&mut harness).await?;
    errors(&mut harness).await?;
    let (fresh, refresh_ahead) = after_reads(&mut harness).await?;
    let issue_fresh = after_issues(&mut harness).await?;
    let absent = absence(&mut harness).await?;
    let covered = fresh.max.max(issue_fresh.max);
    let outdated = outdated(&mut harness, fresh.max).await?;
    let survived = survived(&mut harness, fresh.max).await?;
    let inherited = inherited::kept_by_another(&mut harness, fresh, absent).await?;
    let (statements, heartbeats) = heartbeats(&mut harness).await?;
    late_issue(&mut harness).await?;
    let calls = harness.calls();
    let (call, memory_bytes) = harness.costs();
    Ok(PolicyCard {
        name: candidate.description.name.clone(),
        version: candidate.description.version.clone(),
        digest: candidate.policy.digest().to_owned(),
        settings: candidate.settings(),
        fresh,
        issue_fresh,
        refresh_ahead,
        absent,
        stale: covered.max(outdated).max(survived.unwrap_or_default()).max(inherited),
        on_error: if survived.is_some() { OnError::Stale } else { OnError::Error },
        write,
        statements,
        heartbeats,
        call,
        memory_bytes,
        calls,
    })
}

/// Reads while the database is well: a present secret is found, an absent one is not.
async fn reads(harness: &mut Harness) -> Result<(), SwapError> {
    harness.step("a read of a present secret");
    let (workspace, stored) = harness.present()?;
    for _ in 0..3 {
        let read = harness.read(&workspace).await?;
        harness.hold(check::finds(&read, &stored))?;
    }
    harness.step("a read of a workspace without a row");
    let unknown = harness.workspace()?;
    let read = harness.read(&unknown).await?;
    harness.hold(check::finds_none(&read))?;
    harness.step("a read of a workspace without a secret");
    let empty = harness.workspace()?;
    harness.database.store_null(&empty);
    let read = harness.read(&empty).await?;
    harness.hold(check::finds_none(&read))
}

/// Issues while the database is well, and issues that it refuses.
async fn issues(harness: &mut Harness) -> Result<WriteOrder, SwapError> {
    harness.step("an issue of a workspace that was read before");
    let (workspace, stored) = harness.present()?;
    let read = harness.read(&workspace).await?;
    harness.hold(check::finds(&read, &stored))?;
    let cached = issue(harness, &workspace).await?;
    harness.step("an issue of a workspace that was not read before");
    let (workspace, _) = harness.present()?;
    issue(harness, &workspace).await?;

    harness.step("a heal of a workspace without a secret");
    for somebody_was_first in [false, true] {
        let workspace = harness.workspace()?;
        harness.database.store_null(&workspace);
        let read = harness.read(&workspace).await?;
        harness.hold(check::finds_none(&read))?;
        if somebody_was_first {
            harness.database.store(&workspace);
        }
        let healed = harness.read_or_issue(&workspace).await?;
        let Some(row) = harness.database.stored(&workspace) else {
            return harness.hold(Err("nothing was stored".into()));
        };
        harness.hold(check::finds(&healed, &row))?;
    }

    harness.step("an issue of a workspace without a row");
    let unknown = harness.workspace()?;
    let issued = harness.issue(&unknown).await?;
    harness.hold(check::fails(&issued))?;
    let read = harness.read(&unknown).await?;
    harness.hold(check::finds_none(&read))?;
    harness.step("an issue that the database refuses");
    let (workspace, stored) = harness.present()?;
    let read = harness.read(&workspace).await?;
    harness.hold(check::finds(&read, &stored))?;
    harness.database.fault(Some(down()));
    let issued = harness.issue(&workspace).await?;
    harness.hold(check::fails(&issued))?;
    harness.database.fault(None);
    let read = harness.read(&workspace).await?;
    harness.hold(check::finds(&read, &stored))?;
    Ok(if cached { WriteOrder::DatabaseThenCache } else { WriteOrder::DatabaseOnly })
}

/// Makes one issue that is to succeed, and the read after it. Returns whether the issue was cached.
async fn issue(harness: &mut Harness, workspace: &crate::WorkspaceId) -> Result<bool, SwapError> {
    harness.database.take_journal();
    let issued = harness.issue(workspace).await?;
    let (statements, row) = (harness.database.take_journal(), harness.database.stored(workspace));
    harness.hold(check::issues(&issued, row.as_ref(), &statements))?;
    let cached = !harness.life(workspace).0.is_zero();
    if let Some(row) = row {
        let read = harness.read(workspace).await?;
        harness.hold(check::finds(&read, &row))?;
    }
    Ok(cached)
}

/// Reads what only a database could answer, while it does not; and again once it does.
async fn errors(harness: &mut Harness) -> Result<(), SwapError> {
    for (step, fault) in [
        ("a read while the database is unavailable", down()),
        ("a read that the database answers too late", InjectedFault::AnswersLate),
        ("a read that the database has no room for", InjectedFault::Refuses(DatabaseError::Overloaded)),
        ("a read whose connection is lost", InjectedFault::Refuses(DatabaseError::Lost("rehearsed".into()))),
    ] {
        harness.step(step);
        let (workspace, stored) = harness.present()?;
        harness.database.fault(Some(fault));
        let read = harness.read(&workspace).await?;
        harness.hold(check::survives(&read, &stored))?;
        harness.database.fault(None);
        let read = harness.read(&workspace).await?;
        harness.hold(check::finds(&read, &stored))?;
    }
    Ok(())
}

/// Returns the time for which a read is a hit after a read, and the time before the end of that from which a
/// hit asks for a refresh.
async fn after_reads(harness: &mut Harness) -> Result<(Range, Range), SwapError> {
    harness.step("a read of one of many present secrets");
    let (_, max) = ROUNDS[0];
    let mut workspaces = Vec::with_capacity(max);
    for _ in 0..max {
        workspaces.push(harness.present()?);
    }
    let (mut lives, mut leads) = (None, None);
    for (pause, count) in ROUNDS {
        harness.clock.advance(pause);
        for (workspace, stored) in workspaces.iter().take(count) {
            harness.forget(workspace);
            let read = harness.read(workspace).await?;
            harness.hold(check::finds(&read, stored))?;
            let (life, ahead) = harness.life(workspace);
            Range::widen(&mut lives, life);
            Range::widen(&mut leads, ahead);
        }
    }
    refresh(harness).await?;
    Ok((lives.unwrap_or_default(), leads.unwrap_or_default()))
}

/// Makes hits that ask for a refresh, if there are any, from the first such moment to the last one. A read
/// meanwhile may be answered with the old secret or the new one.
async fn refresh(harness: &mut Harness) -> Result<(), SwapError> {
    const MS: Duration = Duration::from_millis(1);
    const MOMENTS: [fn(Duration, Duration) -> Duration; 3] =
        [|life, ahead| life - ahead + MS, |life, ahead| life - ahead / 2, |life, _| life - MS];
    for (step, fault) in [
        ("a refresh in the background", None),
        ("a refresh in the background while the database is unavailable", Some(down())),
        ("a refresh in the background that the database answers too late", Some(InjectedFault::AnswersLate)),
    ] {
        harness.step(step);
        for moment in MOMENTS {
            let (workspace, old) = harness.present()?;
            let read = harness.read(&workspace).await?;
            harness.hold(check::finds(&read, &old))?;
            let (life, ahead) = harness.life(&workspace);
            if ahead <= MS * 2 {
                return Ok(());
            }
            let new = harness.database.store(&workspace);
            harness.clock.advance(moment(life, ahead));
            let before = harness.database.selects();
            harness.database.fault(fault.clone());
            for _ in 0..2 {
                let read = harness.read(&workspace).await?;
                if fault.is_none() {
                    harness.hold(check::finds_one(&read, &[&new, &old]))?;
                } else {
                    harness.hold(check::survives(&read, &old))?;
                }
            }
            harness.database.fault(None);
            harness.hold(check::refreshes(harness.database.selects() - before))?;
        }
    }
    Ok(())
}

/// Returns the time for which a read is a hit after an issue.
async fn after_issues(harness: &mut Harness) -> Result<Range, SwapError> {
    harness.step("an issue of one of many workspaces");
    let mut lives = None;
    for _ in 0..ISSUES {
        let (workspace, _) = harness.present()?;
        harness.database.take_journal();
        let issued = harness.issue(&workspace).await?;
        let (statements, row) = (harness.database.take_journal(), harness.database.stored(&workspace));
        harness.hold(check::issues(&issued, row.as_ref(), &statements))?;
        Range::widen(&mut lives, harness.life(&workspace).0);
    }
    Ok(lives.unwrap_or_default())
}

/// Returns the time for which a read still reports no secret after one has appeared.
async fn absence(harness: &mut Harness) -> Result<Duration, SwapError> {
    harness.step("a read of a secret that appeared after it was absent");
    let mut bisect = Bisect::new(0, millis(harness.ceilings.max_absent) + 1);
    while let Some(age) = bisect.next() {
        let workspace = harness.workspace()?;
        let read = harness.read(&workspace).await?;
        harness.hold(check::finds_none(&read))?;
        let stored = harness.database.store(&workspace);
        harness.clock.advance(Duration::from_millis(age));
        let read = harness.read(&workspace).await?;
        let is_told_absence = matches!(read, Err(Error::Absent));
        if !is_told_absence {
            harness.hold(check::finds(&read, &stored))?;
        }
        bisect.note(age, is_told_absence);
    }
    Ok(Duration::from_millis(bisect.end().unwrap_or(0)))
}

/// Returns the time, beyond every lease, for which a read may be answered with a secret that another process
/// has replaced.
async fn outdated(harness: &mut Harness, covered: Duration) -> Result<Duration, SwapError> {
    harness.step("a read of a secret that another process has replaced");
    let mut bisect = Bisect::new(millis(covered) + 1, millis(harness.ceilings.max_keep) + 1);
    while let Some(age) = bisect.next() {
        let (workspace, old) = harness.present()?;
        let read = harness.read(&workspace).await?;
        harness.hold(check::finds(&read, &old))?;
        let new = harness.database.store(&workspace);
        harness.clock.advance(Duration::from_millis(age));
        let read = harness.read(&workspace).await?;
        let answered = harness.hold(check::finds_one(&read, &[&new, &old]))?;
        bisect.note(age, answered == 1);
    }
    Ok(Duration::from_millis(bisect.end().unwrap_or(0)))
}

/// Returns the time, beyond every lease, for which a read is answered while the database fails; `None` if it
/// is not answered at all.
async fn survived(harness: &mut Harness, covered: Duration) -> Result<Option<Duration>, SwapError> {
    let mut longest = None;
    for (step, fault) in [
        ("a read of a kept secret while the database is unavailable", down()),
        ("a read of a kept secret that the database answers too late", InjectedFault::AnswersLate),
    ] {
        harness.step(step);
        let mut bisect = Bisect::new(millis(covered) + 1, millis(harness.ceilings.max_keep) + 1);
        while let Some(age) = bisect.next() {
            let (workspace, stored) = harness.present()?;
            let read = harness.read(&workspace).await?;
            harness.hold(check::finds(&read, &stored))?;
            harness.database.fault(Some(fault.clone()));
            harness.clock.advance(Duration::from_millis(age));
            let read = harness.read(&workspace).await?;
            harness.database.fault(None);
            let is_answered = harness.hold(check::survives(&read, &stored))?;
            bisect.note(age, is_answered);
        }
        longest = longest.max(bisect.end().map(Duration::from_millis));
    }
    Ok(longest)
}

/// Sends an hour of heartbeats, once the leases have settled. Returns the number of statements and of
/// heartbeats.
async fn heartbeats(harness: &mut Harness) -> Result<(u64, u64), SwapError> {
    harness.step("a heartbeat");
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(harness.present()?);
    }
    let mut before = 0;
    for beat in 0..SETTLING + HEARTBEATS {
        if beat == SETTLING {
            before = harness.database.selects();
        }
        for (workspace, stored) in &senders {
            let read = harness.read(workspace).await?;
            harness.hold(check::finds(&read, stored))?;
            harness.clock.advance(MINUTE / SENDERS);
        }
    }
    Ok((harness.database.selects() - before, u64::from(SENDERS * HEARTBEATS)))
}

/// Makes an issue that is carried out, and whose answer is late. It is the last step, because what it starts
/// stays in flight.
async fn late_issue(harness: &mut Harness) -> Result<(), SwapError> {
    harness.step("an issue that the database answers too late");
    let (workspace, stored) = harness.present()?;
    let read = harness.read(&workspace).await?;
    harness.hold(check::finds(&read, &stored))?;
    harness.database.fault(Some(InjectedFault::AnswersLate));
    let issued = harness.issue(&workspace).await?;
    harness.hold(check::fails(&issued))?;
    harness.database.fault(None);
    if let Some(row) = harness.database.stored(&workspace) {
        let read = harness.read(&workspace).await?;
        harness.hold(check::finds(&read, &row))?;
    }
    Ok(())
}
