//! The compiled components of the process: each is compiled once, and shared by all caches for as long as one
//! of them holds it.
//!
//! The register holds them weakly, by their digest. A component that is still to be compiled is held only by
//! the callers that wait for it, so that nothing is compiled without a waiter. This file knows nothing of
//! settings: a policy with other settings is the same component.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::execution::Execution;
use crate::lease::Ceilings;
use crate::policy::card::PolicyCard;
use crate::{Stage, SwapError, blocking};

/// Maximum number of rehearsals of one component that are remembered: more than a process has settings for
/// it.
const MAX_REHEARSALS: usize = 16;

/// The bytes of a component, shared with its policy.
pub(in crate::policy) type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A component that is compiled, or is going to be.
pub(in crate::policy) struct Compiled {
    register: &'static Register,
    digest: String,
    /// The bytes, until the compiler takes them.
    source: Mutex<Option<Bytes>>,
    outcome: OnceLock<Result<Component, SwapError>>,
    /// Channels of the callers that wait for the outcome.
    waiters: Mutex<Vec<SyncSender<()>>>,
    /// Remembered rehearsals, the latest last.
    rehearsals: Mutex<Vec<(Rehearsed, PolicyCard)>>,
}

/// Inputs of a rehearsal beside the component.
#[derive(Clone, PartialEq)]
pub(in crate::policy) struct Rehearsed {
    pub(in crate::policy) settings: Vec<(String, String)>,
    pub(in crate::policy) ceilings: Ceilings,
    pub(in crate::policy) cpu_limit: Duration,
}

/// The components of one engine, by their SHA-256.
pub(in crate::policy) struct Register {
    engine: Engine,
    execution: Execution,
    shared: Mutex<HashMap<String, Weak<Compiled>>>,
    /// The components that came with this binary. They stay once they are compiled: every cache falls back on
    /// one of them, and programs build caches one after the other.
    bundled: Mutex<HashMap<String, Arc<Compiled>>>,
}

impl Compiled {
    fn new(register: &'static Register, digest: &str, source: Bytes) -> Self {
        Self {
            register,
            digest: digest.to_owned(),
            source: Mutex::new(Some(source)),
            outcome: OnceLock::new(),
            waiters: Mutex::default(),
            rehearsals: Mutex::default(),
        }
    }

    /// Returns the way it is run.
    pub(in crate::policy) fn execution(&self) -> Execution {
        self.register.execution
    }

    /// Returns the engine that it is compiled for.
    pub(super) fn engine(&self) -> &Engine {
        &self.register.engine
    }

    /// Returns the compiled component, once it is there.
    pub(super) fn component(&self) -> Option<&Component> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().ok())
    }

    /// Takes the bytes, for the compiler.
    pub(super) fn take_source(&self) -> Option<Bytes> {
        lock(&self.source).take()
    }

    /// Records the outcome, compiled or refused, and notifies all waiters.
    pub(super) fn complete(&self, outcome: Result<Component, SwapError>) {
        if outcome.is_err() {
            // A later caller tries anew: the fault may have been the machine's.
            self.register.forget(&self.digest);
        }
        // This happens once, because the source is taken once.
        let _ = self.outcome.set(outcome);
        let waiters = std::mem::take(&mut *lock(&self.waiters));
        for waiter in waiters {
            // The waiter may have given up.
            let _ = waiter.try_send(());
        }
    }

    /// Waits until the component is compiled, for `limit` at most. A caller that is dropped leaves no trace
    /// of its wait.
    pub(in crate::policy) async fn wait(self: Arc<Self>, limit: Duration) -> Result<Arc<Self>, SwapError> {
        let refuse = |reason: String| Err(SwapError::new(Stage::Compile, reason));
        let waited = match self.notified() {
            None => Ok(()),
            // On a thread that may block: a clock that a test has stopped would let the limit pass at once.
            // The closure holds nothing of the component: once the last waiter is gone, the component leaves
            // the compiler's queue too.
            Some(rx) => blocking::run(move || rx.recv_timeout(limit))
                .await
                .map_err(|reason| SwapError::new(Stage::Host, reason))?,
        };
        match waited {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                return refuse(format!(
                    "it took longer than {limit:?} to compile, with the wait for others; the compiler cannot \
                     be stopped, and what it still makes is dropped: try again later, or make the policy \
                     smaller"
                ));
            }
            Err(RecvTimeoutError::Disconnected) => return refuse("the compiler ended early".into()),
        }
        match self.outcome.get() {
            Some(Ok(_)) => Ok(self),
            Some(Err(error)) => Err(error.clone()),
            None => refuse("the compiler ended early".into()),
        }
    }

    /// Returns a channel that is notified of the outcome; `None` if the outcome is there.
    fn notified(&self) -> Option<Receiver<()>> {
        let mut waiters = lock(&self.waiters);
        if self.outcome.get().is_some() {
            return None;
        }
        let (tx, rx) = sync_channel(1);
        waiters.push(tx);
        Some(rx)
    }

    /// Returns the findings of an equal rehearsal, if there was one: a rehearsal follows a fixed scenario, so
    /// that another one would find the same.
    pub(in crate::policy) fn rehearsal(&self, rehearsed: &Rehearsed) -> Option<PolicyCard> {
        let rehearsals = lock(&self.rehearsals);
        rehearsals.iter().find(|(known, _)| known == rehearsed).map(|(_, card)| card.clone())
    }

    pub(in crate::policy) fn remember_rehearsal(&self, rehearsed: Rehearsed, card: PolicyCard) {
        let mut rehearsals = lock(&self.rehearsals);
        if rehearsals.len() == MAX_REHEARSALS {
            rehearsals.remove(0);
        }
        rehearsals.push((rehearsed, card));
    }
}

impl Register {
    pub(super) fn new(engine: Engine, execution: Execution) -> Self {
        Self { engine, execution, shared: Mutex::default(), bundled: Mutex::default() }
    }

    /// Returns the component with this digest, if a caller holds it or waits for it.
    pub(in crate::policy) fn shared(&self, digest: &str) -> Option<Arc<Compiled>> {
        lock(&self.shared).get(digest).and_then(Weak::upgrade)
    }

    /// Returns the component with this digest, and whether it is new here: then it has been given to
    /// `enqueue`, under the lock, so that no two callers compile the same.
    pub(super) fn join_or_begin(
        &'static self,
        digest: &str,
        source: Bytes,
        enqueue: impl FnOnce(&Arc<Compiled>) -> Result<(), SwapError>,
    ) -> Result<(Arc<Compiled>, bool), SwapError> {
        let mut shared = lock(&self.shared);
        if let Some(compiled) = shared.get(digest).and_then(Weak::upgrade) {
            return Ok((compiled, false));
        }
        let compiled = Arc::new(Compiled::new(self, digest, source));
        enqueue(&compiled)?;
        // The map never holds more than the live ones and one more.
        shared.retain(|_, known| known.strong_count() > 0);
        shared.insert(digest.to_owned(), Arc::downgrade(&compiled));
        Ok((compiled, true))
    }

    /// Keeps a component for as long as the process lives.
    pub(in crate::policy) fn keep(compiled: &Arc<Compiled>) {
        lock(&compiled.register.bundled)
            .entry(compiled.digest.clone())
            .or_insert_with(|| Arc::clone(compiled));
    }

    fn forget(&self, digest: &str) {
        lock(&self.shared).remove(digest);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that may panic is done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
