//! A loaded policy: checked, configured, and ready to be called by many tasks at once.
//!
//! An instance runs one call at a time and is used again only after a call without any fault: a trap leaves
//! its store dead, and a handle that was kept could otherwise turn up in a call about another workspace.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::bindings::v0_1::CachePolicyPre;
use super::bindings::v0_1::exports::leasehold::policy::control::Description;
use super::compiled::Compiled;
use super::describe::{check_description, check_names};
use super::engine::{self, PolicyEngine};
use super::execution::Execution;
use super::imports::HostState;
use super::instance::Instance;
use super::limits::Taken;
use super::meter::Meter;
use super::slow_worker::Slowness;
use crate::policy::Policy;
use crate::policy::call::{Call, CallError, Fault, PolicyAnswer, Request, Shortage};
use crate::policy::card::PolicyCard;
use crate::{RetainedPolicy, Stage, SwapError};

/// Number of instances that are kept for the next call whether they are needed or not: one costs 25 µs to
/// make.
const SPARE: usize = 16;

/// Limits and settings of calls.
#[derive(Clone, Copy)]
pub(crate) struct CallLimits {
    /// Maximum processor time of one call.
    pub(crate) cpu_limit: Duration,
    /// `true` if long calls leave their caller's runtime.
    pub(crate) may_leave: bool,
    /// Way of running, where the choice is not the system's.
    pub(crate) execution: Option<Execution>,
}

/// A policy that can be called.
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) description: Description,
    pub(in crate::policy) compiled: Arc<Compiled>,
    pub(crate) faults: AtomicU64,
    /// `true` if the policy has come through its probation, or was never on one.
    proven: AtomicBool,
    pub(crate) calls: AtomicU64,
    /// Processor time of all calls, in nanoseconds.
    pub(crate) call_nanos: AtomicU64,
    /// Fault of the first call that did not count.
    pub(crate) first_fault: OnceLock<Fault>,
    /// Shortage of the first call for which the machine had not enough.
    pub(crate) first_shortage: OnceLock<Shortage>,
    /// Findings of the rehearsal, if there was one.
    pub(crate) card: OnceLock<PolicyCard>,
    engine: &'static PolicyEngine,
    pre: CachePolicyPre<HostState>,
    limits: CallLimits,
    taken: Taken,
    slowness: Slowness,
    /// `true` while it is rehearsed, on a thread of the rehearsal's own.
    is_rehearsed: AtomicBool,
    /// `None` while the policy is not active: then no instance is kept.
    idle: Mutex<Option<Idle>>,
}

/// The instances that wait for a call, the last one used on top.
#[derive(Default)]
struct Idle {
    instances: Vec<Instance>,
    /// Number of instances that were not needed since the last look: there were never fewer.
    unneeded: usize,
}

impl Loaded {
    /// Links and configures a compiled policy, and keeps the instance that this took.
    pub(in crate::policy) async fn new(
        policy: Policy,
        compiled: Arc<Compiled>,
        limits: CallLimits,
    ) -> Result<Self, SwapError> {
        let engine = engine::engine(Some(compiled.execution()))?;
        let meter = Arc::new(Meter::new(limits.cpu_limit));
        let loading = Box::pin(Self::load(engine, policy, compiled, limits, Arc::clone(&meter)));
        engine.slow_worker.run_if_long(loading, || limits.may_leave && meter.is_long()).await
    }

    async fn load(
        engine: &'static PolicyEngine,
        policy: Policy,
        compiled: Arc<Compiled>,
        limits: CallLimits,
        meter: Arc<Meter>,
    ) -> Result<Self, SwapError> {
        let Some(component) = compiled.component() else {
            return Err(SwapError::new(Stage::Compile, "it is not compiled"));
        };
        let pre = engine.link(component)?;
        let description = Description {
            name: String::new(),
            version: String::new(),
            summary: String::new(),
            settings: Vec::new(),
        };
        let mut loaded = Self {
            policy,
            description,
            compiled,
            faults: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            call_nanos: AtomicU64::new(0),
            first_fault: OnceLock::new(),
            first_shortage: OnceLock::new(),
            card: OnceLock::new(),
            engine,
            pre,
            limits,
            taken: Taken::default(),
            slowness: Slowness::default(),
            is_rehearsed: AtomicBool::new(false),
            idle: Mutex::new(Some(Idle::default())),
        };
        let refuse = |reason: String| SwapError::new(Stage::Configure, reason);
        let mut instance = loaded.instantiate(Arc::clone(&meter)).await.map_err(refused)?;
        meter.reset();
        loaded.description = instance.describe().await.map_err(refused)?;
        check_description(&loaded.description).map_err(refuse)?;
        check_names(loaded.policy.settings(), &loaded.description).map_err(refuse)?;
        instance.configure(loaded.policy.settings()).await.map_err(refused)?;
        loaded.give_back(instance);
        Ok(loaded)
    }

    /// Returns whether it has come through its probation, or was never on one.
    pub(in crate::policy) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::SeqCst)
    }

    pub(in crate::policy) fn set_proven(&self, proven: bool) {
        self.proven.store(proven, Ordering::SeqCst);
    }

    /// Marks the begin or end of the rehearsal: until its end, calls stay on the thread on which they are
    /// made.
    pub(crate) fn set_rehearsed(&self, is_rehearsed: bool) {
        self.is_rehearsed.store(is_rehearsed, Ordering::SeqCst);
    }

    /// Returns the policy, and whether it is proven.
    pub(in crate::policy) fn retained(&self) -> RetainedPolicy {
        RetainedPolicy { policy: self.policy.clone(), proven: self.is_proven() }
    }

    /// Returns the way it is run.
    pub(in crate::policy) fn execution(&self) -> Execution {
        self.engine.execution
    }

    /// Returns the limits and settings of its calls.
    pub(in crate::policy) fn call_limits(&self) -> CallLimits {
        self.limits
    }

    /// Returns `name version`, as the policy says of itself.
    pub(in crate::policy) fn full_name(&self) -> String {
        format!("{} {}", self.description.name, self.description.version)
    }

    /// Returns every setting with the value in force.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let given = |name: &str| {
            self.policy.settings().iter().find(|(given, _)| given == name).map(|(_, value)| value)
        };
        let declared = self.description.settings.iter();
        declared.map(|s| (s.name.clone(), given(&s.name).unwrap_or(&s.default).clone())).collect()
    }

    /// Returns whether it is the same component with the same settings in force.
    pub(in crate::policy) fn does_as(&self, other: &Self) -> bool {
        self.policy.digest() == other.policy.digest() && self.settings() == other.settings()
    }

    /// Calls the policy. The record of the call comes back in any case.
    pub(crate) async fn call(
        self: &Arc<Self>,
        call: Box<Call>,
    ) -> (Box<Call>, Result<PolicyAnswer, CallError>) {
        let idle = self.idle().as_mut().and_then(Idle::take);
        let meter = match &idle {
            Some(instance) => Arc::clone(instance.meter()),
            None => Arc::new(Meter::new(self.limits.cpu_limit)),
        };
        meter.reset();
        let (metered, host_io) = (Arc::clone(&meter), call.host_io());
        // Boxed, so that it stays in one place from here on, on whichever thread it ends.
        let running = Box::pin(Arc::clone(self).run(idle, metered, call));
        let slow_worker = self.engine.slow_worker;
        let may_leave = self.limits.may_leave && !self.is_rehearsed.load(Ordering::SeqCst);
        let returned = if may_leave && self.slowness.is_slow() {
            host_io.drive(pin!(slow_worker.run(running))).await
        } else {
            host_io.drive(pin!(slow_worker.run_if_long(running, || may_leave && meter.is_long()))).await
        };
        self.slowness.note(meter.is_long());
        if matches!(returned.1, Err(CallError::Shortage(_))) {
            // The part of it that ran says nothing about what a call takes.
            return returned;
        }
        // Relaxed: numbers that order nothing.
        self.calls.fetch_add(1, Ordering::Relaxed);
        let used = u64::try_from(meter.used().as_nanos()).unwrap_or(u64::MAX);
        self.call_nanos.fetch_add(used, Ordering::Relaxed);
        returned
    }

    async fn run(
        self: Arc<Self>,
        idle: Option<Instance>,
        meter: Arc<Meter>,
        call: Box<Call>,
    ) -> (Box<Call>, Result<PolicyAnswer, CallError>) {
        let mut instance = match idle {
            Some(instance) => instance,
            // The making of an instance is charged to the call that needs it. Boxed: most calls need none.
            None => match Box::pin(self.make(meter)).await {
                Ok(instance) => instance,
                Err(error) => return (call, Err(error)),
            },
        };
        let (call, answer) = instance.call(call).await;
        // After a fault it is dropped, with its store.
        if answer.is_ok() {
            self.give_back(instance);
        }
        (call, answer)
    }

    /// Notes that a call of this policy did not count.
    pub(crate) fn note_fault(&self, workspace: &str, request: Request, fault: &Fault) {
        // Relaxed: a number for people.
        self.faults.fetch_add(1, Ordering::Relaxed);
        // An error means that there was one before.
        let _ = self.first_fault.set(fault.clone());
        warn!(
            policy = self.description.name,
            digest = self.policy.digest(),
            workspace,
            call = ?request,
            fault = fault.0,
            "the policy failed; the host goes on without it"
        );
    }

    /// Drops the instances that wait for calls, and keeps none from now on: the policy is no longer active.
    pub(crate) fn retire(&self) {
        let idle = self.idle().take();
        drop(idle);
    }

    /// Keeps instances again: the policy is active once more.
    pub(crate) fn revive(&self) {
        self.idle().get_or_insert_default();
    }

    /// Returns the processor time of the last call, and the bytes of memory that its instance has. For a
    /// rehearsal, which makes one call at a time: otherwise there is no last call.
    pub(crate) fn last_call(&self) -> Option<(Duration, usize)> {
        let idle = self.idle();
        let instance = idle.as_ref()?.instances.last()?;
        Some((instance.used(), instance.memory_bytes()))
    }

    /// Drops the instances that were not needed since the last call of this function, but for a few.
    pub(crate) fn drop_unneeded(&self) {
        let dropped = self.idle().as_mut().map(Idle::split_unneeded);
        // Outside the lock: that takes system calls.
        drop(dropped);
    }

    fn idle(&self) -> MutexGuard<'_, Option<Idle>> {
        // A panic cannot leave it half-changed: instances are pushed and popped whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an instance that is ready for a call.
    async fn make(&self, meter: Arc<Meter>) -> Result<Instance, CallError> {
        let mut instance = self.instantiate(meter).await?;
        instance.configure(self.policy.settings()).await?;
        Ok(instance)
    }

    async fn instantiate(&self, meter: Arc<Meter>) -> Result<Instance, CallError> {
        let name = &self.description.name;
        Instance::new(self.engine, &self.pre, name, meter, Arc::clone(&self.taken)).await
    }

    fn give_back(&self, instance: Instance) {
        if let Some(idle) = self.idle().as_mut() {
            idle.instances.push(instance);
        }
    }
}

/// Turns an error of a call into the refusal of a policy.
fn refused(error: CallError) -> SwapError {
    match error {
        CallError::Fault(Fault(reason)) => SwapError::new(Stage::Configure, reason),
        CallError::Shortage(Shortage(reason)) => SwapError::new(Stage::Host, reason),
    }
}

impl Idle {
    fn take(&mut self) -> Option<Instance> {
        let instance = self.instances.pop();
        self.unneeded = self.unneeded.min(self.instances.len());
        instance
    }

    fn split_unneeded(&mut self) -> Vec<Instance> {
        let dropped = self.unneeded.min(self.instances.len().saturating_sub(SPARE));
        let kept = self.instances.split_off(dropped);
        self.unneeded = kept.len();
        std::mem::replace(&mut self.instances, kept)
    }
}
