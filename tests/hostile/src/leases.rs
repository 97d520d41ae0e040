//! Reads that break no rule and ask for too much: the longest leases, the oddest, and none at all.
//!
//! The host is to lower them, not to fail them. Every answer here is one that the database gave.

use core::time::Duration;

use leasehold_policy::{Context, DatabaseError, Instant, Lease, Secret};

use crate::FAR;

const NAMES: [&str; 14] = [
    "caches-absence-for-ever",
    "leases-for-ever",
    "leases-the-past",
    "leases-until-now",
    "leases-at-zero",
    "fresh-after-keep",
    "refreshes-ahead",
    "refreshes-soon",
    "refreshes-always",
    "refreshes-without-reading",
    "reads-through-and-refreshes",
    "keeps-for-ever",
    "renews-for-ever",
    "never-caches",
];

pub(crate) fn knows(does: &str) -> bool {
    NAMES.contains(&does)
}

pub(crate) fn read(does: &str, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
    let never = Lease::until(Instant::NEVER);
    match does {
        "caches-absence-for-ever" => {
            let found = cx.select()?;
            match &found {
                Some(secret) => cx.put(secret, Lease::until(FAR)),
                None => cx.put_absent(Lease::until(FAR)),
            }
            Ok(found)
        }
        "leases-for-ever" => put(cx, |_| Lease::until(FAR)),
        "leases-the-past" => put(cx, |at| Lease::until(Instant::from_nanos(at.as_nanos() / 2))),
        "leases-until-now" => put(cx, |_| Lease::until(cx.now())),
        "leases-at-zero" => put(cx, |_| never),
        "fresh-after-keep" => put(cx, |at| Lease { fresh_until: at + Duration::from_secs(60), ..never }),
        "refreshes-ahead" => put(cx, |at| {
            let minute = Duration::from_secs(60);
            Lease { refresh_after: at + minute, ..Lease::until(at + minute * 2) }
        }),
        "refreshes-soon" => put(cx, |at| {
            let lease = Lease::until(at + Duration::from_secs(2));
            Lease { refresh_after: at + Duration::from_millis(20), ..lease }
        }),
        "refreshes-always" => put(cx, |_| Lease { refresh_after: Instant::NEVER, ..Lease::until(FAR) }),
        // An honest policy, as an author would write it.
        "reads-through-and-refreshes" => cx.read_through(|secret| ahead(secret.obtained_at())),
        "refreshes-without-reading" => match cx.entry().and_then(|kept| kept.value) {
            Some(kept) => {
                cx.put(&kept, ahead(kept.obtained_at()));
                Ok(Some(kept))
            }
            None => put(cx, ahead),
        },
        "keeps-for-ever" => match cx.entry().and_then(|kept| kept.value) {
            Some(kept) => Ok(Some(kept)),
            None => put(cx, |_| Lease { keep_until: FAR, ..never }),
        },
        "renews-for-ever" => match cx.entry().and_then(|kept| kept.value) {
            Some(kept) => {
                cx.put(&kept, Lease::until(FAR));
                Ok(Some(kept))
            }
            None => put(cx, |_| Lease::until(FAR)),
        },
        _ => cx.select(),
    }
}

fn ahead(obtained_at: Instant) -> Lease {
    let minute = Duration::from_secs(60);
    Lease { refresh_after: obtained_at + minute, ..Lease::until(obtained_at + minute * 5) }
}

fn put(cx: &Context, lease: impl FnOnce(Instant) -> Lease) -> Result<Option<Secret>, DatabaseError> {
    let found = cx.select()?;
    if let Some(secret) = &found {
        cx.put(secret, lease(secret.obtained_at()));
    }
    Ok(found)
}
