//! One instance of a policy: its store, its limits, and each way into it.
//!
//! Every failure in it is a fault in words or a shortage of the machine, and its owner drops it then. This
//! file knows nothing of other instances.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Store, StoreLimitsBuilder, Trap};

use super::bindings::v0_1::exports::leasehold::policy::control::Description;
use super::bindings::v0_1::leasehold::policy::types;
use super::bindings::v0_1::{CachePolicy, CachePolicyPre};
use super::engine::PolicyEngine;
use super::fuel;
use super::imports::HostState;
use super::limits::{Limits, MAX_MEMORY_BYTES, Taken};
use super::meter::Meter;
use super::shortage::is_shortage;
use crate::policy::call::{Call, CallError, Fault, Handle, PolicyAnswer, Request, Shortage};
use crate::policy::printable::printable;

/// Maximum number of bytes that one import or export may carry.
const MAX_TRANSFER_BYTES: usize = 64 << 10;
/// Maximum number of handles that one call may hold.
const MAX_HANDLES: usize = 256;

pub(super) struct Instance {
    store: Store<HostState>,
    exports: CachePolicy,
    meter: Arc<Meter>,
    /// Fuel that it spends between two looks of the meter.
    slice: u64,
}

type RawAnswer = Result<Option<Resource<Handle>>, types::DatabaseError>;

impl Instance {
    /// Makes an instance, which is neither described nor configured yet. `name` is for its log lines, `taken`
    /// the memory that all instances of the policy take together.
    pub(super) async fn new(
        engine: &PolicyEngine,
        pre: &CachePolicyPre<HostState>,
        name: &str,
        meter: Arc<Meter>,
        taken: Taken,
    ) -> Result<Self, CallError> {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(MAX_HANDLES);
        let limits = StoreLimitsBuilder::new()
            .memory_size(MAX_MEMORY_BYTES)
            .table_elements(10_000)
            .instances(16)
            .tables(16)
            .memories(1)
            .build();
        let state = HostState {
            name: name.to_owned(),
            limits: Limits::new(limits, taken),
            handles,
            log_lines: 0,
            logged_bytes: 0,
            said: None,
            call: None,
        };
        let mut store = Store::new(&engine.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(MAX_TRANSFER_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        // Before instantiation: a start function is under the limit as well.
        let slice = fuel::slice(engine.execution);
        let refilled = fuel::refill(&mut store, slice);
        refilled.map_err(|error| CallFailure::of(&error).during("instantiate", store.data()))?;
        let exports = enter(&meter, pin!(pre.instantiate_async(&mut store))).await;
        let exports = exports.map_err(|failure| failure.during("instantiate", store.data()))?;
        Ok(Self { store, exports, meter, slice })
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns the size of its memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().limits.memory_bytes()
    }

    /// Returns the processor time of its last call.
    pub(super) fn used(&self) -> Duration {
        self.meter.used()
    }

    /// Returns the policy's description of itself. From now on the instance's log lines have its name.
    pub(super) async fn describe(&mut self) -> Result<Description, CallError> {
        self.begin(None);
        let control = self.exports.leasehold_policy_control();
        let described = enter(&self.meter, pin!(control.call_describe(&mut self.store))).await;
        let described = described.map_err(|failure| failure.during("describe", self.store.data()))?;
        self.store.data_mut().name.clone_from(&described.name);
        Ok(described)
    }

    pub(super) async fn configure(&mut self, settings: &[(String, String)]) -> Result<(), CallError> {
        self.begin(None);
        let control = self.exports.leasehold_policy_control();
        let configured = enter(&self.meter, pin!(control.call_configure(&mut self.store, settings))).await;
        let configured = configured.map_err(|failure| failure.during("configure", self.store.data()))?;
        Ok(configured.map_err(|reason| Fault(printable(&reason)))?)
    }

    /// Makes one call. The record of the call comes back in any case.
    pub(super) async fn call(&mut self, call: Box<Call>) -> (Box<Call>, Result<PolicyAnswer, CallError>) {
        let (workspace, request) = (call.workspace.clone(), call.request);
        self.begin(Some(call));
        let returned = self.enter_policy(workspace.as_str(), request).await;
        let state = self.store.data_mut();
        #[expect(clippy::unreachable, reason = "the call was put there above, and nothing else takes it")]
        let Some(call) = state.call.take() else { unreachable!() };
        (call, returned.and_then(|answer| Ok(state.take_answer(answer)?)))
    }

    /// Gives the instance what it needs for one entry into the policy.
    fn begin(&mut self, call: Option<Box<Call>>) {
        let state = self.store.data_mut();
        (state.log_lines, state.said) = (0, None);
        state.limits.begin();
        state.call = call;
    }

    async fn enter_policy(&mut self, workspace: &str, request: Request) -> Result<RawAnswer, CallError> {
        let refilled = fuel::refill(&mut self.store, self.slice);
        refilled.map_err(|error| CallFailure::of(&error).during("begin", self.store.data()))?;
        let policy = self.exports.leasehold_policy_policy();
        match request {
            Request::Read => {
                let answer = enter(&self.meter, pin!(policy.call_read(&mut self.store, workspace))).await;
                answer.map_err(|failure| failure.during("read", self.store.data()))
            }
            Request::Issue(mode) => {
                let mode = mode.into();
                let answer =
                    enter(&self.meter, pin!(policy.call_issue(&mut self.store, workspace, mode))).await;
                answer
                    .map(|answer| answer.map(Some))
                    .map_err(|failure| failure.during("issue", self.store.data()))
            }
        }
    }
}

impl HostState {
    /// Takes the answer out of the table of handles, which must be empty then.
    fn take_answer(&mut self, answer: RawAnswer) -> Result<PolicyAnswer, Fault> {
        let answer = match answer {
            Ok(Some(handle)) => {
                let handle =
                    self.handles.delete(handle).map_err(|error| Fault(format!("a bad handle: {error}")))?;
                PolicyAnswer::Secret(handle)
            }
            Ok(None) => PolicyAnswer::Absent,
            Err(_) => PolicyAnswer::Error,
        };
        if self.handles.is_empty() {
            Ok(answer)
        } else {
            Err(Fault("it kept handles beyond the end of the call".into()))
        }
    }
}

/// Failure of an entry into the policy.
struct CallFailure {
    reason: String,
    is_panic: bool,
    /// `true` if the system refused what it took.
    is_shortage: bool,
}

impl CallFailure {
    fn of(error: &wasmtime::Error) -> Self {
        // The cause comes first: the backtrace of a deep recursion is longer than what an operator is shown.
        let reason = printable(&format!("{}: {error:#}", error.root_cause()));
        let is_panic = matches!(error.downcast_ref(), Some(Trap::UnreachableCodeReached));
        Self { reason, is_panic, is_shortage: is_shortage(error) }
    }

    /// Makes an error in words, with what the policy itself has logged about it, as the SDK does of a panic.
    fn during(self, function: &str, state: &HostState) -> CallError {
        let Self { reason, is_panic, is_shortage } = self;
        let reason = match state.said.as_ref().filter(|_| is_panic) {
            Some(said) => format!("{function} failed: it said {said}: {reason}"),
            None => format!("{function} failed: {reason}"),
        };
        // A policy that is refused memory which it may have does not get far.
        if is_shortage || state.limits.was_refused_by_the_system() {
            CallError::Shortage(Shortage(reason))
        } else {
            CallError::Fault(Fault(reason))
        }
    }
}

/// Runs the policy's code under the meter.
async fn enter<T>(
    meter: &Meter,
    entry: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
) -> Result<T, CallFailure> {
    match meter.run(entry).await {
        Ok(returned) => returned.map_err(|error| CallFailure::of(&error)),
        Err(over) => Err(CallFailure { reason: over.to_string(), is_panic: false, is_shortage: false }),
    }
}
