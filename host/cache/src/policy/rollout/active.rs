//! The active value and its generation: read by all threads, replaced in one step.
//!
//! A miss takes the policy and its generation together. A hit looks at the generation alone, which is
//! therefore kept once more beside the policy. This file knows nothing of the value that it holds.

use crate::lease::Generation;
use crate::sync::{Arc, ArcSwap, AtomicU64, Ordering};

/// A value with the generation under which it is active.
pub(crate) struct Active<T> {
    pub(crate) generation: Generation,
    pub(crate) activation: T,
}

pub(crate) struct ActiveCell<T> {
    active: ArcSwap<Active<T>>,
    /// Copy of the active generation for the hit path: one load instead of a protected pointer.
    generation: AtomicU64,
}

impl<T> ActiveCell<T> {
    pub(crate) fn new(activation: T) -> Self {
        let generation = Generation::FIRST;
        Self {
            active: ArcSwap::from_pointee(Active { generation, activation }),
            generation: AtomicU64::new(generation.number()),
        }
    }

    /// Returns the active value with its generation.
    pub(crate) fn load(&self) -> Arc<Active<T>> {
        self.active.load_full()
    }

    /// Returns the active generation.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        // Acquire: a thread that sees a generation also sees what was stored before it.
        Generation::new(self.generation.load(Ordering::Acquire))
    }

    /// Makes `activation` active under the next generation. Callers take turns. The value is stored before
    /// its generation, so that no reader finds a generation whose policy is not there yet.
    pub(crate) fn replace(&self, activation: T) -> Generation {
        let generation = self.load().generation.next();
        self.active.store(Arc::new(Active { generation, activation }));
        self.generation.store(generation.number(), Ordering::Release);
        generation
    }
}
