//! A policy that caches the database's answer for a fixed time, and absence not at all: where to begin.
//!
//! Change `read` and `issue` to what you need. They run when no lease covers the answer, never on a hit, and
//! each call is about one workspace. The bytes of a secret never get here: a `Secret` is a handle that the
//! host checks.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, IssueMode, Lease, Policy, Secret, Setting, Settings,
};

/// The policy, as the operator configured it.
pub struct Custom {
    ttl: Duration,
}

impl Policy for Custom {
    const DESCRIPTION: Description = Description {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        summary: "Caches a secret for a fixed time, and absence not at all.",
        settings: &[Setting {
            name: "ttl",
            default: "5m",
            doc: "How long a secret is served without asking again, such as 30s or 5m.",
        }],
    };

    fn configure(settings: &Settings<'_>) -> Result<Self, String> {
        // The text of an error is what the operator reads: name the setting, and the expected value.
        Ok(Self { ttl: settings.duration("ttl")? })
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        // After a swap the entry may still be young enough: then it is leased again without a SELECT.
        if let Some(secret) = cx.entry().and_then(|entry| entry.value)
            && cx.renew(&secret, self.lease(&secret))
        {
            return Ok(Some(secret));
        }
        let found = cx.select()?;
        match &found {
            Some(secret) => cx.put(secret, self.lease(secret)),
            None => cx.remove(),
        }
        Ok(found)
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        // The database first: a secret that it has not committed must not be served.
        let secret = cx.issue(mode)?;
        cx.put(&secret, self.lease(&secret));
        Ok(secret)
    }
}

impl Custom {
    /// Returns a lease that counts from when the value was obtained, however late it is put. Secrets that are
    /// read together expire together by this lease; `cx.jitter` returns what to take off so that a fleet
    /// spreads.
    fn lease(&self, secret: &Secret) -> Lease {
        Lease::until(secret.obtained_at() + self.ttl)
    }
}

leasehold_policy::export!(Custom);

#[cfg(test)]
mod tests;
