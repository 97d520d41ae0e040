//! Issues that break a rule, one for each name.
//!
//! Where a name is about reads alone, the issue is honest and stores nothing.

use core::mem;

use leasehold_policy::{Context, DatabaseError, IssueMode, Lease, Level, Secret};

use crate::{FAR, Steps, reads, runaway};

const NAMES: [&str; 19] = [
    "traps-after-issue",
    "spins-in-issue",
    "spins-after-issue",
    "issues-twice",
    "issues-in-the-other-mode",
    "returns-the-old-secret",
    "returns-the-entry",
    "returns-a-select-after-the-issue",
    "puts-the-old-secret",
    "puts-the-entry",
    "puts-before-the-issue",
    "puts-absence-after-the-issue",
    "removes-after-the-issue",
    "leaks-the-issue",
    "leaks-what-is-too-old-in-an-issue",
    "hides-the-issue",
    "never-issues",
    "selects-and-never-issues",
    "leases-what-it-issued",
];

pub(crate) fn knows(does: &str) -> bool {
    NAMES.contains(&does)
}

pub(crate) fn issue(does: &str, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
    match does {
        "traps" => panic!("issue"),
        "spins-in-issue" => runaway::spin(),
        "spins-after-issue" => {
            let _issued = cx.issue(mode)?;
            runaway::spin()
        }
        "traps-after-issue" => {
            let issued = cx.issue(mode)?;
            cx.put(&issued, Lease::until(FAR));
            panic!("after the issue");
        }
        "issues-twice" => {
            let _first = cx.issue(mode)?;
            cx.issue(mode)
        }
        "issues-in-the-other-mode" => cx.issue(match mode {
            IssueMode::Rotate => IssueMode::Heal,
            IssueMode::Heal => IssueMode::Rotate,
        }),
        "returns-the-old-secret" => match cx.select()? {
            Some(old) => Ok(old),
            None => cx.issue(mode),
        },
        "returns-the-entry" => match cx.entry().and_then(|kept| kept.value) {
            Some(old) => Ok(old),
            None => cx.issue(mode),
        },
        "returns-a-select-after-the-issue" => {
            let issued = cx.issue(mode)?;
            Ok(cx.select()?.unwrap_or(issued))
        }
        "puts-the-old-secret" => {
            let old = cx.select()?;
            let issued = cx.issue(mode)?;
            if let Some(old) = &old {
                cx.put(old, Lease::until(FAR));
            }
            Ok(issued)
        }
        "puts-the-entry" => {
            let old = cx.entry().and_then(|kept| kept.value);
            let issued = cx.issue(mode)?;
            if let Some(old) = &old {
                cx.put(old, Lease::until(FAR));
            }
            Ok(issued)
        }
        "puts-before-the-issue" => {
            let old = cx.select()?;
            if let Some(old) = &old {
                cx.put(old, Lease::until(FAR));
            }
            cx.issue(mode)
        }
        "puts-absence-after-the-issue" => {
            let issued = cx.issue(mode)?;
            cx.put_absent(Lease::until(FAR));
            Ok(issued)
        }
        "removes-after-the-issue" => {
            let issued = cx.issue(mode)?;
            cx.put(&issued, Lease::until(FAR));
            cx.remove();
            Ok(issued)
        }
        "leaks-the-issue" => {
            let issued = cx.issue(mode)?;
            mem::forget(cx.select());
            Ok(issued)
        }
        "leaks-what-is-too-old-in-an-issue" => {
            mem::forget(reads::too_old(cx));
            cx.issue(mode)
        }
        "hides-the-issue" => {
            let _issued = cx.issue(mode)?;
            Err(DatabaseError::Unavailable)
        }
        "never-issues" => Err(DatabaseError::Overloaded),
        "selects-and-never-issues" => {
            let _found = cx.select()?;
            Err(DatabaseError::UnknownWorkspace)
        }
        "leases-what-it-issued" => {
            let issued = cx.issue(mode)?;
            cx.put(&issued, Lease::until(FAR));
            Ok(issued)
        }
        does => honest(&mut Steps::of(does), cx, mode),
    }
}

/// Makes the calls of an honest policy, up to the step at which the setting has it trap.
fn honest(steps: &mut Steps, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
    if steps.0.is_none() {
        return cx.issue(mode);
    }
    steps.next();
    cx.now();
    steps.next();
    drop(cx.entry());
    steps.next();
    let issued = cx.issue(mode)?;
    steps.next();
    let end = issued.obtained_at();
    steps.next();
    cx.log(Level::Debug, "stored");
    steps.next();
    cx.put(&issued, Lease::until(end));
    steps.next();
    Ok(issued)
}
