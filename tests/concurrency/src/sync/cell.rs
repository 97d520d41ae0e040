//! A stand-in for `arc_swap::ArcSwap`: one value that is read and replaced in one step.
//!
//! It has the part of the API that `policy/rollout/active.rs` uses. It promises no more than the original: a
//! reader gets what was stored last, or whatever came later.

use std::sync::Mutex;

use super::{Arc, lock, point};

pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        point();
        Arc::clone(&lock(&self.0))
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        point();
        let replaced = std::mem::replace(&mut *lock(&self.0), value);
        // Outside of the lock: the drop of the value may run any code.
        drop(replaced);
    }
}
