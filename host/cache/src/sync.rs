//! The primitives by which threads and tasks synchronise, named once.
//!
//! The files that take part in a race (`flight.rs`, `table.rs`, `policy/active.rs`) take them from here and
//! from nowhere else, so that the tests can compile the same files with primitives whose interleavings they
//! choose (`tests/concurrency`); the seed of a hash is among them, since it decides which workspaces share a
//! lock. Only names belong here: no type of our own, no behaviour.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub(crate) use arc_swap::ArcSwap;
pub(crate) use foldhash::fast::RandomState;
pub(crate) use papaya::{Guard, HashMap as ConcurrentMap};
pub(crate) use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, SetOnce};
