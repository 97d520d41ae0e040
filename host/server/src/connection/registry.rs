//! The connections that are open: how many there may be, from whom, and until when.
//!
//! One task looks at all of them several times a second. Where there is no room, a new connection takes the
//! place of one that serves nothing: first of clients that do not read, then of those that are slow to ask,
//! then of idle ones, and among these of the peer that has most of them. So clients that hold connections
//! keep nobody out. A connection whose request is being answered is never ended for another one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::activity::{Activity, Order, Phase};
use crate::peer::Peer;
use crate::telemetry::ConnectionCounts;

/// Time that a connection that is idle for too long may take to say so, in milliseconds.
const FAREWELL: u64 = 5_000;
/// Time for which a connection that has just come keeps its place, in milliseconds: a burst of others must
/// not end it before its request is here, and was read on a busy machine.
const YOUNG: u64 = 500;
/// Time for which a client may not read before its connection can lose its place, in milliseconds.
const UNREAD: u64 = 250;
/// Time that a connection may wait for a place, and how many may.
const WAIT: Duration = Duration::from_secs(3);
const MAX_WAITING: usize = 512;
/// Time that a client that has connected may take to ask, once the server stops.
const GRACE: Duration = Duration::from_secs(1);
/// Range of the time between two looks at all connections.
const LOOKS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// Deadlines of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) keep_alive: Duration,
    pub(crate) header: Duration,
    pub(crate) write: Duration,
}

/// Numbers of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxConnections {
    pub(crate) in_all: usize,
    pub(crate) per_peer: usize,
}

/// The open connections of a listener.
pub(crate) struct Connections {
    timeouts: ArcSwap<Timeouts>,
    max: MaxConnections,
    table: Mutex<OpenConnections>,
    ended: Notify,
    waiting: Arc<Semaphore>,
    counts: Arc<ConnectionCounts>,
}

#[derive(Default)]
struct OpenConnections {
    next: u64,
    open: HashMap<u64, Open>,
    by_network: HashMap<IpAddr, usize>,
    is_ending: bool,
}

struct Open {
    activity: Arc<Activity>,
    network: Option<IpAddr>,
}

/// The place of one connection, which is free again once this is dropped.
pub(super) struct Slot {
    id: u64,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Slot {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        table.remove(self.id);
        let is_empty = table.open.is_empty();
        drop(table);
        self.connections.counts.closed();
        if is_empty {
            self.connections.ended.notify_waiters();
        }
    }
}

impl OpenConnections {
    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(network) = open.network
            && let Some(number) = self.by_network.get_mut(&network)
        {
            *number -= 1;
            if *number == 0 {
                self.by_network.remove(&network);
            }
        }
        Some(open)
    }

    fn of_network(&self, network: Option<IpAddr>) -> usize {
        network.and_then(|network| self.by_network.get(&network)).copied().unwrap_or(0)
    }

    /// Ends at most `number` connections that serve nothing, of one network if it is given. Returns how many.
    fn evict(&mut self, number: usize, network: Option<IpAddr>) -> u64 {
        let mut candidates: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| network.is_none() || open.network == network)
            .filter_map(|(id, open)| {
                let (rank, since, least) = match open.activity.phase() {
                    Phase::Stalled(since) => (0, since, UNREAD),
                    Phase::Head(since) => (1, since, YOUNG),
                    Phase::Idle(since) => (2, since, 0),
                    Phase::Serving => return None,
                };
                let waited = open.activity.now().saturating_sub(since);
                if waited < least {
                    return None;
                }
                let share = self.of_network(open.network);
                Some(((rank, usize::MAX - share, u64::MAX - waited), *id))
            })
            .collect();
        candidates.sort_unstable();
        let mut evicted = 0;
        for (_, id) in candidates.into_iter().take(number) {
            if let Some(open) = self.remove(id) {
                open.activity.order(Order::Close);
                evicted += 1;
            }
        }
        evicted
    }
}

impl Connections {
    pub(crate) fn new(max: MaxConnections, timeouts: Timeouts, counts: Arc<ConnectionCounts>) -> Arc<Self> {
        Arc::new(Self {
            timeouts: ArcSwap::from_pointee(timeouts),
            max,
            table: Mutex::default(),
            ended: Notify::new(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            counts,
        })
    }

    /// A thread that panicked with it left it whole: every change is one insertion or removal.
    fn table(&self) -> MutexGuard<'_, OpenConnections> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the deadlines, also for the connections that are open.
    pub(crate) fn set_timeouts(&self, timeouts: Timeouts) {
        self.timeouts.store(Arc::new(timeouts));
    }

    /// Finds a place for a connection. `None` if every other one has a request that is being answered.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Slot> {
        let (slot, evicted) = self.place(peer.network());
        if evicted > 0 && self.counts.evicted(evicted) {
            tracing::warn!(%peer, "too many connections: idle and slow ones are ended for new ones");
        }
        if slot.is_some() {
            self.counts.opened();
        }
        slot
    }

    /// Finds a place within a moment: others have just come, too, and may be done or old enough by then.
    pub(super) async fn admit_later(self: &Arc<Self>, peer: Peer) -> Option<Slot> {
        let began = Instant::now();
        while began.elapsed() < WAIT {
            sleep(LOOKS[0]).await;
            if let Some(slot) = self.admit(peer) {
                return Some(slot);
            }
        }
        self.refuse(peer);
        None
    }

    /// Returns a permit to wait for a place, of which there are so many.
    pub(super) fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    /// Notes a connection for which there was no place.
    pub(super) fn refuse(&self, peer: Peer) {
        if self.counts.refused() {
            tracing::warn!(%peer, "too many connections at once: new ones are refused");
        }
    }

    /// Finds a place, and returns how many connections were ended for it.
    fn place(self: &Arc<Self>, network: Option<IpAddr>) -> (Option<Slot>, u64) {
        let mut table = self.table();
        // Some at once: looking for them takes a look at all.
        let batch = (self.max.in_all / 64).max(1);
        let mut evicted = 0;
        if table.of_network(network) >= self.max.per_peer {
            evicted += table.evict(batch, network);
        }
        if table.open.len() >= self.max.in_all {
            evicted += table.evict(batch, None);
        }
        if table.open.len() >= self.max.in_all || table.of_network(network) >= self.max.per_peer {
            return (None, evicted);
        }
        let id = table.next;
        table.next += 1;
        let activity = Arc::new(Activity::new());
        if table.is_ending {
            activity.announce_end();
        }
        table.open.insert(id, Open { activity: Arc::clone(&activity), network });
        if let Some(network) = network {
            *table.by_network.entry(network).or_default() += 1;
        }
        (Some(Slot { id, activity, connections: Arc::clone(self) }), evicted)
    }

    /// Ends some connections that serve nothing.
    pub(super) fn make_room(&self) {
        let evicted = self.table().evict((self.max.in_all / 64).max(1), None);
        self.counts.evicted(evicted);
    }

    /// Ends connections at their deadlines. It never ends itself.
    pub(crate) async fn keep_deadlines(self: Arc<Self>) {
        let [shortest, longest] = LOOKS;
        let Timeouts { keep_alive, header, write } = **self.timeouts.load();
        let look = (keep_alive.min(header).min(write) / 8).clamp(shortest, longest);
        let mut looks = interval(look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let timeouts = **self.timeouts.load();
            for open in self.table().open.values() {
                if let Some(order) = overdue(open.activity.phase(), open.activity.now(), timeouts) {
                    open.activity.order(order);
                }
            }
        }
    }

    /// Tells every client, with its next answer, that its connection ends.
    pub(crate) fn announce_end(&self) {
        let mut table = self.table();
        table.is_ending = true;
        for open in table.open.values() {
            open.activity.announce_end();
        }
    }

    /// Ends every connection after the requests that have begun or are on their way, and waits until all are
    /// gone. A client that has connected and not yet asked gets a moment to do so: it may be that its bytes
    /// are not here yet.
    pub(crate) async fn finished(&self) {
        let began = Instant::now();
        loop {
            let ended = self.ended.notified();
            {
                let table = self.table();
                if table.open.is_empty() {
                    return;
                }
                for Open { activity, .. } in table.open.values() {
                    match activity.phase() {
                        Phase::Head(_) if activity.has_begun() => {}
                        Phase::Head(_) if began.elapsed() < GRACE => {}
                        Phase::Head(_) => activity.order(Order::Close),
                        Phase::Stalled(_) | Phase::Idle(_) | Phase::Serving => activity.order(Order::Finish),
                    }
                }
            }
            // What was a head may be a request by then.
            let _ = timeout(LOOKS[0], ended).await;
        }
    }

    /// Returns the number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.table().open.len()
    }
}

/// Returns the order for a connection that has been in a phase for too long.
fn overdue(phase: Phase, now: u64, timeouts: Timeouts) -> Option<Order> {
    let is_over = |since: u64, span: Duration| u128::from(now.saturating_sub(since)) >= span.as_millis();
    match phase {
        Phase::Stalled(since) if is_over(since, timeouts.write) => Some(Order::Close),
        Phase::Head(since) if is_over(since, timeouts.header) => Some(Order::Close),
        Phase::Idle(since) if is_over(since.saturating_add(FAREWELL), timeouts.keep_alive) => {
            Some(Order::Close)
        }
        Phase::Idle(since) if is_over(since, timeouts.keep_alive) => Some(Order::Finish),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
