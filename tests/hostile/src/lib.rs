//! A policy that breaks the rule that its setting `does` names. Compiled to a component for the tests, never shipped.
//!
//! Each behaviour is one that the type system of the SDK lets through: what the host does about it is what is tested.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;
use core::mem;
use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, Instant, IssueMode, Lease, Level, Policy, Secret, Setting, Settings,
};

/// The policy, told what to do wrong.
pub struct Hostile {
    does: String,
}

const FAR: Instant = Instant::from_nanos(u64::MAX);

impl Policy for Hostile {
    const DESCRIPTION: Description = Description {
        name: "hostile",
        version: "0.0.0",
        summary: "Breaks a rule.",
        settings: &[Setting { name: "does", default: "nothing", doc: "Which rule it breaks." }],
    };

    fn configure(settings: &Settings<'_>) -> Result<Self, String> {
        let does = String::from(settings.text("does"));
        match does.as_str() {
            "refuses-settings" => Err(String::from("setting does: never good enough")),
            "traps-in-configure" => panic!("configure"),
            "spins-in-configure" => spin(),
            _ => Ok(Self { does }),
        }
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        match self.does.as_str() {
            "traps" => panic!("read"),
            "spins" => spin(),
            "traps-after-put" => {
                let found = cx.select()?;
                if let Some(secret) = &found {
                    cx.put(secret, Lease::until(FAR));
                }
                panic!("after the put");
            }
            "traps-without-a-row" => match cx.select()? {
                Some(secret) => Ok(Some(secret)),
                None => panic!("no row"),
            },
            "traps-after-select" => {
                let _found = cx.select()?;
                panic!("after the select");
            }
            "spins-after-select" => {
                let _found = cx.select()?;
                spin()
            }
            "recurses" => Ok(recurse(0)),
            "grows" => loop {
                mem::forget(black_box(vec![1_u8; 1 << 20]));
            },
            "leaks-a-handle" => {
                mem::forget(cx.select()?);
                cx.select()
            }
            "selects-for-ever" => loop {
                let _found = cx.select()?;
            },
            "logs-for-ever" => loop {
                cx.log(Level::Warn, "still here\nforged line");
            },
            "logs-a-megabyte" => {
                let text: String = (0..1 << 20).map(|_| 'x').collect();
                cx.log(Level::Warn, &text);
                cx.select()
            }
            "issues-in-a-read" => cx.issue(IssueMode::Rotate).map(Some),
            "says-absent-without-asking" => Ok(None),
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
            "caches-absence-for-ever" => {
                let found = cx.select()?;
                match &found {
                    Some(secret) => cx.put(secret, Lease::until(FAR)),
                    None => cx.put_absent(Lease::until(FAR)),
                }
                Ok(found)
            }
            "leases-for-ever" => self.cached(cx, Lease::until(FAR)),
            "leases-the-past" => self.cached(cx, Lease::until(Instant::NEVER)),
            "keeps-for-ever" => {
                let kept = cx.entry().and_then(|kept| kept.value);
                let lease = Lease { keep_until: FAR, ..Lease::until(Instant::NEVER) };
                if kept.is_some() { Ok(kept) } else { self.cached(cx, lease) }
            }
            "refreshes-ahead" => {
                let found = cx.select()?;
                if let Some(secret) = &found {
                    let minute = Duration::from_secs(60);
                    let end = secret.obtained_at() + minute * 2;
                    cx.put(
                        secret,
                        Lease { refresh_after: secret.obtained_at() + minute, ..Lease::until(end) },
                    );
                }
                Ok(found)
            }
            "refreshes-soon" => {
                let found = cx.select()?;
                if let Some(secret) = &found {
                    let at = secret.obtained_at();
                    let lease = Lease::until(at + Duration::from_secs(2));
                    cx.put(secret, Lease { refresh_after: at + Duration::from_millis(20), ..lease });
                }
                Ok(found)
            }
            _ => cx.select(),
        }
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        match self.does.as_str() {
            "traps" => panic!("issue"),
            "traps-after-issue" => {
                let issued = cx.issue(mode)?;
                cx.put(&issued, Lease::until(FAR));
                panic!("after the issue");
            }
            "issues-twice" => {
                let _first = cx.issue(mode)?;
                cx.issue(mode)
            }
            "returns-the-old-secret" => match cx.select()? {
                Some(old) => Ok(old),
                None => cx.issue(mode),
            },
            "puts-the-old-secret" => {
                let old = cx.select()?;
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
            "hides-the-issue" => {
                let _issued = cx.issue(mode)?;
                Err(DatabaseError::Unavailable)
            }
            "never-issues" => Err(DatabaseError::Overloaded),
            _ => cx.issue(mode),
        }
    }
}

impl Hostile {
    fn cached(&self, cx: &Context, lease: Lease) -> Result<Option<Secret>, DatabaseError> {
        let found = cx.select()?;
        if let Some(secret) = &found {
            cx.put(secret, lease);
        }
        Ok(found)
    }
}

fn spin() -> ! {
    let mut count: u64 = 0;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "it is what the stack's limit is for")]
fn recurse(depth: usize) -> Option<Secret> {
    let frame: Box<[usize]> = Vec::from([depth; 4]).into_boxed_slice();
    let below = recurse(black_box(&frame)[0] + 1);
    if black_box(depth) == usize::MAX { None } else { below }
}

leasehold_policy::export!(Hostile);
