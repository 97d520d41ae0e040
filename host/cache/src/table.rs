//! The entries, by workspace.
//!
//! Reads take no lock and write no shared memory. Writers of one workspace take turns under the lock of its
//! stripe (`flight.rs`), which every caller of `store` and `remove` holds. The table knows no policy and no
//! database.
//!
//! A replaced or removed entry is wiped once the last reader that can still see it is gone: each write asks
//! the collector to do so at once. Where other threads read at that very moment the collector may put it off
//! until the same thread writes again; so at most a few entries for each thread wait, never a batch.

use std::time::Duration;

use crate::hits::Hits;
use crate::lease::{Cover, Generation, Lease, Moment, cover};
use crate::sync::{Arc, AtomicU32, ConcurrentMap, Guard as _, Mutex, Ordering, RandomState, TryLockError};
use crate::{Instant, Secret, WorkspaceId};

/// Divisor of the capacity that gives the share to evict at once when the table is full, so that the next
/// inserts do not have to look again.
const EVICTED_SHARE: usize = 16;

/// Least bound on the entries that are held back though they are stored no longer; the bound is the capacity
/// where that is more. Past it nothing is stored: an `answer` that blocks must not fill the memory.
const MIN_HELD: usize = 1_024;

/// Minimum pause after a refresh that brought nothing: long enough for a database that is down, short enough
/// to be tried many times within a lease of minutes. The longer the refresh has been due, the longer is the
/// pause: as long again.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);
/// Maximum of that pause: a policy that never reads anything costs a call a minute, and a database that is
/// back is noticed within a minute.
const MAX_REFRESH_PAUSE: Duration = Duration::from_secs(60);

/// The stored state of one workspace.
pub(crate) struct Entry {
    /// The secret; `None` where a policy stored absence.
    pub(crate) value: Option<Secret>,
    pub(crate) obtained_at: Instant,
    pub(crate) lease: Lease,
    pub(crate) generation: Generation,
    /// The time after a refresh was due at which the next hit asks for one, in milliseconds: each hit that
    /// asks puts the next off. It is zero until a hit has asked. Seven weeks fit in, after which no hit asks
    /// any more.
    refresh_put_off_ms: AtomicU32,
    /// The handle that counts this entry among those of its table that have not been wiped.
    unwiped: Option<Arc<()>>,
}

/// A copy of an entry, for a policy to look at.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) value: Option<Secret>,
    pub(crate) obtained_at: Instant,
    pub(crate) lease: Lease,
}

/// The value of an entry that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<R> {
    /// A secret, or what a caller's function makes of it.
    Present(R),
    /// A policy stored that there is none.
    Absent,
}

impl<R> Value<R> {
    /// Returns the secret, or what was made of it.
    pub(crate) fn present(self) -> Option<R> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent => None,
        }
    }
}

/// The result of a read of the table.
pub(crate) enum Found<R> {
    /// The entry answers: the caller's function was applied to its secret.
    Hit(Value<R>),
    /// The entry answers as for `Hit`, and this hit has to ask the policy again.
    Refresh(Value<R>),
    /// There is no entry, or no lease that covers this read.
    Expired,
}

pub(crate) struct Table {
    entries: ConcurrentMap<WorkspaceId, Entry, RandomState>,
    hits: Hits,
    capacity: usize,
    /// The count of unwiped entries: shared by every entry until it is wiped.
    unwiped: Arc<()>,
    /// Held while entries are evicted: one task at a time looks through the whole table.
    evicting: Mutex<()>,
}

impl Entry {
    pub(crate) fn new(snapshot: Snapshot, generation: Generation) -> Self {
        let Snapshot { value, obtained_at, lease } = snapshot;
        Self { value, obtained_at, lease, generation, refresh_put_off_ms: AtomicU32::new(0), unwiped: None }
    }
}

impl Table {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: ConcurrentMap::builder().hasher(RandomState::default()).build(),
            hits: Hits::default(),
            capacity,
            unwiped: Arc::default(),
            evicting: Mutex::default(),
        }
    }

    /// Looks an entry up for a hit. It borrows the value under the map's guard: cloning it would bounce its
    /// reference count between cores.
    ///
    /// `moment` is called once the entry is found: all of it is done while the entry is on its way from
    /// memory, where the guard's barriers would have it wait before and after.
    #[inline]
    pub(crate) fn lookup<R, W: FnOnce() -> bool>(
        &self,
        workspace: &WorkspaceId,
        moment: impl FnOnce() -> Moment<W>,
        answer: impl FnOnce(&Secret) -> R,
    ) -> Found<R> {
        self.lookup_dated(workspace, moment, |secret, _, _| answer(secret))
    }

    /// Does the same for a caller that needs the age of the value: `answer` is also given when the value was
    /// obtained, and the time.
    #[inline]
    pub(crate) fn lookup_dated<R, W: FnOnce() -> bool>(
        &self,
        workspace: &WorkspaceId,
        moment: impl FnOnce() -> Moment<W>,
        answer: impl FnOnce(&Secret, Instant, Instant) -> R,
    ) -> Found<R> {
        let guard = self.entries.guard();
        let Some(entry) = self.entries.get(workspace, &guard) else { return Found::Expired };
        let moment = moment();
        let now = moment.now;
        let refreshes = match cover(&entry.lease, entry.generation, moment) {
            Cover::Hit => false,
            Cover::Refresh => entry.claim_refresh(now),
            Cover::Expired => return Found::Expired,
        };
        let value = match &entry.value {
            Some(secret) => {
                self.hits.count_own(guard.thread_id());
                Value::Present(answer(secret, entry.obtained_at, now))
            }
            None => Value::Absent,
        };
        if refreshes { Found::Refresh(value) } else { Found::Hit(value) }
    }

    /// Counts a hit that did not go through [`lookup`](Self::lookup): the entry was stored while its caller
    /// was on the way to ask for it.
    pub(crate) fn count_hit(&self) {
        self.hits.count_shared();
    }

    /// The number of reads that were given a value.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.sum()
    }

    /// Returns the value that covers a read at this moment, and when it was obtained, without counting as the
    /// hit that a refresh waits for.
    pub(crate) fn peek<W: FnOnce() -> bool>(
        &self,
        workspace: &WorkspaceId,
        moment: Moment<W>,
    ) -> Option<Value<(Secret, Instant)>> {
        let entries = self.entries.pin();
        let entry = entries.get(workspace)?;
        let covered = cover(&entry.lease, entry.generation, moment) != Cover::Expired;
        covered.then(|| match &entry.value {
            Some(secret) => Value::Present((secret.clone(), entry.obtained_at)),
            None => Value::Absent,
        })
    }

    /// Returns how far a read at this moment would be covered, without being one.
    pub(crate) fn cover<W: FnOnce() -> bool>(&self, workspace: &WorkspaceId, moment: Moment<W>) -> Cover {
        let entries = self.entries.pin();
        let entry = entries.get(workspace);
        entry.map_or(Cover::Expired, |entry| cover(&entry.lease, entry.generation, moment))
    }

    /// Returns the entry, if it is still kept: what a policy may see.
    pub(crate) fn snapshot(&self, workspace: &WorkspaceId, now: Instant) -> Option<Snapshot> {
        let entries = self.entries.pin();
        let entry = entries.get(workspace).filter(|entry| now < entry.lease.keep_until)?;
        Some(Snapshot { value: entry.value.clone(), obtained_at: entry.obtained_at, lease: entry.lease })
    }

    /// Returns what `describe` says of the entry, if it is still kept: for an operator, who is no reader.
    pub(crate) fn describe<R>(
        &self,
        workspace: &WorkspaceId,
        now: Instant,
        describe: impl FnOnce(&Entry) -> R,
    ) -> Option<R> {
        let entries = self.entries.pin();
        entries.get(workspace).filter(|entry| now < entry.lease.keep_until).map(describe)
    }

    /// Stores an entry in place of any other, or only drops the old entry where too many are held back. The
    /// caller holds the stripe's lock.
    pub(crate) fn store(&self, workspace: &WorkspaceId, mut entry: Entry) {
        if self.held() >= self.capacity.max(MIN_HELD) {
            return self.remove(workspace);
        }
        entry.unwiped = Some(Arc::clone(&self.unwiped));
        let guard = self.entries.guard();
        if entry.lease.refresh_after < entry.lease.fresh_until
            && let Some(replaced) = self.entries.get(workspace, &guard)
        {
            entry.inherit_pause(replaced);
        }
        self.entries.insert(workspace.clone(), entry, &guard);
        guard.flush();
    }

    /// Drops an entry. The caller holds the stripe's lock.
    pub(crate) fn remove(&self, workspace: &WorkspaceId) {
        let guard = self.entries.guard();
        self.entries.remove(workspace, &guard);
        guard.flush();
    }

    /// Drops an entry whose value is not this one. The caller holds the stripe's lock.
    pub(crate) fn remove_other(&self, workspace: &WorkspaceId, value: Option<&Secret>) {
        let differs = |_: &WorkspaceId, entry: &Entry| match (&entry.value, value) {
            (Some(stored), Some(value)) => !stored.same_as(value),
            (None, None) => false,
            _ => true,
        };
        let guard = self.entries.guard();
        // An error says that the value is this one.
        let _ = self.entries.remove_if(workspace, differs, &guard);
        guard.flush();
    }

    /// Drops every entry. The caller holds the locks of all stripes.
    pub(crate) fn clear(&self) {
        let guard = self.entries.guard();
        self.entries.clear(&guard);
        guard.flush();
    }

    /// The number of entries that are stored.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of entries that have been replaced or dropped, and are not wiped because an `answer` has
    /// not returned.
    pub(crate) fn held(&self) -> usize {
        // One handle is the table's own.
        (Arc::strong_count(&self.unwiped) - 1).saturating_sub(self.len())
    }

    /// Drops the entries that may not be served any more, and returns their number. It needs no stripe: an
    /// entry that is replaced meanwhile no longer matches.
    pub(crate) fn sweep(&self, now: Instant) -> usize {
        self.drop_where(|entry| entry.lease.keep_until <= now)
    }

    /// Drops the entries with the least time left if the table is over its capacity, and returns their
    /// number.
    pub(crate) fn evict(&self) -> usize {
        if self.len() <= self.capacity {
            return 0;
        }
        let _one = match self.evicting.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return 0,
        };
        let mut ends: Vec<Instant> =
            self.entries.pin().values().map(|entry| entry.lease.keep_until).collect();
        if ends.len() <= self.capacity {
            // Another task has evicted since the length was asked: a share of a table with room would go.
            return 0;
        }
        let excess = ends.len() - self.capacity + self.capacity / EVICTED_SHARE;
        let Some(last) = excess.min(ends.len()).checked_sub(1) else { return 0 };
        let (_, threshold, _) = ends.select_nth_unstable(last);
        let threshold = *threshold;
        // Many entries may end at the same instant: no more than the excess of them may go.
        let left = std::cell::Cell::new(excess);
        self.drop_where(|entry| {
            let goes = left.get() > 0 && entry.lease.keep_until <= threshold;
            left.set(left.get() - usize::from(goes));
            goes
        })
    }

    fn drop_where(&self, goes: impl Fn(&Entry) -> bool) -> usize {
        let guard = self.entries.guard();
        let mut dropped = 0;
        for (workspace, entry) in self.entries.iter(&guard) {
            if goes(entry) {
                // Only this very entry: it may have been replaced since the iterator saw it.
                let same = |_: &WorkspaceId, found: &Entry| std::ptr::eq(found, entry);
                dropped +=
                    usize::from(matches!(self.entries.remove_if(workspace, same, &guard), Ok(Some(_))));
            }
        }
        guard.flush();
        dropped
    }
}

impl Entry {
    /// Returns whether this hit is the one that has to start a refresh. Most hits only load the instant. A
    /// refresh that brings nothing is tried again after a pause.
    fn claim_refresh(&self, now: Instant) -> bool {
        // Relaxed: whichever hit wins starts a flight, and flights are ordered by their stripe's lock.
        let put_off_ms = self.refresh_put_off_ms.load(Ordering::Relaxed);
        let late = now.saturating_since(self.refresh_due());
        let pause = late.clamp(REFRESH_PAUSE, MAX_REFRESH_PAUSE);
        (put_off_ms == 0 || late.as_millis() > put_off_ms.into())
            && put_off_ms != u32::MAX
            && self
                .refresh_put_off_ms
                .compare_exchange(put_off_ms, millis(late + pause), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Delays the next refresh by as long as the replaced entry would have, unless this entry is newer. The
    /// policy has put again what was there, and without the delay the next hit would ask it again, and so for
    /// ever.
    fn inherit_pause(&mut self, replaced: &Self) {
        let put_off_ms = replaced.refresh_put_off_ms.load(Ordering::Relaxed);
        let brings_nothing =
            self.obtained_at <= replaced.obtained_at && self.generation == replaced.generation;
        if put_off_ms > 0 && brings_nothing {
            let next = replaced.refresh_due().saturating_add(Duration::from_millis(put_off_ms.into()));
            self.refresh_put_off_ms = AtomicU32::new(millis(next.saturating_since(self.refresh_due())));
        }
    }

    /// Returns when a refresh is due. A lease may say "always", by an instant long before the value was
    /// there.
    fn refresh_due(&self) -> Instant {
        self.lease.refresh_after.max(self.obtained_at)
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
