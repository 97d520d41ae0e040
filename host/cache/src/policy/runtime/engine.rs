//! The wasmtime engines of the process, one for each way of running policies: how they are compiled, linked
//! and limited.
//!
//! Wasmtime's defaults suit trusted programs. Every bound on what a policy can take is set here, in
//! `call.rs`, `fuel.rs`, `imports.rs`, `instance.rs` or `limits.rs`, and the linker offers the contract's
//! imports and nothing else.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine};

use super::bindings::v0_1::{CachePolicy, CachePolicyPre};
use super::compile_cache::CompileCache;
use super::compiled::{Bytes, Compiled, Register};
use super::compiler::Compiler;
use super::contract::Contract;
use super::execution::{Each, Execution, allowed};
use super::fuel;
use super::imports::HostState;
use super::slow_worker::SlowWorker;
use crate::policy::printable::printable;
use crate::{Stage, SwapError};

/// Maximum stack of a policy's own code, and the size of the stack that one call runs on.
const WASM_STACK_BYTES: usize = 256 << 10;
const FIBER_STACK_BYTES: usize = 512 << 10;
/// Address space for one memory: the cap on its size, so that thousands of instances fit the address space.
const MEMORY_RESERVATION_BYTES: u64 = super::limits::MAX_MEMORY_BYTES as u64;
/// Address space behind a memory. By default there are 32 MiB on either side, so that a few hundred instances
/// fill a process whose address space is limited; their use, checks that are left out, needs a reservation of
/// 4 GiB besides.
const MEMORY_GUARD_BYTES: u64 = 64 << 10;

/// Maximum frames in the backtrace of a trap, for the policy's author. To write them down takes time that no
/// limit covers.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(4).unwrap();

pub(crate) struct PolicyEngine {
    pub(super) engine: Engine,
    pub(in crate::policy) execution: Execution,
    pub(super) slow_worker: &'static SlowWorker,
    pub(in crate::policy) register: Register,
    compiler: &'static Compiler,
    linker: Linker<HostState>,
}

static ENGINES: Each<OnceLock<PolicyEngine>> = Each { native: OnceLock::new(), interpreter: OnceLock::new() };
/// Execution that the system allows, once that was found out.
static ALLOWED: OnceLock<Execution> = OnceLock::new();

/// Returns the engine for this way of running policies, or for the way that the system allows, if there is
/// one yet.
pub(in crate::policy) fn made(execution: Option<Execution>) -> Option<&'static PolicyEngine> {
    ENGINES.of(execution.or_else(|| ALLOWED.get().copied())?).get()
}

/// Returns the same engine, and makes it if there is none yet; it lives as long as the process. A cause that
/// kept it from being made may have passed by the next time.
pub(in crate::policy) fn engine(execution: Option<Execution>) -> Result<&'static PolicyEngine, SwapError> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = made(execution) {
        return Ok(made);
    }
    let execution = match (execution, ALLOWED.get()) {
        (Some(execution), _) | (None, Some(&execution)) => execution,
        (None, None) => {
            let allowed = allowed()?;
            *ALLOWED.get_or_init(|| allowed)
        }
    };
    let made = PolicyEngine::new(execution)
        .map_err(|error| SwapError::new(Stage::Host, format!("wasmtime cannot start: {error:#}")))?;
    Ok(ENGINES.of(execution).get_or_init(|| made))
}

/// Returns a thread of the process, started once whatever the number of engines.
fn started<T>(
    cell: &'static OnceLock<T>,
    start: impl FnOnce() -> wasmtime::Result<T>,
) -> wasmtime::Result<&'static T> {
    if let Some(started) = cell.get() {
        return Ok(started);
    }
    let fresh = start()?;
    // Engines are made one at a time.
    Ok(cell.get_or_init(|| fresh))
}

impl PolicyEngine {
    fn new(execution: Execution) -> wasmtime::Result<Self> {
        static SLOW_WORKER: OnceLock<SlowWorker> = OnceLock::new();
        static COMPILER: OnceLock<Compiler> = OnceLock::new();
        let compiler = started(&COMPILER, || Compiler::start(CompileCache::chosen()))?;
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .consume_fuel(true)
            .operator_cost(fuel::costs())
            .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
            .max_wasm_stack(WASM_STACK_BYTES)
            .async_stack_size(FIBER_STACK_BYTES)
            .memory_reservation(MEMORY_RESERVATION_BYTES)
            .memory_reservation_for_growth(0)
            .memory_guard_size(MEMORY_GUARD_BYTES)
            .guard_before_linear_memory(false)
            .memory_may_move(false)
            .wasm_extended_const(false)
            .wasm_simd(false)
            .wasm_relaxed_simd(false)
            .wasm_memory64(false)
            .wasm_multi_memory(false)
            .wasm_tail_call(false)
            .cache(compiler.cache());
        execution.set(&mut config)?;
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        CachePolicy::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state)?;
        let slow_worker = started(&SLOW_WORKER, || Ok(SlowWorker::start()?))?;
        let register = Register::new(engine.clone(), execution);
        Ok(Self { engine, execution, slow_worker, register, compiler, linker })
    }

    /// Returns the component, compiled or queued for the compiler, and whether this call has queued it.
    pub(in crate::policy) fn compile(
        &'static self,
        digest: &str,
        component: Bytes,
    ) -> Result<(Arc<Compiled>, bool), SwapError> {
        self.register.join_or_begin(digest, component, |compiled| self.compiler.enqueue(compiled))
    }

    /// Checks that a component fits the contract: first the names of its imports and exports, then their
    /// types.
    pub(crate) fn link(&self, component: &Component) -> Result<CachePolicyPre<HostState>, SwapError> {
        let refuse = |reason: String| SwapError::new(Stage::World, reason);
        let component_type = component.component_type();
        let imports: Vec<_> = component_type.imports(&self.engine).map(|(name, _)| name).collect();
        let exports: Vec<_> = component_type.exports(&self.engine).collect();
        let names = imports.iter().copied().chain(exports.iter().map(|(name, _)| *name));
        let contract = Contract::of(names).map_err(|reason| refuse(printable(&reason)))?;
        let extra: Vec<_> = imports.into_iter().filter(|name| !contract.offers(name)).collect();
        if !extra.is_empty() {
            return Err(refuse(format!(
                "it imports {}, and this host offers {} only; a policy gets no files, network, environment \
                 or clock of its own",
                printable(&extra.join(", ")),
                contract.offered()
            )));
        }
        let missing = contract.missing_exports(|wanted| {
            exports.iter().any(|(name, item)| {
                name.split('@').next() == Some(wanted)
                    && matches!(item.ty, ComponentItem::ComponentInstance(_))
            })
        });
        if !missing.is_empty() {
            return Err(refuse(format!(
                "it does not export {}; expected a component of the world {}",
                missing.join(", "),
                contract.world()
            )));
        }
        let linked = self.linker.instantiate_pre(component).and_then(CachePolicyPre::new);
        linked.map_err(|error| {
            refuse(format!(
                "its types are not those of {}: {}",
                contract.package,
                printable(&format!("{error:#}"))
            ))
        })
    }
}
