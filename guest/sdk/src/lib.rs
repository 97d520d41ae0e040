//! Write a cache policy for Leasehold.
//!
//! A policy is a type that implements [`Policy`] and is named once in [`export!`]. Compiled to
//! `wasm32-wasip2` it is a component that the host loads; compiled natively it is an ordinary crate that
//! [`FakeHost`] drives in plain `cargo test`, with a clock and a database that the test sets.
//!
//! ```
//! use core::time::Duration;
//! use leasehold_policy::{Context, DatabaseError, Description, IssueMode, Lease, Policy, Secret, Settings};
//!
//! /// Caches everything for a minute, and absence not at all.
//! struct Minute;
//!
//! impl Policy for Minute {
//!     const DESCRIPTION: Description =
//!         Description { name: "minute", version: "0.1.0", summary: "Caches for a minute.", settings: &[] };
//!
//!     fn configure(_: &Settings<'_>) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
//!         let found = cx.select()?;
//!         if let Some(secret) = &found {
//!             cx.put(secret, Lease::until(secret.obtained_at() + Duration::from_secs(60)));
//!         }
//!         Ok(found)
//!     }
//!
//!     fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
//!         let secret = cx.issue(mode)?;
//!         cx.put(&secret, Lease::until(secret.obtained_at() + Duration::from_secs(60)));
//!         Ok(secret)
//!     }
//! }
//!
//! leasehold_policy::export!(Minute);
//!
//! let host = leasehold_policy::FakeHost::<Minute>::new(&[]).unwrap();
//! host.store("w1", Some("s3cret"));
//! assert_eq!(host.read("w1"), Ok(Some("s3cret".to_string())));
//! host.advance(Duration::from_secs(59));
//! assert_eq!(host.read("w1"), Ok(Some("s3cret".to_string())));
//! assert_eq!(host.selects(), 1);
//! ```
//!
//! The contract itself, with what it promises and what it does not, is the WIT package in `wit/0.1`.

#![cfg_attr(target_arch = "wasm32", no_std)]

#[doc(hidden)]
pub extern crate alloc;

mod context;
mod duration;
mod lease;
mod policy;
mod settings;

#[cfg(not(target_arch = "wasm32"))]
mod fake;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;

pub use context::{Context, Secret, Snapshot};
pub use duration::parse_duration;
#[cfg(not(target_arch = "wasm32"))]
pub use fake::{Ceilings, FakeHost};
pub use lease::{Instant, Lease};
pub use policy::{DatabaseError, Description, IssueMode, Level, Policy, Setting};
pub use settings::Settings;

/// Names the policy of this crate. Natively it expands to nothing; in a component it exports the contract's
/// functions.
///
/// Call it once, at the top level of the crate, with a type that implements [`Policy`].
#[cfg(not(target_arch = "wasm32"))]
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        const _: () = {
            fn implements_policy<P: $crate::Policy>() {}
            let _ = implements_policy::<$policy>;
        };
    };
}
