//! The default policy: a secret of the database is cached for a fixed time.
//!
//! A read that finds a secret caches it for `ttl`, counted from the moment the SELECT was sent. A read that
//! finds none caches nothing, for a row may appear at any moment. An issue is cached only after the database
//! has committed it.
//!
//! Jitter shortens the first leases of a workspace, until it expires at a moment of its own in every `ttl`;
//! from then on its leases last for `ttl`. So a fleet that was started together, or swapped, or came back
//! from an outage, does not go on to read the database in step, and costs as many statements as it does
//! without jitter.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, IssueMode, Lease, Policy, Secret, Setting, Settings,
};

/// The policy, as the operator configured it.
pub struct Ttl {
    ttl: Duration,
    jitter: Duration,
}

impl Policy for Ttl {
    const DESCRIPTION: Description = Description {
        name: "ttl",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Caches a secret for a fixed time after it was read or issued, and absence not at all.",
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
        Ok(Self { ttl, jitter })
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        cx.read_through(|secret| self.lease(cx, secret))
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        cx.write_through(mode, |secret| self.lease(cx, secret))
    }
}

impl Ttl {
    /// Returns a lease that is fresh until `ttl` after the value was obtained, less this workspace's jitter.
    fn lease(&self, cx: &Context, secret: &Secret) -> Lease {
        let obtained_at = secret.obtained_at();
        Lease::until(obtained_at + (self.ttl - cx.jitter(obtained_at, self.ttl, self.jitter)))
    }
}

leasehold_policy::export!(Ttl);

#[cfg(test)]
mod tests;
