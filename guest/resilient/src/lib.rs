//! A policy for a database that fails now and then: readers do not wait for it where a kept value will do.
//!
//! It adds three things to the default policy. Jitter and refreshes ahead keep a fleet from sending its
//! SELECTs all at once. While the database cannot answer, a value is returned for up to `stale` after it
//! expired, and the database is tried again once per `retry`, not at each read. A value's age is never
//! counted anew: each lease counts from when the value was obtained, and beyond the operator's `max_fresh` it
//! has no lease at all and each read sends a SELECT. An absence that the database reported is no failure: it
//! ends the value at once.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, Instant, IssueMode, Lease, Policy, Secret, Setting, Settings,
};

/// The policy, as the operator configured it.
pub struct Resilient {
    ttl: Duration,
    jitter: Duration,
    refresh_ahead: Duration,
    stale: Duration,
    retry: Duration,
}

impl Policy for Resilient {
    const DESCRIPTION: Description = Description {
        name: "resilient",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Caches a secret for about ttl, refreshes it ahead, and returns it for a while longer when \
                  the database fails.",
        settings: &[
            Setting {
                name: "ttl",
                default: "5m",
                doc: "How long a secret is served without asking again, such as 30s or 5m.",
            },
            Setting {
                name: "jitter",
                default: "80%",
                doc: "Up to this much is taken off the first leases of a workspace, until the fleet asks \
                      evenly over time; a duration or a share of ttl. 0s lets what was read together expire \
                      together.",
            },
            Setting {
                name: "refresh-ahead",
                default: "10%",
                doc: "How long before it expires the first hit asks again in the background; a duration or a \
                      share of ttl.",
            },
            Setting {
                name: "stale",
                default: "10m",
                doc: "How long after it expired a secret is returned while the database cannot answer.",
            },
            Setting {
                name: "retry",
                default: "5s",
                doc: "How often a database that could not answer is asked again for a workspace; more than \
                      0s.",
            },
        ],
    };

    fn configure(settings: &Settings<'_>) -> Result<Self, String> {
        let ttl = settings.duration("ttl")?;
        let policy = Self {
            ttl,
            jitter: settings.duration_of("jitter", ttl)?,
            refresh_ahead: settings.duration_of("refresh-ahead", ttl)?,
            stale: settings.duration("stale")?,
            retry: settings.duration("retry")?,
        };
        let refuse = |reason: &str| Err(String::from(reason));
        if policy.jitter > ttl {
            return refuse("setting jitter: expected at most ttl, or some secrets would never be cached");
        }
        if policy.refresh_ahead > ttl - policy.jitter {
            return refuse("setting refresh-ahead: expected at most ttl less jitter, or it would never end");
        }
        if policy.retry.is_zero() {
            return refuse("setting retry: expected more than 0s, or a dead database is asked at each read");
        }
        Ok(policy)
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        let kept = cx.entry().and_then(|entry| entry.value);
        // After a swap it may be young enough to be leased again.
        if kept.as_ref().is_some_and(|secret| cx.renew(secret, self.lease(cx, secret))) {
            return Ok(kept);
        }
        match cx.load(|secret| self.lease(cx, secret)) {
            // Not a failure but an answer. A SELECT does not give it; if it did, there would be nothing to
            // keep.
            Err(DatabaseError::UnknownWorkspace) => Err(DatabaseError::UnknownWorkspace),
            Err(error) => self.stale(cx, kept).map(Some).ok_or(error),
            found => found,
        }
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        cx.write_through(mode, |secret| self.lease(cx, secret))
    }
}

impl Resilient {
    /// Returns a lease that is fresh until `ttl` after the value was obtained, less this workspace's jitter,
    /// and keeps the value for `stale` more.
    fn lease(&self, cx: &Context, secret: &Secret) -> Lease {
        let obtained_at = secret.obtained_at();
        // Jitter by the instant of the refresh, and not by the end of the lease.
        let jitter = cx.jitter(obtained_at, self.ttl - self.refresh_ahead, self.jitter);
        let fresh_until = obtained_at + (self.ttl - jitter);
        Lease {
            refresh_after: obtained_at + (self.ttl - jitter - self.refresh_ahead),
            fresh_until,
            watched_until: Instant::NEVER,
            keep_until: fresh_until + self.stale,
        }
    }

    /// Returns the kept value, under a lease until the next attempt. `None` if there is none, or it is too
    /// old.
    fn stale(&self, cx: &Context, kept: Option<Secret>) -> Option<Secret> {
        let secret = kept?;
        let lease = self.lease(cx, &secret);
        if cx.now() >= lease.keep_until {
            return None;
        }
        let next_attempt = cx.now() + self.retry;
        // A refresh ahead that failed takes nothing from the lease that there was.
        let fresh_until = lease.fresh_until.max(next_attempt).min(lease.keep_until);
        cx.put(&secret, Lease { refresh_after: next_attempt, fresh_until, ..lease });
        Some(secret)
    }
}

leasehold_policy::export!(Resilient);

#[cfg(test)]
mod tests;
