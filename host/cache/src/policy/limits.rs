//! What one instance may take of memory, tables and instances, and how much memory it has taken.
//!
//! The bounds are wasmtime's own to keep. Here is only what it does not say afterwards: how far the memory has grown.

use wasmtime::{ResourceLimiter, Result, StoreLimits};

/// The limits of one instance.
pub(crate) struct Limits {
    bounds: StoreLimits,
    memory_bytes: usize,
}

impl Limits {
    pub(super) fn new(bounds: StoreLimits) -> Self {
        Self { bounds, memory_bytes: 0 }
    }

    /// The size of the linear memory. An instance has one at most.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let allowed = self.bounds.memory_growing(current, desired, maximum)?;
        if allowed {
            self.memory_bytes = desired;
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.bounds.memory_grow_failed(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.bounds.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
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
