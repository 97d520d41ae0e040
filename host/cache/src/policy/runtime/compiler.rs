//! The one thread that compiles: one component after another, so that no number of swaps takes more than one
//! processor from the callers, and at a lower priority than theirs.
//!
//! It knows nothing of policies. A compiler cannot be stopped: a caller gives up after a time, a component
//! without a waiter leaves the queue, and a late result is kept for the callers that still want it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;

use wasmtime::component::Component;
use wasmtime::{Cache, Engine};

use super::compile_cache::CompileCache;
use super::compiled::Compiled;
use super::priority::{COMPILER, lower_priority};
use super::shortage::{is_forbidden, is_shortage};
use crate::policy::printable::printable;
use crate::{Stage, SwapError};

/// Maximum number of components in the queue, all different. At 150 ms for each, the last of them waits for
/// 10 s, a third of what a caller does by default.
const MAX_QUEUE: usize = 64;
/// Stack of the thread. The parsers of wasmtime recurse for types within types, as deep as the inspection
/// lets them.
const STACK_BYTES: usize = 16 << 20;

/// Handle of the compiler's thread.
pub(super) struct Compiler {
    queue: Arc<CompileQueue>,
    cache: Option<Cache>,
}

#[derive(Default)]
struct CompileQueue {
    /// The components in the queue; a pointer is dead once no caller waits.
    waiting: Mutex<VecDeque<Weak<Compiled>>>,
    added: Condvar,
}

impl Compiler {
    pub(super) fn start(cache: Option<CompileCache>) -> wasmtime::Result<Self> {
        let kept = cache.as_ref().map(CompileCache::configured).transpose()?;
        let queue = Arc::<CompileQueue>::default();
        let jobs = Arc::clone(&queue);
        thread::Builder::new()
            .name("leasehold-compiler".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&jobs, cache.as_ref()))?;
        Ok(Self { queue, cache: kept })
    }

    /// Returns wasmtime's cache of compiled code, if there is one.
    pub(super) fn cache(&self) -> Option<Cache> {
        self.cache.clone()
    }

    /// Adds a component to the end of the queue.
    pub(super) fn enqueue(&self, compiled: &Arc<Compiled>) -> Result<(), SwapError> {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|job| job.strong_count() > 0);
        if waiting.len() >= MAX_QUEUE {
            let reason = format!(
                "{MAX_QUEUE} other components wait for the compiler, which takes one at a time; try again \
                 later"
            );
            return Err(SwapError::new(Stage::Compile, reason));
        }
        waiting.push_back(Arc::downgrade(compiled));
        self.queue.added.notify_one();
        Ok(())
    }
}

impl CompileQueue {
    /// Waits for the next component that a caller waits for.
    fn next(&self) -> Arc<Compiled> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match waiting.pop_front() {
                Some(job) => {
                    if let Some(compiled) = job.upgrade() {
                        return compiled;
                    }
                }
                None => waiting = self.added.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn run(queue: &CompileQueue, cache: Option<&CompileCache>) {
    lower_priority(COMPILER);
    loop {
        let compiled = queue.next();
        let Some(source) = compiled.take_source() else { continue };
        // A panic of the compiler concerns one component. Nothing of ours is shared with it but the engine,
        // which wasmtime keeps sound.
        let engine = compiled.engine();
        let outcome = catch_unwind(AssertUnwindSafe(|| compile(engine, cache, (*source).as_ref())));
        compiled.complete(outcome.unwrap_or_else(|_| {
            let reason =
                "the compiler panicked over it, which is an error of the compiler; make the policy simpler";
            Err(SwapError::new(Stage::Compile, reason))
        }));
    }
}

fn compile(engine: &Engine, cache: Option<&CompileCache>, component: &[u8]) -> Result<Component, SwapError> {
    let refuse = |reason: String| SwapError::new(Stage::Compile, reason);
    if let Some(cache) = cache {
        cache.remove_damaged().map_err(|error| {
            refuse(format!("the compile cache has damaged code that cannot be removed: {error}"))
        })?;
    }
    let compiled = Component::from_binary(engine, component).map_err(|error| {
        let said = printable(&format!("{error:#}"));
        if is_forbidden(&error) {
            let advice = "this system forbids executable memory: choose the interpreter, or leave the choice \
                          to the host";
            return SwapError::new(Stage::Host, format!("{said}; {advice}"));
        }
        if is_shortage(&error) {
            let reason = format!("the machine lacks what it takes to compile it: {said}");
            return SwapError::new(Stage::Host, reason);
        }
        refuse(format!("not a valid component: {said}"))
    })?;
    if let Some(cache) = cache {
        cache.seal();
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::runtime::engine::engine;

    #[test]
    fn what_nobody_waits_for_any_more_leaves_the_queue_and_a_full_one_says_so() {
        let compiler = Compiler { queue: Arc::default(), cache: None };
        let begin = |number: usize| {
            let (engine, digest) = (engine(None)?, format!("of the queue's test: {number}"));
            let enqueue = |compiled: &_| compiler.enqueue(compiled);
            engine.register.join_or_begin(&digest, Arc::new(b"".as_slice()), enqueue)
        };
        let mut waiting: Vec<_> = (0..MAX_QUEUE).map(|number| begin(number).unwrap().0).collect();
        let full = begin(MAX_QUEUE).map(drop).unwrap_err();
        assert_eq!((full.stage, full.reason.contains("64 other components wait")), (Stage::Compile, true));
        // Components that are there already may be joined.
        assert!(!begin(7).unwrap().1);
        let (first, last) = (waiting.remove(0), waiting.pop().unwrap());
        drop((first, waiting));
        let (late, _) = begin(MAX_QUEUE).unwrap();
        assert!(Arc::ptr_eq(&compiler.queue.next(), &last));
        assert!(Arc::ptr_eq(&compiler.queue.next(), &late));
    }
}
