//! The primitives by which threads and tasks synchronise, named once.
//!
//! The files that take part in a race (from `start.rs` to `flight.rs` and `table.rs`, and
//! `policy/rollout/active.rs`) take what decides it from here, so that the tests can compile the same files
//! with primitives whose interleavings they choose (`tests/concurrency`). Deadlines are among them, and the
//! seed of a hash, since it decides which workspaces share a lock. (One flag is not: whether the task of an
//! issue has begun when its runtime ends.) Only names belong here: no type of our own, no behaviour.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub(crate) use arc_swap::ArcSwap;
pub(crate) use foldhash::fast::RandomState;
pub(crate) use papaya::{Guard, HashMap as ConcurrentMap};
pub(crate) use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, SetOnce, oneshot};
pub(crate) use tokio::time::{Instant as Deadline, timeout_at};
