//! The one wasmtime engine of the process: how policies are compiled, linked and limited.
//!
//! Wasmtime's defaults suit trusted programs. Every bound on what a policy can take is set here, in `fuel.rs`, in
//! `instance.rs` or in `imports.rs`, and the linker offers the contract's imports and nothing else.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine};

use super::Policy;
use super::bindings::{CachePolicy, CachePolicyPre};
use super::compile_cache::CompileCache;
use super::compiled::{Compiled, Register};
use super::compiler::Compiler;
use super::describe::printable;
use super::fuel;
use super::imports::HostState;
use super::lane::Lane;
use crate::{Stage, SwapError};

/// What a policy may use of its own stack, and the stack that one call runs on.
const WASM_STACK_BYTES: usize = 256 << 10;
const FIBER_STACK_BYTES: usize = 512 << 10;
/// Address space for one memory: the cap on its size, so that thousands of instances fit the address space.
const MEMORY_RESERVATION_BYTES: u64 = super::instance::MAX_MEMORY_BYTES as u64;

/// Of a trap, for its author. To write them down takes time that no limit covers.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(4).unwrap();

pub(crate) struct PolicyEngine {
    pub(crate) engine: Engine,
    pub(super) lane: Lane,
    pub(super) register: Register,
    compiler: Compiler,
    linker: Linker<HostState>,
}

static ENGINE: OnceLock<PolicyEngine> = OnceLock::new();

/// The engine, if a policy has been loaded in this process.
pub(super) fn made() -> Option<&'static PolicyEngine> {
    ENGINE.get()
}

/// The engine. It is made when the first policy is loaded, and lives as long as the process. What kept it
/// from being made may have passed by the next time.
pub(super) fn engine() -> Result<&'static PolicyEngine, SwapError> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = made() {
        return Ok(made);
    }
    let made = PolicyEngine::new()
        .map_err(|error| SwapError::new(Stage::Host, format!("wasmtime cannot start: {error:#}")))?;
    Ok(ENGINE.get_or_init(|| made))
}

impl PolicyEngine {
    fn new() -> wasmtime::Result<Self> {
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
            .memory_may_move(false)
            .wasm_extended_const(false)
            .wasm_simd(false)
            .wasm_relaxed_simd(false)
            .wasm_memory64(false)
            .wasm_multi_memory(false)
            .wasm_tail_call(false);
        let cache = CompileCache::chosen();
        config.cache(cache.as_ref().map(CompileCache::configured).transpose()?);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        CachePolicy::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state)?;
        let lane = Lane::start().map_err(wasmtime::Error::new)?;
        let compiler = Compiler::start(cache).map_err(wasmtime::Error::new)?;
        Ok(Self { engine, lane, register: Register::default(), compiler, linker })
    }

    /// The policy's component, compiled or on its way to be, and whether this is what has it compiled.
    pub(super) fn compile(&'static self, policy: &Policy) -> Result<(Arc<Compiled>, bool), SwapError> {
        let enqueue = |compiled: &_| self.compiler.enqueue(compiled);
        self.register.join_or_begin(self, policy.digest(), policy.shared_component(), enqueue)
    }

    /// Checks that a component fits the contract, in words before in types.
    pub(crate) fn link(&self, component: &Component) -> Result<CachePolicyPre<HostState>, SwapError> {
        let refuse = |reason: String| SwapError::new(Stage::World, reason);
        let extra = self.extra_imports(component);
        if !extra.is_empty() {
            return Err(refuse(format!(
                "it imports {}, and this host offers leasehold:policy/{{clock, database, entry, log, types}}@0.1.0 only; \
                 a policy gets no files, network, environment or clock of its own",
                printable(&extra.join(", "))
            )));
        }
        let missing = self.missing_exports(component);
        if !missing.is_empty() {
            return Err(refuse(format!(
                "it does not export {}; expected a component of the world leasehold:policy/cache-policy@0.1.0",
                missing.join(", ")
            )));
        }
        let linked = self.linker.instantiate_pre(component).and_then(CachePolicyPre::new);
        linked.map_err(|error| {
            refuse(format!(
                "its types are not those of leasehold:policy@0.1.0: {}",
                printable(&format!("{error:#}"))
            ))
        })
    }

    fn extra_imports(&self, component: &Component) -> Vec<String> {
        let offered = |name: &str| {
            let interface = name.strip_prefix("leasehold:policy/").and_then(|rest| rest.split('@').next());
            matches!(interface, Some("clock" | "database" | "entry" | "log" | "types"))
        };
        let component_type = component.component_type();
        let imports = component_type.imports(&self.engine);
        imports.map(|(name, _)| name).filter(|name| !offered(name)).map(str::to_owned).collect()
    }

    fn missing_exports(&self, component: &Component) -> Vec<&'static str> {
        let component_type = component.component_type();
        let is_exported = |wanted: &str| {
            component_type.exports(&self.engine).any(|(name, item)| {
                name.split('@').next() == Some(wanted)
                    && matches!(item.ty, ComponentItem::ComponentInstance(_))
            })
        };
        ["leasehold:policy/control", "leasehold:policy/policy"]
            .into_iter()
            .filter(|wanted| !is_exported(wanted))
            .collect()
    }
}
