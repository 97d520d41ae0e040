//! The component side of the SDK: the contract's imports behind [`Context`], its exports in front of a
//! [`Policy`].
//!
//! It is public only for the code that [`export!`](crate::export) expands to. It translates types and decides
//! nothing.

mod runtime;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{
    Context, DatabaseError, Description, Instant, IssueMode, Lease, Level, Policy, Secret, Settings, Snapshot,
};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from wit/0.1, where the documentation is"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "leasehold:policy/cache-policy",
        pub_export_macro: true,
        export_macro_name: "export_component",
    });
}

pub use runtime::Slot;

use bindings::exports::leasehold::policy::control;
use bindings::leasehold::policy::{clock, database, entry, log, types};

/// The imports of the call that is running.
pub(crate) struct Host;

/// The contract's handle of a secret.
pub(crate) type Handle = types::Secret;

/// Returns the instant at which a handle's value was known to be in the database.
pub(crate) fn obtained_at(handle: &Handle) -> Instant {
    Instant::from_nanos(handle.obtained_at())
}

impl Host {
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(clock::now())
    }

    pub(crate) fn select(&self) -> Result<Option<Handle>, DatabaseError> {
        database::select().map_err(DatabaseError::from)
    }

    pub(crate) fn issue(&self, mode: IssueMode) -> Result<Handle, DatabaseError> {
        let mode = match mode {
            IssueMode::Rotate => types::IssueMode::Rotate,
            IssueMode::Heal => types::IssueMode::Heal,
        };
        database::issue(mode).map_err(DatabaseError::from)
    }

    pub(crate) fn entry(&self) -> Option<Snapshot> {
        let entry::Snapshot { value, obtained_at, lease } = entry::get()?;
        let lease = Lease {
            refresh_after: Instant::from_nanos(lease.refresh_after),
            fresh_until: Instant::from_nanos(lease.fresh_until),
            watched_until: Instant::from_nanos(lease.watched_until),
            keep_until: Instant::from_nanos(lease.keep_until),
        };
        Some(Snapshot { value: value.map(Secret), obtained_at: Instant::from_nanos(obtained_at), lease })
    }

    pub(crate) fn put(&self, value: Option<&Handle>, lease: Lease) {
        let lease = entry::Lease {
            refresh_after: lease.refresh_after.as_nanos(),
            fresh_until: lease.fresh_until.as_nanos(),
            watched_until: lease.watched_until.as_nanos(),
            keep_until: lease.keep_until.as_nanos(),
        };
        entry::put(value, lease);
    }

    pub(crate) fn remove(&self) {
        entry::remove();
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }
}

impl From<types::DatabaseError> for DatabaseError {
    fn from(error: types::DatabaseError) -> Self {
        match error {
            types::DatabaseError::Unavailable => Self::Unavailable,
            types::DatabaseError::Timeout => Self::Timeout,
            types::DatabaseError::UnknownWorkspace => Self::UnknownWorkspace,
            types::DatabaseError::Overloaded => Self::Overloaded,
        }
    }
}

impl From<DatabaseError> for types::DatabaseError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable => Self::Unavailable,
            DatabaseError::Timeout => Self::Timeout,
            DatabaseError::UnknownWorkspace => Self::UnknownWorkspace,
            DatabaseError::Overloaded => Self::Overloaded,
        }
    }
}

/// Implements `control.describe` for a policy.
pub fn describe<P: Policy>() -> control::Description {
    let Description { name, version, summary, settings } = P::DESCRIPTION;
    let settings = settings.iter().map(|setting| control::Setting {
        name: setting.name.to_string(),
        default: setting.default.to_string(),
        doc: setting.doc.to_string(),
    });
    control::Description {
        name: name.to_string(),
        version: version.to_string(),
        summary: summary.to_string(),
        settings: settings.collect(),
    }
}

/// Implements `control.configure` for a policy.
pub fn configure<P: Policy>(slot: &Slot<P>, given: Vec<(String, String)>) -> Result<(), String> {
    slot.fill(P::configure(&Settings::new(P::DESCRIPTION.settings, &given)?)?);
    Ok(())
}

/// Implements `policy.read` for a policy.
pub fn read<P: Policy>(policy: &P, workspace: String) -> Result<Option<Handle>, types::DatabaseError> {
    let answer = policy.read(&Context { workspace, host: Host })?;
    Ok(answer.map(|secret| secret.0))
}

/// Implements `policy.issue` for a policy.
pub fn issue<P: Policy>(
    policy: &P,
    workspace: String,
    mode: types::IssueMode,
) -> Result<Handle, types::DatabaseError> {
    let mode = match mode {
        types::IssueMode::Rotate => IssueMode::Rotate,
        types::IssueMode::Heal => IssueMode::Heal,
    };
    Ok(policy.issue(&Context { workspace, host: Host }, mode)?.0)
}

/// Names the policy of this crate and exports the contract's functions for it.
///
/// Call it once, at the top level of the crate, with a type that implements [`Policy`](crate::Policy).
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        const _: () = {
            use $crate::alloc::{string::String, vec::Vec};
            use $crate::guest::bindings::exports::leasehold::policy::{control, policy};
            use $crate::guest::bindings::leasehold::policy::types;

            static POLICY: $crate::guest::Slot<$policy> = $crate::guest::Slot::empty();

            struct Component;

            impl control::Guest for Component {
                fn describe() -> control::Description {
                    $crate::guest::describe::<$policy>()
                }

                fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
                    $crate::guest::configure(&POLICY, settings)
                }
            }

            impl policy::Guest for Component {
                fn read(workspace: String) -> Result<Option<types::Secret>, types::DatabaseError> {
                    $crate::guest::read(POLICY.get(), workspace)
                }

                fn issue(
                    workspace: String,
                    mode: types::IssueMode,
                ) -> Result<types::Secret, types::DatabaseError> {
                    $crate::guest::issue(POLICY.get(), workspace, mode)
                }
            }

    $crate::guest::bindings::export_component!(Component with_types_in $crate::guest::bindings);
        };
    };
}
