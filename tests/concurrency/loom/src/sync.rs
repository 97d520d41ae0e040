//! The product's `sync`, as far as the active cell needs it, with loom's atomics.
//!
//! The stand-in for `arc_swap::ArcSwap` promises what the original does and no more: a load acquires what the
//! store that it sees has released. A lock of loom's would promise more, and hide the bugs that are looked
//! for.

use std::sync::{Mutex, PoisonError};

use loom::sync::atomic::AtomicUsize;

pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::Arc;

pub(crate) struct ArcSwap<T> {
    /// The index of the current value.
    current: AtomicUsize,
    /// Every value there ever was. The lock is of std, which orders nothing in loom's eyes.
    values: Mutex<Vec<Arc<T>>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self { current: AtomicUsize::new(0), values: Mutex::new(vec![Arc::new(value)]) }
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        let current = self.current.load(Ordering::Acquire);
        Arc::clone(&self.values.lock().unwrap_or_else(PoisonError::into_inner)[current])
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let index = {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.push(value);
            values.len() - 1
        };
        self.current.swap(index, Ordering::AcqRel);
    }
}
