//! Reads that break a rule, one for each name.
//!
//! Where a name is about issues alone, the read is honest and stores nothing.

use core::mem;
use core::time::Duration;

use leasehold_policy::{Context, DatabaseError, IssueMode, Lease, Level, Secret};

use crate::{FAR, Hostile, Steps, runaway};

const NAMES: [&str; 39] = [
    "nothing",
    "traps",
    "traps-at-its-thousandth-call",
    "traps-after-put",
    "traps-without-a-row",
    "spins",
    "dawdles",
    "spins-after-select",
    "traps-after-select",
    "spins-but-for-hot",
    "fills-but-for-hot",
    "asks-the-clock-for-ever",
    "asks-for-the-entry-for-ever",
    "puts-for-ever",
    "removes-for-ever",
    "selects-for-ever",
    "logs-for-ever",
    "logs-a-megabyte",
    "logs-sixteen-long-lines",
    "recurses",
    "grows",
    "fills",
    "leaks-a-handle",
    "hoards-handles",
    "leaks-what-is-too-old",
    "leaks-what-is-too-old-while-the-database-fails",
    "traps-at-a-kept-absence",
    "issues-in-a-read",
    "says-absent-without-asking",
    "says-absent-over-a-secret",
    "says-absent-after-an-error",
    "says-unavailable-without-asking",
    "puts-absence-without-asking",
    "puts-absence-over-a-secret",
    "puts-absence-after-an-error",
    "removes-what-it-put",
    "returns-an-earlier-snapshot",
    "remembers-a-secret",
    "remembers-absence",
];

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn knows(does: &str) -> bool {
    NAMES.contains(&does) || does.starts_with("traps-at-")
}

pub(crate) fn read(policy: &Hostile, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
    match policy.does.as_str() {
        "traps" => panic!("read"),
        // It behaves until it is trusted.
        "traps-at-its-thousandth-call" => {
            policy.calls.set(policy.calls.get() + 1);
            assert!(policy.calls.get() < 1_000, "it was trusted");
            cx.select()
        }
        "traps-after-put" => {
            leased(cx)?;
            panic!("after the put");
        }
        "traps-without-a-row" => match cx.select()? {
            Some(secret) => Ok(Some(secret)),
            None => panic!("no row"),
        },
        "spins" => runaway::spin(),
        "dawdles" => {
            runaway::dawdle();
            cx.select()
        }
        "traps-after-select" => {
            let _found = cx.select()?;
            panic!("after the select");
        }
        "spins-after-select" => {
            let _found = cx.select()?;
            runaway::spin()
        }
        // A neighbour that can be told apart from the others, for the benchmark.
        "spins-but-for-hot" | "fills-but-for-hot" if cx.workspace().starts_with("hot") => leased(cx),
        "spins-but-for-hot" => runaway::spin(),
        "fills-but-for-hot" => runaway::fill(),
        "asks-the-clock-for-ever" => runaway::ask_the_clock(cx),
        "asks-for-the-entry-for-ever" => {
            leased(cx)?;
            runaway::ask_for_the_entry(cx)
        }
        "puts-for-ever" => with_found(cx, |secret| runaway::put(cx, secret)),
        "removes-for-ever" => runaway::remove(cx),
        "selects-for-ever" => loop {
            let _found = cx.select()?;
        },
        "logs-for-ever" => runaway::log(cx),
        "logs-a-megabyte" => {
            cx.log(Level::Warn, &"x".repeat(1 << 20));
            cx.select()
        }
        "logs-sixteen-long-lines" => {
            let text = "long\n".repeat(12_000);
            for _ in 0..16 {
                cx.log(Level::Debug, &text);
            }
            cx.select()
        }
        "recurses" => Ok(runaway::recurse(0)),
        "grows" => runaway::grow(),
        "fills" => runaway::fill(),
        "leaks-a-handle" => {
            mem::forget(cx.select()?);
            cx.select()
        }
        // By its own rule what it puts is gone once it is too old: only an entry that another policy has put
        // can be met so.
        "leaks-what-is-too-old" => {
            let kept = too_old(cx);
            let found = for_a_second(cx);
            mem::forget(kept);
            found
        }
        "leaks-what-is-too-old-while-the-database-fails" => {
            let kept = too_old(cx);
            let found = for_a_second(cx);
            if found.is_err() {
                mem::forget(kept);
            }
            found
        }
        "traps-at-a-kept-absence" => {
            assert!(cx.entry().is_none_or(|kept| kept.value.is_some()), "a kept absence");
            cx.select()
        }
        "hoards-handles" => with_found(cx, |secret| runaway::hoard(cx, secret)),
        "issues-in-a-read" => cx.issue(IssueMode::Rotate).map(Some),
        _ => lie(policy, cx),
    }
}

/// Answers with statements that are untrue.
fn lie(policy: &Hostile, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
    match policy.does.as_str() {
        "says-absent-without-asking" => Ok(None),
        "says-absent-over-a-secret" => cx.select().map(|_| None),
        "says-absent-after-an-error" => Ok(cx.select().unwrap_or(None)),
        "says-unavailable-without-asking" => Err(DatabaseError::Unavailable),
        "puts-absence-without-asking" => {
            cx.put_absent(Lease::until(FAR));
            Ok(None)
        }
        "puts-absence-over-a-secret" => {
            let found = cx.select()?;
            cx.put_absent(Lease::until(FAR));
            Ok(found)
        }
        "puts-absence-after-an-error" => cx.select().inspect_err(|_| cx.put_absent(Lease::until(FAR))),
        // Honest, so that their issues find an entry.
        "returns-the-entry" | "puts-the-entry" => leased(cx),
        "removes-what-it-put" => {
            let found = leased(cx);
            cx.remove();
            found
        }
        "returns-an-earlier-snapshot" => {
            let earlier = cx.entry().and_then(|kept| kept.value);
            let found = leased(cx)?;
            Ok(earlier.or(found))
        }
        "remembers-a-secret" => {
            let earlier = policy.kept.replace(cx.select()?);
            Ok(earlier.or(cx.select()?))
        }
        "remembers-absence" => {
            if policy.was_absent.get() {
                return Ok(None);
            }
            let found = cx.select()?;
            policy.was_absent.set(found.is_none());
            Ok(found)
        }
        does => honest(&mut Steps::of(does), cx),
    }
}

/// Makes the calls of an honest policy, up to the step at which the setting has it trap.
fn honest(steps: &mut Steps, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
    if steps.0.is_none() {
        return cx.select();
    }
    steps.next();
    cx.now();
    steps.next();
    drop(cx.entry());
    steps.next();
    let found = cx.select()?;
    if let Some(secret) = &found {
        steps.next();
        let end = secret.obtained_at();
        steps.next();
        cx.log(Level::Debug, "stored");
        steps.next();
        cx.put(secret, Lease::until(end));
    }
    steps.next();
    Ok(found)
}

fn leased(cx: &Context) -> Result<Option<Secret>, DatabaseError> {
    let found = cx.select()?;
    if let Some(secret) = &found {
        cx.put(secret, Lease::until(FAR));
    }
    Ok(found)
}

/// Returns the kept secret, where it is older than a second.
pub(crate) fn too_old(cx: &Context) -> Option<Secret> {
    let kept = cx.entry()?;
    kept.value.filter(|_| cx.now() - kept.obtained_at >= SECOND)
}

fn for_a_second(cx: &Context) -> Result<Option<Secret>, DatabaseError> {
    let found = cx.select()?;
    if let Some(secret) = &found {
        cx.put(secret, Lease::until(secret.obtained_at() + SECOND));
    }
    Ok(found)
}

fn with_found(cx: &Context, then: impl FnOnce(&Secret)) -> Result<Option<Secret>, DatabaseError> {
    let found = cx.select()?;
    if let Some(secret) = &found {
        then(secret);
    }
    Ok(found)
}
