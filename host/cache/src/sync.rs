//! The primitives that threads meet at, named once.
//!
//! The files that take part in a race between threads (`flight.rs`, `table.rs`, `policy/active.rs`) take them from here and
//! from nowhere else, so that the tests can compile the same files with primitives whose interleavings they choose
//! (`tests/interleavings`). Only names belong here: no type of our own, no behaviour.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub(crate) use arc_swap::ArcSwap;
pub(crate) use papaya::{Guard, HashMap as ConcurrentMap};
