//! The default policy with absence cached too, for a short time: for floods of ids that no row has.
//!
//! The price is in `absent-ttl`: a row that another process inserts meanwhile is not seen until it has
//! passed. An issue in this process is: the host drops a stored absence as it drops a stored secret. The
//! policy saves the SELECT; a server that heals every workspace that it finds absent still sends an UPDATE
//! for each unknown id.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, IssueMode, Lease, Policy, Secret, Setting, Settings, Snapshot,
};

/// The policy, as the operator configured it.
pub struct Negative {
    ttl: Duration,
    jitter: Duration,
    absent_ttl: Duration,
}

impl Policy for Negative {
    const DESCRIPTION: Description = Description {
        name: "negative",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Caches a secret for a fixed time, and its absence for a short one.",
        settings: &[
            Setting {
                name: "ttl",
                default: "5m",
                doc: "How long a secret is served without asking again, such as 30s or 5m.",
            },
            Setting {
                name: "jitter",
                default: "80%",
                doc: "Up to this much is taken off the first leases of a workspace, until the fleet expires \
                      evenly over ttl; a duration or a share of ttl. 0s lets what was read together expire \
                      together.",
            },
            Setting {
                name: "absent-ttl",
                default: "10s",
                doc: "How long absence is served without asking again; the host allows 30s unless it is told \
                      otherwise.",
            },
        ],
    };

    fn configure(settings: &Settings<'_>) -> Result<Self, String> {
        let ttl = settings.duration("ttl")?;
        let jitter = settings.duration_of("jitter", ttl)?;
        if jitter > ttl {
            return Err(String::from(
                "setting jitter: expected at most ttl, or some secrets would never be cached",
            ));
        }
        Ok(Self { ttl, jitter, absent_ttl: settings.duration("absent-ttl")? })
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        match cx.entry() {
            // After a swap the entry may still be young enough: then it is leased again without a SELECT.
            Some(Snapshot { value: Some(secret), .. }) if cx.renew(&secret, self.lease(cx, &secret)) => {
                return Ok(Some(secret));
            }
            // Absence may be put only where this call has found it. A young one is a good answer all the
            // same.
            Some(Snapshot { value: None, obtained_at, .. }) if cx.now() < obtained_at + self.absent_ttl => {
                return Ok(None);
            }
            _ => {}
        }
        let found = cx.select()?;
        match &found {
            Some(secret) => cx.put(secret, self.lease(cx, secret)),
            None => self.put_absent(cx),
        }
        Ok(found)
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        cx.write_through(mode, |secret| self.lease(cx, secret))
    }
}

impl Negative {
    /// Puts absence under a lease from when it was found, as a secret's. Absence has no handle with that
    /// instant, but its entry has it, so it is put twice.
    fn put_absent(&self, cx: &Context) {
        cx.put_absent(Lease::until(cx.now() + self.absent_ttl));
        if let Some(put) = cx.entry() {
            cx.put_absent(Lease::until(put.obtained_at + self.absent_ttl));
        }
    }

    fn lease(&self, cx: &Context, secret: &Secret) -> Lease {
        let obtained_at = secret.obtained_at();
        Lease::until(obtained_at + (self.ttl - cx.jitter(obtained_at, self.ttl, self.jitter)))
    }
}

leasehold_policy::export!(Negative);

#[cfg(test)]
mod tests;
