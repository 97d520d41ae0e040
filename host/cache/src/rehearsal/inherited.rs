//! Entries that the candidate has not made: kept from a policy before it, of every age, in every state of
//! their lease.
//!
//! After a swap or a rollback every workspace has one, and the candidate's treatment of its own entries says
//! nothing about them: under most policies an entry that has expired is gone. Each is met by a read, an issue
//! and a heal, with the database well and not. The answers are taste; that no call is at fault is not.

use std::time::Duration;

use super::check;
use super::database::{InjectedFault, down};
use super::harness::Harness;
use crate::lease::{Ceilings, Lease};
use crate::policy::card::Range;
use crate::{Clock as _, DatabaseError, Instant, Secret, SwapError, WorkspaceId};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// State of an entry's lease when the candidate meets it.
#[derive(Clone, Copy)]
enum Held {
    /// The lease lasts for as long as the ceilings allow, as under a policy with long leases.
    Long,
    /// The lease lasts as long, and a refresh has been due all the while.
    Due,
    /// The lease has ended, and the entry is kept.
    Ended,
}

const ALL: [Held; 3] = [Held::Long, Held::Due, Held::Ended];

/// Request that meets a workspace with an entry.
#[derive(Clone, Copy)]
enum Meets {
    Read,
    ReadOfAnother,
    ReadOfNone,
    ReadWhile(fn() -> InjectedFault),
    Issue,
    IssueWithoutRow,
    IssueWhile(fn() -> InjectedFault),
    Heal,
    HealOfAnother,
    HealWhile(fn() -> InjectedFault),
}

const EVERYTHING: [Meets; 13] = [
    Meets::Read,
    Meets::ReadOfAnother,
    Meets::ReadOfNone,
    Meets::ReadWhile(down),
    Meets::ReadWhile(late),
    Meets::ReadWhile(full),
    Meets::Issue,
    Meets::IssueWithoutRow,
    Meets::IssueWhile(down),
    Meets::IssueWhile(late),
    Meets::Heal,
    Meets::HealOfAnother,
    Meets::HealWhile(down),
];
/// The requests for ages between those that meet everything.
const MOST: [Meets; 4] = [Meets::ReadOfAnother, Meets::ReadOfNone, Meets::ReadWhile(down), Meets::Issue];

/// Goes through all entries and requests. Returns the greatest age at which a kept secret was the answer
/// although the database held another.
pub(super) async fn kept_by_another(
    harness: &mut Harness,
    own: Range,
    absent: Duration,
) -> Result<Duration, SwapError> {
    let mut oldest = Duration::ZERO;
    for (age, meetings, holds) in secrets(own, harness.ceilings) {
        for held in holds {
            for meets in meetings {
                if meet(harness, true, age, *held, *meets).await? {
                    oldest = oldest.max(age);
                }
            }
        }
    }
    for age in absences(absent, harness.ceilings) {
        for held in [Held::Long, Held::Ended] {
            for meets in EVERYTHING {
                meet(harness, false, age, held, meets).await?;
            }
        }
    }
    Ok(oldest)
}

/// Returns the ages of kept secrets: about where the candidate's own leases end, the ends of the ceilings,
/// and some between.
fn secrets(own: Range, ceilings: Ceilings) -> Vec<(Duration, &'static [Meets], &'static [Held])> {
    let too_old = own.max + MS;
    let mut ages = vec![MS, too_old, ceilings.max_keep.saturating_sub(MS)];
    let full = ages.clone();
    ages.extend([own.min / 2, own.min.saturating_sub(MS), own.max, own.max * 2, ceilings.max_fresh]);
    ages.extend([1, 8, 64, 512, 4096].map(|seconds| SECOND * seconds));
    ages.retain(|age| *age > Duration::ZERO && *age < ceilings.max_keep);
    ages.sort_unstable();
    ages.dedup();
    ages.into_iter()
        .map(|age| {
            let (meetings, holds) =
                if full.contains(&age) { (&EVERYTHING[..], &ALL[..]) } else { (&MOST[..], &ALL[..1]) };
            (age, meetings, holds)
        })
        .collect()
}

fn absences(own: Duration, ceilings: Ceilings) -> Vec<Duration> {
    let mut ages = vec![MS, own + MS, ceilings.max_absent.saturating_sub(MS)];
    ages.retain(|age| *age > Duration::ZERO && *age < ceilings.max_absent);
    ages.sort_unstable();
    ages.dedup();
    ages
}

/// Makes one entry and one request that meets it. Returns whether a kept secret was the answer while the
/// database held another.
async fn meet(
    harness: &mut Harness,
    is_present: bool,
    age: Duration,
    held: Held,
    meets: Meets,
) -> Result<bool, SwapError> {
    let kept = if is_present { "a secret" } else { "absence" };
    harness.step(format!(
        "{}, where another policy has kept {kept}, {age:?} old, {}",
        meets.name(),
        held.name()
    ));
    let (workspace, stored) = harness.present()?;
    let value = is_present.then(|| stored.clone());
    if !is_present {
        harness.database.store_null(&workspace);
    }
    harness.keep(&workspace, value.clone(), held.lease(harness));
    harness.clock.advance(age);
    let outcome = meets.act(harness, &workspace, value.as_ref()).await;
    harness.database.fault(None);
    outcome
}

impl Held {
    fn name(self) -> &'static str {
        match self {
            Self::Long => "under a long lease",
            Self::Due => "under a lease by which a refresh is due",
            Self::Ended => "after its lease",
        }
    }

    fn lease(self, harness: &Harness) -> Lease {
        let (now, far) = (harness.clock.now(), Instant::from_nanos(u64::MAX));
        let lease = Lease { refresh_after: far, fresh_until: far, watched_until: far, keep_until: far };
        match self {
            Self::Long => lease,
            Self::Due => Lease { refresh_after: now, ..lease },
            Self::Ended => Lease { refresh_after: now, fresh_until: now, watched_until: now, ..lease },
        }
    }
}

impl Meets {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "a read",
            Self::ReadOfAnother => "a read of a secret that another process has stored",
            Self::ReadOfNone => "a read of a workspace without a secret",
            Self::ReadWhile(_) => "a read while the database fails",
            Self::Issue => "an issue",
            Self::IssueWithoutRow => "an issue of a workspace without a row",
            Self::IssueWhile(_) => "an issue while the database fails",
            Self::Heal => "a heal",
            Self::HealOfAnother => "a heal of a workspace that another process has changed",
            Self::HealWhile(_) => "a heal while the database fails",
        }
    }

    /// Makes the request. `kept` is the secret that is kept and stored; `None` if absence is both.
    async fn act(
        self,
        harness: &mut Harness,
        workspace: &WorkspaceId,
        kept: Option<&Secret>,
    ) -> Result<bool, SwapError> {
        match self {
            Self::Read | Self::ReadOfAnother | Self::ReadOfNone => self.read(harness, workspace, kept).await,
            Self::ReadWhile(fault) => {
                harness.database.fault(Some(fault()));
                let read = harness.read(workspace).await?;
                match kept {
                    Some(kept) => harness.hold(check::survives(&read, kept)).map(drop)?,
                    None => harness.hold(check::fails(&read))?,
                }
                read_the_row(harness, workspace).await
            }
            Self::Issue => {
                harness.database.take_journal();
                let issued = harness.issue(workspace).await?;
                let (statements, row) = (harness.database.take_journal(), harness.database.stored(workspace));
                harness.hold(check::issues(&issued, row.as_ref(), &statements))?;
                read_the_row(harness, workspace).await
            }
            Self::IssueWithoutRow | Self::IssueWhile(_) => {
                if let Self::IssueWhile(fault) = self {
                    harness.database.fault(Some(fault()));
                } else {
                    harness.database.delete(workspace);
                }
                let issued = harness.issue(workspace).await?;
                harness.hold(check::fails(&issued))?;
                if matches!(self, Self::IssueWithoutRow) {
                    Ok(false)
                } else {
                    read_the_row(harness, workspace).await
                }
            }
            Self::Heal | Self::HealOfAnother => {
                match kept {
                    _ if matches!(self, Self::Heal) => {}
                    Some(_) => harness.database.store_null(workspace),
                    None => drop(harness.database.store(workspace)),
                }
                let healed = harness.heal(workspace).await?;
                harness.hold(check::heals(&healed, harness.database.stored(workspace).as_ref()))?;
                read_the_row(harness, workspace).await
            }
            Self::HealWhile(fault) => {
                harness.database.fault(Some(fault()));
                let healed = harness.heal(workspace).await?;
                harness.hold(check::fails(&healed))?;
                read_the_row(harness, workspace).await
            }
        }
    }

    async fn read(
        self,
        harness: &mut Harness,
        workspace: &WorkspaceId,
        kept: Option<&Secret>,
    ) -> Result<bool, SwapError> {
        match self {
            Self::ReadOfAnother => drop(harness.database.store(workspace)),
            Self::ReadOfNone => harness.database.store_null(workspace),
            _ => {}
        }
        let row = harness.database.stored(workspace);
        let read = harness.read(workspace).await?;
        harness.hold(match (kept, &row) {
            (Some(kept), Some(row)) => check::finds_one(&read, &[row, kept]).map(|found| found == 1),
            (Some(kept), None) => check::finds_none_or(&read, kept),
            (None, Some(row)) => check::finds_or_none(&read, row).map(|_| false),
            (None, None) => check::finds_none(&read).map(|()| false),
        })
    }
}

/// Reads once more: the database is well, and holds what was kept, or what this very request has stored.
async fn read_the_row(harness: &mut Harness, workspace: &WorkspaceId) -> Result<bool, SwapError> {
    harness.database.fault(None);
    let read = harness.read(workspace).await?;
    harness.hold(match harness.database.stored(workspace) {
        Some(row) => check::finds(&read, &row),
        None => check::finds_none(&read),
    })?;
    Ok(false)
}

fn late() -> InjectedFault {
    InjectedFault::AnswersLate
}

fn full() -> InjectedFault {
    InjectedFault::Refuses(DatabaseError::Overloaded)
}
