//! The beat by which a running policy is measured: one tick of the engine's epoch each millisecond.
//!
//! It runs on a thread of the operating system, because a policy that spins holds up the very worker that a task would
//! need. While no policy runs the thread sleeps, so an idle server is not woken a thousand times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// The unit in which a policy's processor time is counted.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// How many ticks the thread waits for another call before it sleeps: waking it costs as much as a call.
const LINGER_TICKS: u32 = 100;

pub(crate) struct Ticker {
    running: Arc<AtomicUsize>,
    asleep: Arc<AtomicUsize>,
    thread: Thread,
}

/// Keeps the ticker awake while a policy runs.
pub(crate) struct Running<'a>(&'a Ticker);

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let asleep = Arc::new(AtomicUsize::new(0));
        let (calls, sleeping) = (Arc::clone(&running), Arc::clone(&asleep));
        let handle = thread::Builder::new()
            .name("leasehold-ticker".into())
            .spawn(move || tick(&engine, &calls, &sleeping))?;
        Ok(Self { running, asleep, thread: handle.thread().clone() })
    }

    /// To be held while a policy runs.
    pub(crate) fn run(&self) -> Running<'_> {
        // SeqCst on both sides: either this sees that the thread sleeps, or the thread sees that a policy runs.
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) != 0 {
            self.thread.unpark();
        }
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &Engine, running: &AtomicUsize, asleep: &AtomicUsize) {
    let mut idle_ticks = 0;
    loop {
        if running.load(Ordering::SeqCst) != 0 {
            idle_ticks = 0;
        } else if idle_ticks < LINGER_TICKS {
            idle_ticks += 1;
        } else {
            asleep.store(1, Ordering::SeqCst);
            // A call that began since is seen here, and one that begins after this unparks.
            if running.load(Ordering::SeqCst) == 0 {
                thread::park();
            }
            asleep.store(0, Ordering::SeqCst);
            idle_ticks = 0;
        }
        #[expect(clippy::disallowed_methods, reason = "the beat is real time: it measures processor time")]
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}
