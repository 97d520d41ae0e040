//! The policy that stores nothing: every read is a SELECT, every issue an UPDATE.
//!
//! It serves to find out whether the cache is to blame, and for databases that must be read each time.
//! Readers that come while a SELECT is in flight still share it: that is the host's doing, not a policy's.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;

use leasehold_policy::{Context, DatabaseError, Description, IssueMode, Policy, Secret, Settings};

/// The policy. There is nothing to configure.
pub struct Passthrough;

impl Policy for Passthrough {
    const DESCRIPTION: Description = Description {
        name: "passthrough",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Stores nothing: every read asks the database, and drops what an earlier policy stored.",
        settings: &[],
    };

    fn configure(_: &Settings<'_>) -> Result<Self, String> {
        Ok(Self)
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        // An earlier policy may have left an entry. It goes even if the SELECT fails: a later policy must not
        // find it.
        cx.remove();
        cx.select()
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        // The host drops the old entry by itself once the issue is committed.
        cx.issue(mode)
    }
}

leasehold_policy::export!(Passthrough);

#[cfg(test)]
mod tests;
