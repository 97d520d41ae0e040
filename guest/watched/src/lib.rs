//! A policy with long leases while the host is notified of every change, and the default policy's while it is
//! not.
//!
//! Whether the host has an invalidation channel, and whether that is up, is the host's to know: it honours
//! the second of two instants while it is, and goes by the first otherwise. On a host without one this policy
//! is `ttl`.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, IssueMode, Lease, Policy, Secret, Setting, Settings,
};

/// The policy, as the operator configured it.
pub struct Watched {
    ttl: Duration,
    watched_ttl: Duration,
    jitter: Duration,
    watched_jitter: Duration,
}

impl Policy for Watched {
    const DESCRIPTION: Description = Description {
        name: "watched",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Caches a secret for long while the host's invalidation channel is up, else for ttl, and \
                  absence not at all.",
        settings: &[
            Setting {
                name: "ttl",
                default: "5m",
                doc: "How long a secret is served without asking again while there is no invalidation \
                      channel.",
            },
            Setting {
                name: "watched-ttl",
                default: "1h",
                doc: "How long it is served while the host has an invalidation channel and that is up; at \
                      least ttl.",
            },
            Setting {
                name: "jitter",
                default: "80%",
                doc: "Up to this much is taken off the first leases of a workspace, until the fleet expires \
                      evenly over ttl; a duration, or a share of ttl and of watched-ttl. 0s lets what was \
                      read together expire together.",
            },
        ],
    };

    fn configure(settings: &Settings<'_>) -> Result<Self, String> {
        let (ttl, watched_ttl) = (settings.duration("ttl")?, settings.duration("watched-ttl")?);
        if watched_ttl < ttl {
            return Err(String::from(
                "setting watched-ttl: expected at least ttl, which holds without any channel",
            ));
        }
        let jitter = settings.duration_of("jitter", ttl)?;
        if jitter > ttl {
            return Err(String::from(
                "setting jitter: expected at most ttl, or some secrets would never be cached",
            ));
        }
        let watched_jitter = settings.duration_of("jitter", watched_ttl)?;
        Ok(Self { ttl, watched_ttl, jitter, watched_jitter })
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        // A policy does not know whether the channel is up, so that a kept secret is leased again by ttl.
        cx.read_through(|secret| self.lease(cx, secret))
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        cx.write_through(mode, |secret| self.lease(cx, secret))
    }
}

impl Watched {
    fn lease(&self, cx: &Context, secret: &Secret) -> Lease {
        let obtained_at = secret.obtained_at();
        let until = |ttl, jitter| obtained_at + (ttl - cx.jitter(obtained_at, ttl, jitter));
        let fresh_until = until(self.ttl, self.jitter);
        let watched_until = until(self.watched_ttl, self.watched_jitter).max(fresh_until);
        Lease {
            fresh_until,
            watched_until,
            // Never ahead: the channel reports when there is something new.
            refresh_after: watched_until,
            // Beyond ttl the entry must still be there to be served under the channel.
            keep_until: watched_until,
        }
    }
}

leasehold_policy::export!(Watched);

#[cfg(test)]
mod tests;
