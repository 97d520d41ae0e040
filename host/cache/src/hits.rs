//! The number of hits.
//!
//! A hit writes no cache line that another thread writes: each thread counts its own, and they are added up
//! when the sum is asked for. This file knows nothing of what is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Number of threads that have a count of their own: more than most machines have processors. The numbers of
/// threads that have ended are given out again, the lowest first, so that the rest are seldom met.
const THREADS: usize = 128;

pub(crate) struct Hits {
    own: Box<[CachePadded<AtomicU64>; THREADS]>,
    shared: CachePadded<AtomicU64>,
}

impl Default for Hits {
    fn default() -> Self {
        let own = Box::new(std::array::from_fn(|_| CachePadded::default()));
        Self { own, shared: CachePadded::default() }
    }
}

impl Hits {
    /// Counts a hit of the thread that has this number, which no other running thread has.
    #[inline]
    pub(crate) fn count_own(&self, thread: usize) {
        match self.own.get(thread) {
            // Relaxed load and store, no read-modify-write: no other thread writes this counter.
            Some(own) => own.store(own.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            None => self.count_shared(),
        }
    }

    /// Counts a hit of any thread.
    pub(crate) fn count_shared(&self) {
        // Relaxed: a number for people, which orders nothing.
        self.shared.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        let own = self.own.iter().map(|own| own.load(Ordering::Relaxed));
        own.fold(self.shared.load(Ordering::Relaxed), u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hit_is_counted_whatever_the_number_of_its_thread() {
        let hits = Hits::default();
        for thread in 0..THREADS + 10 {
            hits.count_own(thread);
        }
        hits.count_shared();
        assert_eq!(hits.sum(), THREADS as u64 + 11);
    }
}
