//! A connection that is kept from one SELECT to the next, while they follow one another closely.
//!
//! A pool asks each connection for a sign of life when it is lent and again when it comes back: two more
//! round trips for each statement. Statements that follow within milliseconds need neither. An issue never
//! uses a kept connection: if that were lost, the outcome of the issue would be unknown. This file knows no
//! SQL.
//!
//! No connection that was lent here outlives its [`Epoch`]: whatever way it comes back or is to be used
//! again, it is closed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

/// Maximum time that a connection is kept after its last SELECT: too short for a task that waits for it to
/// notice, and for a network to forget the connection.
const IDLE_LIMIT: Duration = Duration::from_millis(20);
/// Maximum time that a connection is kept in all. Then the pool may look at its age, and test it. It is
/// shorter than any wait for a connection.
const LIMIT: Duration = Duration::from_millis(250);
/// Maximum time of an answer after which its connection is kept: beside a longer one the two round trips are
/// little, and something may be wrong.
const QUICK: Duration = Duration::from_millis(25);
/// Minimum number of a pool's connections for one to be kept: of a smaller pool others may need all of them.
const FEWEST_CONNECTIONS: u32 = 4;

/// A number that all users of a pool share. A connection that was taken out of the pool under another number
/// is not to be used again. A clone shares it.
#[derive(Clone, Default)]
pub(super) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// Ends the epoch: every connection that has been taken out of the pool so far goes.
    pub(super) fn end(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The place where one connection of a pool is kept. A clone shares it.
pub(super) struct StickyConnection<DB: Database>(Arc<Shared<DB>>);

struct Shared<DB: Database> {
    pool: Pool<DB>,
    /// The function that gives a connection back to its pool.
    give_back: fn(PoolConnection<DB>),
    epoch: Epoch,
    state: Mutex<StickyState<DB>>,
}

struct StickyState<DB: Database> {
    lent: Option<Borrowed<DB>>,
    /// Whether a task will give the connection back when it is due.
    is_watched: bool,
}

/// A connection that was taken out of the pool.
pub(super) struct Borrowed<DB: Database> {
    /// The connection; `None` once it has left.
    connection: Option<PoolConnection<DB>>,
    since: Instant,
    /// The epoch from before the connection was taken out.
    epoch: u64,
    /// The moment when its statement was sent, and once that has ended, when it ended.
    used_at: Instant,
    /// The server's process at its other end, where that is known.
    pub(super) process: Option<i32>,
    /// The runtime on which it is given back if it is dropped.
    home: Handle,
}

impl<DB: Database> StickyConnection<DB> {
    pub(super) fn new(pool: Pool<DB>, give_back: fn(PoolConnection<DB>), epoch: Epoch) -> Self {
        let state = Mutex::new(StickyState { lent: None, is_watched: false });
        Self(Arc::new(Shared { pool, give_back, epoch, state }))
    }

    /// Acquires a connection of the pool.
    pub(super) async fn acquire(&self) -> Result<Borrowed<DB>, sqlx::Error> {
        // The epoch is read first: a connection that was idle when the epoch ended is not taken for one of
        // the next.
        let epoch = self.0.epoch.now();
        // Boxed: it is larger by far than all else on the path of a SELECT, and most SELECTs need none.
        let connection = Some(Box::pin(self.0.pool.acquire()).await?);
        let now = Instant::now();
        Ok(Borrowed { connection, since: now, epoch, used_at: now, process: None, home: Handle::current() })
    }

    /// Takes the connection that is kept, if there is one.
    pub(super) fn take(&self) -> Option<Borrowed<DB>> {
        let mut lent = self.0.state().lent.take()?;
        if lent.used_at.elapsed() < IDLE_LIMIT && self.0.is_usable(&lent) {
            lent.used_at = Instant::now();
            return Some(lent);
        }
        self.0.give_back(lent);
        None
    }

    /// Keeps a connection whose statement has ended, or gives it back.
    pub(super) fn keep(&self, mut lent: Borrowed<DB>) {
        let (pool, now) = (&self.0.pool, Instant::now());
        let is_quick = now.duration_since(lent.used_at) < QUICK && now.duration_since(lent.since) < LIMIT;
        let is_spare = pool.options().get_max_connections() >= FEWEST_CONNECTIONS && !self.0.is_exhausted();
        if !is_quick || !is_spare || !self.0.is_usable(&lent) {
            return self.0.give_back(lent);
        }
        lent.used_at = now;
        let home = lent.home.clone();
        let mut state = self.0.state();
        let surplus = state.lent.replace(lent);
        let is_watched = std::mem::replace(&mut state.is_watched, true);
        drop(state);
        if let Some(surplus) = surplus {
            self.0.give_back(surplus);
        }
        if !is_watched {
            home.spawn(Watch { shared: Arc::clone(&self.0), is_on: true }.until_it_goes_back());
        }
    }

    /// Gives back a connection that was not kept.
    pub(super) fn give_back(&self, lent: Borrowed<DB>) {
        self.0.give_back(lent);
    }

    /// Closes the kept connection: it is like one that has turned out to be useless.
    pub(super) fn discard(&self) {
        let lent = self.0.state().lent.take();
        if let Some(lent) = lent {
            lent.close();
        }
    }

    /// Gives the kept connection back if the pool has no other one to lend.
    pub(super) fn release_if_exhausted(&self) {
        if self.0.is_exhausted() {
            let lent = self.0.state().lent.take();
            if let Some(lent) = lent {
                self.0.give_back(lent);
            }
        }
    }
}

impl<DB: Database> Shared<DB> {
    /// Returns whether the pool has no connection to lend, and may open none.
    fn is_exhausted(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    fn is_usable(&self, lent: &Borrowed<DB>) -> bool {
        lent.epoch == self.epoch.now() && !self.pool.is_closed()
    }

    fn give_back(&self, mut lent: Borrowed<DB>) {
        if lent.epoch != self.epoch.now() {
            return lent.close();
        }
        if let Some(connection) = lent.connection.take() {
            let _home = lent.home.enter();
            (self.give_back)(connection);
        }
    }

    fn state(&self) -> MutexGuard<'_, StickyState<DB>> {
        // Nothing that may panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Database> Clone for StickyConnection<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<DB: Database> Borrowed<DB> {
    /// Lends the connection, to send a statement on.
    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Closes the connection: it may still wait for an answer.
    pub(super) fn close(mut self) {
        let _home = self.home.enter();
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

impl<DB: Database> Drop for Borrowed<DB> {
    fn drop(&mut self) {
        // The pool takes it back in a task, wherever this is dropped.
        let _home = self.home.enter();
        drop(self.connection.take());
    }
}

/// The task that gives the kept connection back when it is due, and ends then.
struct Watch<DB: Database> {
    shared: Arc<Shared<DB>>,
    is_on: bool,
}

impl<DB: Database> Watch<DB> {
    async fn until_it_goes_back(mut self) {
        while let Some(until) = self.look() {
            sleep_until(until).await;
        }
    }

    /// Gives the connection back if it is due; otherwise returns the moment of the next look.
    fn look(&mut self) -> Option<Instant> {
        let mut state = self.shared.state();
        let until = state.lent.as_ref().map(|lent| lent.used_at + IDLE_LIMIT);
        if until.is_some_and(|until| until > Instant::now()) {
            return until;
        }
        state.is_watched = false;
        self.is_on = false;
        let lent = state.lent.take();
        drop(state);
        if let Some(lent) = lent {
            self.shared.give_back(lent);
        }
        None
    }
}

impl<DB: Database> Drop for Watch<DB> {
    fn drop(&mut self) {
        // The runtime of the task is being shut down: another task may watch what is kept from then on.
        if self.is_on {
            let mut state = self.shared.state();
            state.is_watched = false;
            let lent = state.lent.take();
            drop(state);
            if let Some(lent) = lent {
                self.shared.give_back(lent);
            }
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
