//! Numbers of connections: how many are open, and how many were ended or refused for want of room.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of all listeners. Each is a number of its own: relaxed orderings do.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    open: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionNumbers {
    pub(crate) open: u64,
    pub(crate) evicted: u64,
    pub(crate) refused: u64,
}

impl ConnectionCounts {
    /// Notes a connection that was let in.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the end of a connection that was let in.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes connections that were ended for new ones. Returns whether they are the first.
    pub(crate) fn evicted(&self, number: u64) -> bool {
        self.evicted.fetch_add(number, Ordering::Relaxed) == 0
    }

    /// Notes a connection that was refused. Returns whether it is the first.
    pub(crate) fn refused(&self) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(crate) fn numbers(&self) -> ConnectionNumbers {
        let [open, evicted, refused] =
            [&self.open, &self.evicted, &self.refused].map(|count| count.load(Ordering::Relaxed));
        ConnectionNumbers { open, evicted, refused }
    }
}
