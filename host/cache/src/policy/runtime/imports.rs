//! The functions that a policy imports, as the component model calls them.
//!
//! Each finds the call that is running and leaves the decision to it (`call.rs`). An error that a policy may
//! see is a value of the contract; each breach of the contract is a trap.

use tracing::{debug, error, info, warn};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Result, format_err};

use super::bindings::v0_1::leasehold::policy::{clock, database, entry, log, types};
use super::limits::Limits;
use crate::lease::Lease;
use crate::policy::call::{Call, Fault, Handle};
use crate::table::Snapshot;
use crate::{DatabaseError, Instant, IssueMode};

/// Maximum number of lines that one call may log.
const MAX_LOG_LINES: u32 = 16;
/// Bytes of lines after which the call yields to the meter.
const MAX_UNSEEN_BYTES: usize = 256 << 10;
/// Maximum length of a line that is kept, in bytes.
const MAX_LOG_BYTES: usize = 256;

/// State of one instance of a policy.
pub(crate) struct HostState {
    /// The name of the policy, for its log lines.
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) handles: ResourceTable,
    /// Number of lines that the running call has logged.
    pub(crate) log_lines: u32,
    /// Bytes of lines since the instance last yielded for them.
    pub(super) logged_bytes: usize,
    /// The last line that it logged as an error in the running call: the SDK's report of a panic.
    pub(super) said: Option<String>,
    /// `None` while no workspace is bound: in `describe`, `configure` and start functions.
    pub(crate) call: Option<Box<Call>>,
}

impl HostState {
    fn call(&mut self) -> Result<&mut Call> {
        self.call
            .as_deref_mut()
            .ok_or_else(|| format_err!("no workspace is bound in describe, configure or a start function"))
    }

    fn hand_out(&mut self, handle: Handle) -> Result<Resource<Handle>> {
        self.handles.push(handle).map_err(|_| format_err!("a call may hold 256 handles at most"))
    }
}

impl types::Host for HostState {}

impl types::HostSecret for HostState {
    fn obtained_at(&mut self, handle: Resource<Handle>) -> Result<u64> {
        Ok(self.handles.get(&handle)?.obtained_at.rounded().as_nanos())
    }

    fn drop(&mut self, handle: Resource<Handle>) -> Result<()> {
        self.handles.delete(handle)?;
        Ok(())
    }
}

impl clock::Host for HostState {
    fn now(&mut self) -> Result<u64> {
        Ok(self.call()?.now().as_nanos())
    }
}

impl database::Host for HostState {
    async fn select(&mut self) -> Result<Result<Option<Resource<Handle>>, types::DatabaseError>> {
        match self.call()?.select().await? {
            Ok(found) => Ok(Ok(found.map(|handle| self.hand_out(handle)).transpose()?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn issue(
        &mut self,
        mode: types::IssueMode,
    ) -> Result<Result<Resource<Handle>, types::DatabaseError>> {
        match self.call()?.issue(mode.into()).await? {
            Ok(handle) => Ok(Ok(self.hand_out(handle)?)),
            // The contract has one word for an outcome that is unknown.
            Err(DatabaseError::Lost(_) | DatabaseError::Broken(_)) => Ok(Err(types::DatabaseError::Timeout)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl entry::Host for HostState {
    fn get(&mut self) -> Result<Option<entry::Snapshot>> {
        let Some((Snapshot { obtained_at, lease, .. }, handle)) = self.call()?.entry() else {
            return Ok(None);
        };
        let value = handle.map(|handle| self.hand_out(handle)).transpose()?;
        Ok(Some(entry::Snapshot {
            value,
            obtained_at: obtained_at.rounded().as_nanos(),
            lease: lease.into(),
        }))
    }

    fn put(&mut self, value: Option<Resource<Handle>>, lease: entry::Lease) -> Result<()> {
        let Self { handles, call, .. } = self;
        let handle = value.as_ref().map(|handle| handles.get(handle)).transpose()?;
        let call = call.as_mut().ok_or_else(|| format_err!("no workspace is bound"))?;
        Ok(call.put(handle, lease.into())?)
    }

    fn remove(&mut self) -> Result<()> {
        self.call()?.remove();
        Ok(())
    }
}

impl log::Host for HostState {
    async fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        // A line costs the policy the fuel of one call, however long it is.
        self.logged_bytes += message.len();
        if self.logged_bytes > MAX_UNSEEN_BYTES {
            self.logged_bytes = 0;
            tokio::task::yield_now().await;
        }
        // Debug formatting escapes what could forge a line.
        let line = || format!("{:?}", cut(&message));
        if level == log::Level::Error {
            self.said = Some(line());
        }
        if self.log_lines >= MAX_LOG_LINES {
            return Ok(());
        }
        self.log_lines += 1;
        let policy = self.name.as_str();
        let workspace = self.call.as_ref().map_or("", |call| call.workspace.as_str());
        let message = line();
        match level {
            log::Level::Debug => debug!(target: "leasehold::policy", policy, workspace, message),
            log::Level::Info => info!(target: "leasehold::policy", policy, workspace, message),
            log::Level::Warn => warn!(target: "leasehold::policy", policy, workspace, message),
            log::Level::Error => error!(target: "leasehold::policy", policy, workspace, message),
        }
        Ok(())
    }
}

/// Returns the first 256 bytes of a message, in whole characters.
fn cut(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MAX_LOG_BYTES)).unwrap_or_default()
}

impl From<Fault> for wasmtime::Error {
    fn from(Fault(reason): Fault) -> Self {
        format_err!("{reason}")
    }
}

impl From<types::IssueMode> for IssueMode {
    fn from(mode: types::IssueMode) -> Self {
        match mode {
            types::IssueMode::Rotate => Self::Rotate,
            types::IssueMode::Heal => Self::Heal,
        }
    }
}

impl From<IssueMode> for types::IssueMode {
    fn from(mode: IssueMode) -> Self {
        match mode {
            IssueMode::Rotate => Self::Rotate,
            IssueMode::Heal => Self::Heal,
        }
    }
}

impl From<DatabaseError> for types::DatabaseError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_)
            | DatabaseError::Refused(_)
            | DatabaseError::ReadOnly
            | DatabaseError::Lost(_)
            | DatabaseError::Broken(_) => Self::Unavailable,
            DatabaseError::Timeout => Self::Timeout,
            DatabaseError::UnknownWorkspace => Self::UnknownWorkspace,
            DatabaseError::Overloaded => Self::Overloaded,
        }
    }
}

impl From<entry::Lease> for Lease {
    fn from(lease: entry::Lease) -> Self {
        Self {
            refresh_after: Instant::from_nanos(lease.refresh_after),
            fresh_until: Instant::from_nanos(lease.fresh_until),
            watched_until: Instant::from_nanos(lease.watched_until),
            keep_until: Instant::from_nanos(lease.keep_until),
        }
    }
}

impl From<Lease> for entry::Lease {
    fn from(lease: Lease) -> Self {
        Self {
            refresh_after: lease.refresh_after.as_nanos(),
            fresh_until: lease.fresh_until.as_nanos(),
            watched_until: lease.watched_until.as_nanos(),
            keep_until: lease.keep_until.as_nanos(),
        }
    }
}
