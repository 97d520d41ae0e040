//! The one thread that compiles: one component after the other, so that no number of swaps takes more than one
//! processor from the callers, and at a lower priority than theirs.
//!
//! It knows nothing of policies. A compiler cannot be stopped: whoever waits gives up after a time, what comes late is
//! dropped, and until then the thread is busy and the next one waits for it within its own time.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::compile_cache::CompileCache;
use super::describe::printable;
use super::priority::{COMPILER, stand_back};
use crate::{Stage, SwapError};

/// Components that may wait. Each cache has one that is being swapped in; more are some that nobody waits for any more.
const MAX_WAITING: usize = 16;
/// The parsers of wasmtime recurse for types within types, as deep as the inspection lets them.
const STACK_BYTES: usize = 16 << 20;

/// The way to the thread.
pub(super) struct Compiler {
    jobs: SyncSender<Job>,
}

/// The bytes of a component, shared with whoever gave it.
pub(super) type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

struct Job {
    component: Bytes,
    tell: SyncSender<Result<Component, SwapError>>,
    /// Dead when nobody waits any more.
    awaited: Weak<()>,
}

impl Compiler {
    pub(super) fn start(engine: Engine, cache: Option<CompileCache>) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        thread::Builder::new()
            .name("leasehold-compiler".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&engine, cache.as_ref(), &waiting))?;
        Ok(Self { jobs })
    }

    /// Compiles a component, and blocks until that is done or `limit` is over, the wait for others included.
    pub(super) fn compile(&self, component: Bytes, limit: Duration) -> Result<Component, SwapError> {
        let refuse = |reason: Cow<'static, str>| Err(SwapError::new(Stage::Compile, reason));
        let (tell, told) = sync_channel(1);
        let awaited = Arc::new(());
        let job = Job { component, tell, awaited: Arc::downgrade(&awaited) };
        if self.jobs.try_send(job).is_err() {
            return refuse("the compiler is busy with earlier components; try again later".into());
        }
        match told.recv_timeout(limit) {
            Ok(compiled) => compiled,
            Err(RecvTimeoutError::Timeout) => refuse(
                format!(
                    "it took longer than {limit:?} to compile, with the wait for others; the compiler cannot be stopped, \
                     and what it still makes is dropped: try again later, or make the policy smaller"
                )
                .into(),
            ),
            Err(RecvTimeoutError::Disconnected) => refuse("the compiler panicked over it, which is an error of the compiler; make the policy simpler".into()),
        }
    }
}

fn run(engine: &Engine, cache: Option<&CompileCache>, jobs: &Receiver<Job>) {
    stand_back(COMPILER);
    for job in jobs {
        if job.awaited.strong_count() == 0 {
            continue;
        }
        // A panic of the compiler is one component's misfortune. Nothing of ours is shared with it but the engine, which
        // wasmtime keeps sound.
        let compiled = catch_unwind(AssertUnwindSafe(|| compile(engine, cache, (*job.component).as_ref())));
        if let Ok(compiled) = compiled {
            // Nobody may wait any more.
            let _ = job.tell.send(compiled);
        }
    }
}

fn compile(engine: &Engine, cache: Option<&CompileCache>, component: &[u8]) -> Result<Component, SwapError> {
    let refuse = |reason: String| SwapError::new(Stage::Compile, reason);
    if let Some(cache) = cache {
        cache.remove_damaged().map_err(|error| {
            refuse(format!("the compile cache has damaged code that cannot be removed: {error}"))
        })?;
    }
    let compiled = Component::from_binary(engine, component)
        .map_err(|error| refuse(format!("not a valid component: {}", printable(&format!("{error:#}")))))?;
    if let Some(cache) = cache {
        cache.seal();
    }
    Ok(compiled)
}
