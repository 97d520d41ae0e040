//! The waiters for the answer of a statement, and how they are notified.
//!
//! A caller has a task, and is woken. A load that has not asked the policy yet has no task: with its answer
//! it goes on in a task that it shares with some of the loads that were answered along with it. Most are done
//! within the single poll that they get there; a load that has to wait goes on in a task of its own. Nothing
//! here knows what a load does.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt as _, poll};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::clock::monotonic;
use crate::statements::obtained::Read;

/// Maximum of loads that go on in one task: so many that the task hardly counts, and so few that each thread
/// of a runtime has its share of a statement.
const LOADS_OF_A_TASK: usize = 16;

/// Time after which they let other tasks have the thread: a policy may compute for long.
const TURN: Duration = Duration::from_micros(200);

/// The continuation of a load with its answer.
pub(super) type Load = Box<dyn FnOnce(Read) -> Running + Send>;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) enum BatchWaiter {
    Caller(oneshot::Sender<Read>),
    Load(Load),
}

impl BatchWaiter {
    pub(super) fn load<F>(load: impl FnOnce(Read) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Load(Box::new(move |read| Box::pin(load(read))))
    }

    /// Returns whether no receiver is left for the answer.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Caller(caller) if caller.is_closed())
    }
}

/// Notifies each waiter of its answer.
pub(super) fn notify_all(runtime: &Handle, answers: impl Iterator<Item = (BatchWaiter, Read)>) {
    let mut loads = Vec::new();
    for (waiter, read) in answers {
        match waiter {
            // The caller may be gone.
            BatchWaiter::Caller(caller) => drop(caller.send(read)),
            BatchWaiter::Load(load) => loads.push((load, read)),
        }
        if loads.len() == LOADS_OF_A_TASK {
            runtime.spawn(go_on(runtime.clone(), std::mem::take(&mut loads)));
        }
    }
    if !loads.is_empty() {
        runtime.spawn(go_on(runtime.clone(), loads));
    }
}

async fn go_on(runtime: Handle, loads: Vec<(Load, Read)>) {
    let mut since = monotonic();
    for (load, read) in loads {
        let mut running = load(read);
        let polled = poll!(AssertUnwindSafe(running.as_mut()).catch_unwind());
        // A load that panicked ends here, and its waiters are notified by its being dropped. The others go
        // on.
        if polled.is_pending() {
            runtime.spawn(running);
        }
        if monotonic().saturating_sub(since) > TURN {
            yield_now().await;
            since = monotonic();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::DatabaseError;

    #[tokio::test]
    async fn loads_that_compute_for_long_let_others_have_the_thread_in_between() {
        let done = Arc::new(AtomicUsize::new(0));
        let loads = (0..4).map(|_| {
            let done = Arc::clone(&done);
            let load = BatchWaiter::load(async move |_| {
                let began = monotonic();
                while monotonic() - began <= TURN {}
                done.fetch_add(1, Ordering::SeqCst);
            });
            (load, Err(DatabaseError::Timeout))
        });
        notify_all(&Handle::current(), loads);
        let mut seen = Vec::new();
        while seen.last() < Some(&4) {
            seen.push(done.load(Ordering::SeqCst));
            yield_now().await;
        }
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4], "they keep the thread to themselves");
    }
}
