//! A loaded policy: checked, configured, and ready to be called by many tasks at once.
//!
//! An instance runs one call at a time and is used again only after a call without any fault: a trap leaves its store
//! dead, and a handle that was kept could otherwise turn up in a call about another workspace.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::warn;
use wasmtime::component::{Component, Resource, ResourceTable};
use wasmtime::{Store, StoreLimitsBuilder, UpdateDeadline, format_err};

use super::Policy;
use super::bindings::exports::leasehold::policy::control::Description;
use super::bindings::leasehold::policy::types;
use super::bindings::{CachePolicy, CachePolicyPre};
use super::call::{Answer, Call, Fault, Handle, Request};
use super::card::PolicyCard;
use super::engine::{PolicyEngine, engine};
use super::imports::HostState;
use super::lane::Slowness;
use super::limits::Limits;
use super::meter::{Meter, Verdict};
use crate::{Stage, Standing, SwapError};

/// The largest linear memory of an instance. The shipped policies use a little more than 1 MiB. One instruction can fill it
/// all, and no tick interrupts that: fresh memory takes half a millisecond for each MiB, so this is part of the limit on
/// a call's processor time.
pub(crate) const MAX_MEMORY_BYTES: usize = 4 << 20;
/// The bytes that one import or export may carry.
const MAX_TRANSFER_BYTES: usize = 64 << 10;
/// The handles that one call may hold.
const MAX_HANDLES: usize = 256;
/// Instances kept for the next call. More than this many calls at once are rare, and an instance costs 25 µs to make.
const MAX_IDLE: usize = 16;
/// Bounds on what a policy says of itself.
const MAX_SETTINGS: usize = 32;
const MAX_WORD_BYTES: usize = 64;
const MAX_SENTENCE_BYTES: usize = 512;

/// How calls are run.
#[derive(Clone, Copy)]
pub(crate) struct CallTerms {
    /// The processor time of one call.
    pub(crate) cpu_limit: Duration,
    /// Whether long ones leave their caller's runtime.
    pub(crate) may_leave: bool,
}

/// A policy that can be called.
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) description: Description,
    pub(crate) component: Component,
    pub(crate) faults: AtomicU64,
    /// Whether it has come through its probation, or was never on one.
    proven: AtomicBool,
    pub(crate) calls: AtomicU64,
    /// The processor time of all calls, in nanoseconds.
    pub(crate) call_nanos: AtomicU64,
    /// What was wrong with the first call that did not count.
    pub(super) first_fault: OnceLock<Fault>,
    /// What a rehearsal has found, if there was one.
    pub(super) card: OnceLock<PolicyCard>,
    engine: &'static PolicyEngine,
    pre: CachePolicyPre<HostState>,
    terms: CallTerms,
    slowness: Slowness,
    /// None while the policy is not active: then no instance is kept.
    idle: Mutex<Option<Vec<Instance>>>,
}

struct Instance {
    store: Store<HostState>,
    exports: CachePolicy,
    meter: Arc<Meter>,
}

impl Loaded {
    /// Links and configures a compiled policy, and keeps the instance that this took.
    pub(crate) async fn new(
        policy: Policy,
        component: Component,
        terms: CallTerms,
    ) -> Result<Self, SwapError> {
        let engine = engine()?;
        let meter = Arc::new(Meter::new(terms.cpu_limit));
        let loading = Self::load(engine, policy, component, terms, Arc::clone(&meter));
        engine.lane.run_if_long(loading, || terms.may_leave && meter.is_long()).await
    }

    async fn load(
        engine: &'static PolicyEngine,
        policy: Policy,
        component: Component,
        terms: CallTerms,
        meter: Arc<Meter>,
    ) -> Result<Self, SwapError> {
        let pre = engine.link(&component)?;
        let description = Description {
            name: String::new(),
            version: String::new(),
            summary: String::new(),
            settings: Vec::new(),
        };
        let mut loaded = Self {
            policy,
            description,
            component,
            faults: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            call_nanos: AtomicU64::new(0),
            first_fault: OnceLock::new(),
            card: OnceLock::new(),
            engine,
            pre,
            terms,
            slowness: Slowness::default(),
            idle: Mutex::new(Some(Vec::new())),
        };
        let refuse = |reason: String| SwapError::new(Stage::Configure, reason);
        let _running = loaded.engine.ticker.run();
        let mut instance = loaded.instantiate(meter).await.map_err(|fault| refuse(fault.0))?;
        loaded.description = loaded.describe(&mut instance).await.map_err(|fault| refuse(fault.0))?;
        check_description(&loaded.description).map_err(refuse)?;
        check_names(&loaded.policy, &loaded.description).map_err(refuse)?;
        instance.store.data_mut().name.clone_from(&loaded.description.name);
        loaded.configure(&mut instance).await.map_err(|fault| refuse(fault.0))?;
        loaded.give_back(instance);
        Ok(loaded)
    }

    /// Whether it has come through its probation, or was never on one.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::SeqCst)
    }

    pub(super) fn set_proven(&self, proven: bool) {
        self.proven.store(proven, Ordering::SeqCst);
    }

    /// The policy, and what it is worth.
    pub(super) fn standing(&self) -> Standing {
        Standing { policy: self.policy.clone(), proven: self.is_proven() }
    }

    /// How its calls are run.
    pub(super) fn terms(&self) -> CallTerms {
        self.terms
    }

    /// `name version`, as the policy says of itself.
    pub(super) fn full_name(&self) -> String {
        format!("{} {}", self.description.name, self.description.version)
    }

    /// Every setting with the value in force.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let given = |name: &str| {
            self.policy.settings().iter().find(|(given, _)| given == name).map(|(_, value)| value)
        };
        let declared = self.description.settings.iter();
        declared.map(|s| (s.name.clone(), given(&s.name).unwrap_or(&s.default).clone())).collect()
    }

    /// Calls the policy. The record of the call comes back whatever happened to it.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> (Call, Result<Answer, Fault>) {
        let idle = self.idle().as_mut().and_then(Vec::pop);
        let meter = match &idle {
            Some(instance) => Arc::clone(&instance.meter),
            None => Arc::new(Meter::new(self.terms.cpu_limit)),
        };
        meter.reset();
        let metered = Arc::clone(&meter);
        let running = Arc::clone(self).run(idle, metered, call);
        let lane = &self.engine.lane;
        let may_leave = self.terms.may_leave;
        let returned = if may_leave && self.slowness.is_slow() {
            lane.run(running).await
        } else {
            lane.run_if_long(running, || may_leave && meter.is_long()).await
        };
        self.slowness.note(meter.is_long());
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
        call: Call,
    ) -> (Call, Result<Answer, Fault>) {
        let _running = self.engine.ticker.run();
        let mut instance = match idle {
            Some(instance) => instance,
            // Making one is charged to the call that needs it.
            None => match self.make(meter).await {
                Ok(instance) => instance,
                Err(fault) => return (call, Err(fault)),
            },
        };
        let (workspace, request) = (call.workspace.clone(), call.request);
        instance.begin(Some(call));
        let returned = instance.run(workspace.as_str(), request).await;
        let state = instance.store.data_mut();
        #[expect(clippy::unreachable, reason = "the call was put there above, and nothing else takes it")]
        let Some(call) = state.call.take() else { unreachable!() };
        let answer = returned.and_then(|answer| state.take_answer(answer));
        match answer {
            Ok(answer) => {
                self.give_back(instance);
                (call, Ok(answer))
            }
            // The store is dropped with the instance.
            Err(fault) => (call, Err(fault)),
        }
    }

    /// Notes that a call of this policy did not count.
    pub(crate) fn note_fault(&self, workspace: &str, request: Request, fault: &Fault) {
        // Relaxed: a number for people.
        self.faults.fetch_add(1, Ordering::Relaxed);
        // An error says that there was one before.
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

    /// The processor time of the last call, and the bytes of memory that its instance has. For a rehearsal, which makes
    /// one call at a time: otherwise there is no last one.
    pub(super) fn last_call(&self) -> Option<(Duration, usize)> {
        let idle = self.idle();
        let instance = idle.as_ref()?.last()?;
        Some((instance.meter.used(), instance.store.data().limits.memory_bytes()))
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Instance>>> {
        // A panic cannot leave it half-changed: instances are pushed and popped whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new instance that is ready for a call.
    async fn make(&self, meter: Arc<Meter>) -> Result<Instance, Fault> {
        let mut instance = self.instantiate(meter).await?;
        self.configure(&mut instance).await?;
        Ok(instance)
    }

    fn give_back(&self, instance: Instance) {
        if let Some(idle) = self.idle().as_mut()
            && idle.len() < MAX_IDLE
        {
            idle.push(instance);
        }
    }

    async fn instantiate(&self, meter: Arc<Meter>) -> Result<Instance, Fault> {
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
            name: self.description.name.clone(),
            limits: Limits::new(limits),
            handles,
            meter: Arc::clone(&meter),
            log_lines: 0,
            call: None,
        };
        let mut store = Store::new(&self.engine.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(MAX_TRANSFER_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|context| match context.data().meter.tick() {
            Verdict::GoesOn => Ok(UpdateDeadline::Continue(1)),
            // Not wasmtime's own yield: tokio would come back here first.
            Verdict::Yields => Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))),
            Verdict::Ends => Err(format_err!("it ran for longer than its limit of processor time")),
        });
        // Before instantiation: a start function is under the limit as well.
        store.set_epoch_deadline(1);
        let instantiated = meter.run(self.pre.instantiate_async(&mut store)).await;
        let exports = instantiated.map_err(|error| trap("instantiate", &error))?;
        Ok(Instance { store, exports, meter })
    }

    async fn describe(&self, instance: &mut Instance) -> Result<Description, Fault> {
        instance.meter.reset();
        instance.begin(None);
        let control = instance.exports.leasehold_policy_control();
        let described = instance.meter.run(control.call_describe(&mut instance.store)).await;
        described.map_err(|error| trap("describe", &error))
    }

    async fn configure(&self, instance: &mut Instance) -> Result<(), Fault> {
        instance.begin(None);
        let control = instance.exports.leasehold_policy_control();
        let configure = control.call_configure(&mut instance.store, self.policy.settings());
        let configured = instance.meter.run(configure).await;
        configured.map_err(|error| trap("configure", &error))?.map_err(|reason| Fault(printable(&reason)))
    }
}

impl Instance {
    /// Gives the instance what it needs for one entry into the policy.
    fn begin(&mut self, call: Option<Call>) {
        let state = self.store.data_mut();
        state.log_lines = 0;
        state.call = call;
        self.store.set_epoch_deadline(1);
    }

    async fn run(&mut self, workspace: &str, request: Request) -> Result<RawAnswer, Fault> {
        let policy = self.exports.leasehold_policy_policy();
        match request {
            Request::Read => {
                let answer = self.meter.run(policy.call_read(&mut self.store, workspace)).await;
                answer.map_err(|error| trap("read", &error))
            }
            Request::Issue(mode) => {
                let issue = policy.call_issue(&mut self.store, workspace, mode.into());
                let answer = self.meter.run(issue).await;
                answer.map(|answer| answer.map(Some)).map_err(|error| trap("issue", &error))
            }
        }
    }
}

type RawAnswer = Result<Option<Resource<Handle>>, types::DatabaseError>;

impl HostState {
    /// Takes the answer out of the table of handles, which must be empty then.
    fn take_answer(&mut self, answer: RawAnswer) -> Result<Answer, Fault> {
        let answer = match answer {
            Ok(Some(handle)) => {
                let handle =
                    self.handles.delete(handle).map_err(|error| Fault(format!("a bad handle: {error}")))?;
                Answer::Secret(handle)
            }
            Ok(None) => Answer::Absent,
            Err(_) => Answer::Error,
        };
        if self.handles.is_empty() {
            Ok(answer)
        } else {
            Err(Fault("it kept handles beyond the end of the call".into()))
        }
    }
}

fn trap(function: &str, error: &wasmtime::Error) -> Fault {
    // The cause first: the backtrace of a deep recursion is longer than what an operator is shown.
    Fault(format!("{function} failed: {}", printable(&format!("{}: {error:#}", error.root_cause()))))
}

/// Text of a policy's making, for an operator's eyes: bounded, on one line.
pub(super) fn printable(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(MAX_SENTENCE_BYTES)).unwrap_or_default();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn check_description(description: &Description) -> Result<(), String> {
    let word = |what: &str, text: &str| {
        let good = !text.is_empty() && text.len() <= MAX_WORD_BYTES && !text.chars().any(char::is_control);
        if good {
            Ok(())
        } else {
            Err(format!("describe: {what} must have 1 to {MAX_WORD_BYTES} printable bytes"))
        }
    };
    let sentence = |what: &str, text: &str| {
        let good = text.len() <= MAX_SENTENCE_BYTES && !text.chars().any(char::is_control);
        if good {
            Ok(())
        } else {
            Err(format!("describe: {what} must have {MAX_SENTENCE_BYTES} printable bytes at most"))
        }
    };
    word("name", &description.name)?;
    word("version", &description.version)?;
    sentence("summary", &description.summary)?;
    if description.settings.len() > MAX_SETTINGS {
        return Err(format!("describe: more than {MAX_SETTINGS} settings"));
    }
    for (index, setting) in description.settings.iter().enumerate() {
        word("the name of a setting", &setting.name)?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !setting.name.chars().all(good) {
            return Err(format!("describe: the setting {:?} needs a name of a-z, 0-9 and '-'", setting.name));
        }
        if description.settings.iter().take(index).any(|earlier| earlier.name == setting.name) {
            return Err(format!("describe: the setting {:?} is listed twice", setting.name));
        }
        sentence("the default of a setting", &setting.default)?;
        sentence("the doc of a setting", &setting.doc)?;
    }
    Ok(())
}

fn check_names(policy: &Policy, description: &Description) -> Result<(), String> {
    let known: Vec<&str> = description.settings.iter().map(|setting| setting.name.as_str()).collect();
    let unknown = policy.settings().iter().find(|(name, _)| !known.contains(&name.as_str()));
    match unknown {
        Some((name, _)) if known.is_empty() => {
            Err(format!("unknown setting {name:?}; this policy has no settings"))
        }
        Some((name, _)) => {
            Err(format!("unknown setting {name:?}; the settings of this policy: {}", known.join(", ")))
        }
        None => Ok(()),
    }
}
