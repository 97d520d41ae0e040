//! The product's `sync`, with primitives whose interleavings the tests choose.
//!
//! The names and meanings are the same; each operation that another task could notice is a scheduling point.
//! What shuttle has is taken from shuttle. The rest are stand-ins: a map and a cell, each behind a lock of
//! std that is held across no scheduling point, so that each operation is one step; and what tokio has.
//! Nothing here knows what it is used for.
//!
//! Shuttle runs every atomic operation as if it were SeqCst. `loom/` explores what weaker orderings allow.

mod cell;
mod map;
mod seen;
mod time;
mod waiting;

pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub(crate) use cell::ArcSwap;
// The seed is the same in every run: a schedule could not be replayed otherwise.
pub(crate) use foldhash::fast::FixedState as RandomState;
pub(crate) use map::{ConcurrentMap, Guard};
pub(crate) use time::{Deadline, pause, timeout_at};
pub(crate) use waiting::{AsyncMutex, OwnedMutexGuard, SetOnce, oneshot, watch};

/// Lets the scheduler choose the task that goes on. It is not a yield, from which the scheduler would
/// conclude that this task has nothing to do.
pub(crate) fn point() {
    // A task that unwinds is about to end the run; it must not be switched away from.
    if !std::thread::panicking() {
        // Shuttle has no call for this alone, and an operation on an atomic is just that.
        shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// Locks a mutex inside a stand-in. Such locks are never contended, and what they hold is whole at every
/// step.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
