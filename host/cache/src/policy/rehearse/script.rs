//! The script: what a candidate is put through, always the same, and what is noted of it.
//!
//! Every step is named, held against the rules of `check.rs` and measured by what came of it. A candidate that breaks no
//! rule gets its card whatever its taste: that it never caches, or caches absence for as long as it may, is for people to
//! read there.

use std::sync::Arc;
use std::time::Duration;

use super::check;
use super::database::Fault;
use super::inherited;
use super::measure::{Search, millis};
use super::theatre::Theatre;
use crate::lease::Ceilings;
use crate::policy::card::{OnError, PolicyCard, Spread, WriteOrder};
use crate::policy::pool::Loaded;
use crate::{DatabaseError, Error, SwapError};

/// How long after the round before it a round of reads is, and over how many workspaces it goes: a jitter may depend on
/// either.
const ROUNDS: [(Duration, usize); 3] =
    [(Duration::ZERO, 64), (Duration::from_millis(3_607_013), 16), (Duration::from_millis(86_399_977), 16)];
/// Over how many workspaces the time after an issue is measured.
const ISSUES: usize = 16;
/// Workspaces that send heartbeats, and how many each sends, a minute apart: first those in which the lengths
/// of its leases settle, and then those that count.
const SENDERS: u32 = 4;
const SETTLING: u32 = 10;
const HEARTBEATS: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Drives a candidate through the script.
pub(super) async fn play(candidate: Arc<Loaded>, ceilings: Ceilings) -> Result<PolicyCard, SwapError> {
    let mut theatre = Theatre::open(Arc::clone(&candidate), ceilings);
    reads(&mut theatre).await?;
    let write = issues(&mut theatre).await?;
    errors(&mut theatre).await?;
    let (fresh, refresh_ahead) = after_reads(&mut theatre).await?;
    let issue_fresh = after_issues(&mut theatre).await?;
    let absent = absence(&mut theatre).await?;
    let covered = fresh.most.max(issue_fresh.most);
    let outdated = outdated(&mut theatre, fresh.most).await?;
    let survived = survived(&mut theatre, fresh.most).await?;
    let inherited = inherited::kept_by_another(&mut theatre, fresh, absent).await?;
    let (statements, heartbeats) = heartbeats(&mut theatre).await?;
    late_issue(&mut theatre).await?;
    let calls = theatre.calls();
    let (call, memory_bytes) = theatre.costs();
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

/// Reads while the database is well: what is there is found, what is not there is not.
async fn reads(theatre: &mut Theatre) -> Result<(), SwapError> {
    theatre.step("a read of a present secret");
    let (workspace, stored) = theatre.present()?;
    for _ in 0..3 {
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::finds(&read, &stored))?;
    }
    theatre.step("a read of a workspace without a row");
    let unknown = theatre.workspace()?;
    let read = theatre.read(&unknown).await?;
    theatre.hold(check::finds_none(&read))?;
    theatre.step("a read of a workspace without a secret");
    let empty = theatre.workspace()?;
    theatre.database.store_null(&empty);
    let read = theatre.read(&empty).await?;
    theatre.hold(check::finds_none(&read))
}

/// Issues while the database is well, and those that it refuses.
async fn issues(theatre: &mut Theatre) -> Result<WriteOrder, SwapError> {
    theatre.step("an issue of a workspace that was read before");
    let (workspace, stored) = theatre.present()?;
    let read = theatre.read(&workspace).await?;
    theatre.hold(check::finds(&read, &stored))?;
    let cached = issue(theatre, &workspace).await?;
    theatre.step("an issue of a workspace that was not read before");
    let (workspace, _) = theatre.present()?;
    issue(theatre, &workspace).await?;

    theatre.step("a heal of a workspace without a secret");
    for somebody_was_first in [false, true] {
        let workspace = theatre.workspace()?;
        theatre.database.store_null(&workspace);
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::finds_none(&read))?;
        if somebody_was_first {
            theatre.database.store(&workspace);
        }
        let healed = theatre.read_or_issue(&workspace).await?;
        let Some(row) = theatre.database.stored(&workspace) else {
            return theatre.hold(Err("nothing was stored".into()));
        };
        theatre.hold(check::finds(&healed, &row))?;
    }

    theatre.step("an issue of a workspace without a row");
    let unknown = theatre.workspace()?;
    let issued = theatre.issue(&unknown).await?;
    theatre.hold(check::fails(&issued))?;
    let read = theatre.read(&unknown).await?;
    theatre.hold(check::finds_none(&read))?;
    theatre.step("an issue that the database refuses");
    let (workspace, stored) = theatre.present()?;
    let read = theatre.read(&workspace).await?;
    theatre.hold(check::finds(&read, &stored))?;
    theatre.database.fault(Some(down()));
    let issued = theatre.issue(&workspace).await?;
    theatre.hold(check::fails(&issued))?;
    theatre.database.fault(None);
    let read = theatre.read(&workspace).await?;
    theatre.hold(check::finds(&read, &stored))?;
    Ok(if cached { WriteOrder::DatabaseThenCache } else { WriteOrder::DatabaseOnly })
}

/// One issue that is to be done, and the read after it. Says whether that was a hit.
async fn issue(theatre: &mut Theatre, workspace: &crate::WorkspaceId) -> Result<bool, SwapError> {
    theatre.database.take_journal();
    let issued = theatre.issue(workspace).await?;
    let (statements, row) = (theatre.database.take_journal(), theatre.database.stored(workspace));
    theatre.hold(check::issues(&issued, row.as_ref(), &statements))?;
    let cached = !theatre.life(workspace).0.is_zero();
    if let Some(row) = row {
        let read = theatre.read(workspace).await?;
        theatre.hold(check::finds(&read, &row))?;
    }
    Ok(cached)
}

/// Reads that only a database could answer, while it does not; and again once it does.
async fn errors(theatre: &mut Theatre) -> Result<(), SwapError> {
    for (step, fault) in [
        ("a read while the database is unavailable", down()),
        ("a read that the database answers too late", Fault::AnswersLate),
        ("a read that the database has no room for", Fault::Refuses(DatabaseError::Overloaded)),
        ("a read whose connection is lost", Fault::Refuses(DatabaseError::Lost("rehearsed".into()))),
    ] {
        theatre.step(step);
        let (workspace, stored) = theatre.present()?;
        theatre.database.fault(Some(fault));
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::survives(&read, &stored))?;
        theatre.database.fault(None);
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::finds(&read, &stored))?;
    }
    Ok(())
}

/// For how long a read is a hit after a read, and how long before the end of that a hit asks for a refresh.
async fn after_reads(theatre: &mut Theatre) -> Result<(Spread, Spread), SwapError> {
    theatre.step("a read of one of many present secrets");
    let (_, most) = ROUNDS[0];
    let mut workspaces = Vec::with_capacity(most);
    for _ in 0..most {
        workspaces.push(theatre.present()?);
    }
    let (mut lives, mut leads) = (None, None);
    for (pause, count) in ROUNDS {
        theatre.clock.advance(pause);
        for (workspace, stored) in workspaces.iter().take(count) {
            theatre.forget(workspace);
            let read = theatre.read(workspace).await?;
            theatre.hold(check::finds(&read, stored))?;
            let (life, ahead) = theatre.life(workspace);
            Spread::widen(&mut lives, life);
            Spread::widen(&mut leads, ahead);
        }
    }
    refresh(theatre).await?;
    Ok((lives.unwrap_or_default(), leads.unwrap_or_default()))
}

/// Where a hit asks for a refresh: such hits, from the first moment to the last one. Who reads meanwhile may
/// be told the old secret or the new one.
async fn refresh(theatre: &mut Theatre) -> Result<(), SwapError> {
    const MS: Duration = Duration::from_millis(1);
    const MOMENTS: [fn(Duration, Duration) -> Duration; 3] =
        [|life, ahead| life - ahead + MS, |life, ahead| life - ahead / 2, |life, _| life - MS];
    for (step, fault) in [
        ("a refresh in the background", None),
        ("a refresh in the background while the database is unavailable", Some(down())),
        ("a refresh in the background that the database answers too late", Some(Fault::AnswersLate)),
    ] {
        theatre.step(step);
        for moment in MOMENTS {
            let (workspace, old) = theatre.present()?;
            let read = theatre.read(&workspace).await?;
            theatre.hold(check::finds(&read, &old))?;
            let (life, ahead) = theatre.life(&workspace);
            if ahead <= MS * 2 {
                return Ok(());
            }
            let new = theatre.database.store(&workspace);
            theatre.clock.advance(moment(life, ahead));
            let before = theatre.database.selects();
            theatre.database.fault(fault.clone());
            for _ in 0..2 {
                let read = theatre.read(&workspace).await?;
                if fault.is_none() {
                    theatre.hold(check::finds_one(&read, &[&new, &old]))?;
                } else {
                    theatre.hold(check::survives(&read, &old))?;
                }
            }
            theatre.database.fault(None);
            theatre.hold(check::refreshes(theatre.database.selects() - before))?;
        }
    }
    Ok(())
}

/// For how long a read is a hit after an issue.
async fn after_issues(theatre: &mut Theatre) -> Result<Spread, SwapError> {
    theatre.step("an issue of one of many workspaces");
    let mut lives = None;
    for _ in 0..ISSUES {
        let (workspace, _) = theatre.present()?;
        theatre.database.take_journal();
        let issued = theatre.issue(&workspace).await?;
        let (statements, row) = (theatre.database.take_journal(), theatre.database.stored(&workspace));
        theatre.hold(check::issues(&issued, row.as_ref(), &statements))?;
        Spread::widen(&mut lives, theatre.life(&workspace).0);
    }
    Ok(lives.unwrap_or_default())
}

/// For how long a read is told that there is no secret after one has appeared.
async fn absence(theatre: &mut Theatre) -> Result<Duration, SwapError> {
    theatre.step("a read of a secret that appeared after it was absent");
    let mut search = Search::new(0, millis(theatre.ceilings.max_absent) + 1);
    while let Some(age) = search.next() {
        let workspace = theatre.workspace()?;
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::finds_none(&read))?;
        let stored = theatre.database.store(&workspace);
        theatre.clock.advance(Duration::from_millis(age));
        let read = theatre.read(&workspace).await?;
        let is_told_absence = matches!(read, Err(Error::Absent));
        if !is_told_absence {
            theatre.hold(check::finds(&read, &stored))?;
        }
        search.note(age, is_told_absence);
    }
    Ok(Duration::from_millis(search.end().unwrap_or(0)))
}

/// For how long, beyond every lease, a read may be told a secret that another process has replaced.
async fn outdated(theatre: &mut Theatre, covered: Duration) -> Result<Duration, SwapError> {
    theatre.step("a read of a secret that another process has replaced");
    let mut search = Search::new(millis(covered) + 1, millis(theatre.ceilings.max_keep) + 1);
    while let Some(age) = search.next() {
        let (workspace, old) = theatre.present()?;
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::finds(&read, &old))?;
        let new = theatre.database.store(&workspace);
        theatre.clock.advance(Duration::from_millis(age));
        let read = theatre.read(&workspace).await?;
        let told = theatre.hold(check::finds_one(&read, &[&new, &old]))?;
        search.note(age, told == 1);
    }
    Ok(Duration::from_millis(search.end().unwrap_or(0)))
}

/// For how long, beyond every lease, a read is answered while the database fails; `None`: not at all.
async fn survived(theatre: &mut Theatre, covered: Duration) -> Result<Option<Duration>, SwapError> {
    let mut longest = None;
    for (step, fault) in [
        ("a read of a kept secret while the database is unavailable", down()),
        ("a read of a kept secret that the database answers too late", Fault::AnswersLate),
    ] {
        theatre.step(step);
        let mut search = Search::new(millis(covered) + 1, millis(theatre.ceilings.max_keep) + 1);
        while let Some(age) = search.next() {
            let (workspace, stored) = theatre.present()?;
            let read = theatre.read(&workspace).await?;
            theatre.hold(check::finds(&read, &stored))?;
            theatre.database.fault(Some(fault.clone()));
            theatre.clock.advance(Duration::from_millis(age));
            let read = theatre.read(&workspace).await?;
            theatre.database.fault(None);
            let is_answered = theatre.hold(check::survives(&read, &stored))?;
            search.note(age, is_answered);
        }
        longest = longest.max(search.end().map(Duration::from_millis));
    }
    Ok(longest)
}

/// An hour of heartbeats, once they have settled: how many statements for how many.
async fn heartbeats(theatre: &mut Theatre) -> Result<(u64, u64), SwapError> {
    theatre.step("a heartbeat");
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(theatre.present()?);
    }
    let mut before = 0;
    for beat in 0..SETTLING + HEARTBEATS {
        if beat == SETTLING {
            before = theatre.database.selects();
        }
        for (workspace, stored) in &senders {
            let read = theatre.read(workspace).await?;
            theatre.hold(check::finds(&read, stored))?;
            theatre.clock.advance(MINUTE / SENDERS);
        }
    }
    Ok((theatre.database.selects() - before, u64::from(SENDERS * HEARTBEATS)))
}

/// The last step, because what it starts stays under way: an issue that is carried out, and whose answer is late.
async fn late_issue(theatre: &mut Theatre) -> Result<(), SwapError> {
    theatre.step("an issue that the database answers too late");
    let (workspace, stored) = theatre.present()?;
    let read = theatre.read(&workspace).await?;
    theatre.hold(check::finds(&read, &stored))?;
    theatre.database.fault(Some(Fault::AnswersLate));
    let issued = theatre.issue(&workspace).await?;
    theatre.hold(check::fails(&issued))?;
    theatre.database.fault(None);
    if let Some(row) = theatre.database.stored(&workspace) {
        let read = theatre.read(&workspace).await?;
        theatre.hold(check::finds(&read, &row))?;
    }
    Ok(())
}

pub(super) fn down() -> Fault {
    Fault::Refuses(DatabaseError::Unavailable("rehearsed".into()))
}
