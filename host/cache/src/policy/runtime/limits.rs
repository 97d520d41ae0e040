//! The limits of one instance in memory, tables and instances, and the memory that it has taken.
//!
//! Wasmtime itself keeps the bounds of one instance. This file counts what wasmtime does not know: how far
//! the memory has grown, and how much all instances of a policy take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::{ResourceLimiter, Result, StoreLimits};

use super::shortage::is_shortage;

/// Maximum linear memory of an instance. The shipped policies use a little more than 1 MiB. One instruction
/// can fill it all, and nothing interrupts that: fresh memory takes half a millisecond for each MiB, so this
/// is part of the limit on a call's processor time.
pub(crate) const MAX_MEMORY_BYTES: usize = 4 << 20;

/// Maximum linear memory of all instances of a policy together. As many calls as there are at once by default
/// have room in it, each with the largest memory that an instance may have.
pub(crate) const MAX_POLICY_BYTES: usize = 384 << 20;

/// Number of bytes that the instances of one policy take.
pub(super) type Taken = Arc<AtomicUsize>;

/// The limits of one instance.
pub(crate) struct Limits {
    bounds: StoreLimits,
    memory_bytes: usize,
    /// Size of the last growth, should it fail after all.
    last_growth: usize,
    /// `true` if the system has refused, since the call began, what was granted here.
    refused_by_system: bool,
    taken: Taken,
}

impl Limits {
    pub(super) fn new(bounds: StoreLimits, taken: Taken) -> Self {
        Self { bounds, memory_bytes: 0, last_growth: 0, refused_by_system: false, taken }
    }

    /// Resets the state of a call: a new one begins.
    pub(super) fn begin(&mut self) {
        self.refused_by_system = false;
    }

    /// Returns whether the system has refused memory, since the call began, that the policy may have.
    pub(super) fn was_refused_by_the_system(&self) -> bool {
        self.refused_by_system
    }

    /// Returns the size of the linear memory. An instance has one at most.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if !self.bounds.memory_growing(current, desired, maximum)? {
            self.last_growth = 0;
            return Ok(false);
        }
        // A memory never shrinks. Relaxed, here and below: a number that orders nothing.
        let more = desired.saturating_sub(self.memory_bytes);
        if self.taken.fetch_add(more, Ordering::Relaxed).saturating_add(more) > MAX_POLICY_BYTES {
            self.taken.fetch_sub(more, Ordering::Relaxed);
            self.last_growth = 0;
            return Ok(false);
        }
        (self.memory_bytes, self.last_growth) = (self.memory_bytes + more, more);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.refused_by_system |= is_shortage(&error);
        let growth = std::mem::take(&mut self.last_growth);
        self.memory_bytes -= growth;
        self.taken.fetch_sub(growth, Ordering::Relaxed);
        self.bounds.memory_grow_failed(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.bounds.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.refused_by_system |= is_shortage(&error);
        self.bounds.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.bounds.instances()
    }

    fn tables(&self) -> usize {
        self.bounds.tables()
    }

    fn memories(&self) -> usize {
        self.bounds.memories()
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::StoreLimitsBuilder;

    use super::*;

    #[test]
    fn all_instances_together_take_no_more_than_the_bound_and_give_back_what_they_took() {
        let taken = Taken::default();
        let limits = || Limits::new(StoreLimitsBuilder::new().build(), Arc::clone(&taken));
        let (mut one, mut two) = (limits(), limits());
        assert!(one.memory_growing(0, 1 << 20, None).unwrap());
        assert!(one.memory_growing(1 << 20, 2 << 20, None).unwrap());
        assert_eq!((one.memory_bytes(), taken.load(Ordering::Relaxed)), (2 << 20, 2 << 20));
        assert!(!two.memory_growing(0, MAX_POLICY_BYTES, None).unwrap());
        assert_eq!((two.memory_bytes(), taken.load(Ordering::Relaxed)), (0, 2 << 20));
        // Granted, and then refused by the system.
        assert!(one.memory_growing(2 << 20, 3 << 20, None).unwrap());
        one.memory_grow_failed(wasmtime::Error::msg("beyond the maximum")).unwrap();
        assert!(!one.was_refused_by_the_system());
        assert!(one.memory_growing(2 << 20, 3 << 20, None).unwrap());
        one.memory_grow_failed(wasmtime::Error::from(rustix::io::Errno::NOMEM)).unwrap();
        assert!(one.was_refused_by_the_system());
        one.begin();
        assert!(!one.was_refused_by_the_system());
        assert_eq!((one.memory_bytes(), taken.load(Ordering::Relaxed)), (2 << 20, 2 << 20));
        drop(one);
        assert!(two.memory_growing(0, MAX_POLICY_BYTES, None).unwrap());
        drop(two);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
}
