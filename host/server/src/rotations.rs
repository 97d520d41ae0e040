//! Rotations with an `Idempotency-Key`: one rotation for each key, however often the request is sent.
//!
//! What is kept of a key is what became of its rotation, and a hash of the secret that it made: never the
//! secret. A request that comes again is answered with what is stored now, and only where that is the secret
//! of its own rotation: one that was replaced since must not be handed out as the new one. The keys of a
//! process are its own, and end with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold::{Clock as _, Error, Instant, Secret, SystemClock, WorkspaceId};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex as AsyncMutex;

/// Time for which a key is known, counted from its first request.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of keys. Beyond that the oldest go: a rotation is never refused for want of room.
const MAX_KEYS: usize = 10_000;

/// Outcome of the rotation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyedRotation {
    /// Nothing was changed: none was tried, or each was refused.
    Undone,
    /// The database may have done it.
    Unknown,
    /// It was done, and this is the hash of its secret.
    Done([u8; 32]),
}

/// The place where the requests with one key take turns.
pub(crate) type KeyTurn = Arc<AsyncMutex<KeyedRotation>>;

/// The keys that were used lately.
#[derive(Default)]
pub(crate) struct RotationKeys {
    table: Mutex<KeyTable>,
    clock: SystemClock,
}

#[derive(Default)]
struct KeyTable {
    keys: HashMap<Arc<str>, KnownKey>,
    /// The keys in the order of their first requests.
    order: VecDeque<Arc<str>>,
}

struct KnownKey {
    workspace: WorkspaceId,
    first_at: Instant,
    turn: KeyTurn,
}

impl KeyedRotation {
    /// Derives the outcome from the answer of the cache.
    pub(crate) fn of(issued: &Result<Secret, Error>) -> Self {
        match issued {
            Ok(secret) => Self::Done(hash(secret)),
            Err(Error::OutcomeUnknown(_)) => Self::Unknown,
            Err(_) => Self::Undone,
        }
    }

    /// Returns whether this is the secret that the rotation made.
    pub(crate) fn made(self, secret: &Secret) -> bool {
        self == Self::Done(hash(secret))
    }
}

fn hash(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose()).into()
}

impl RotationKeys {
    /// Returns the turn of a key. `None` if it is another workspace's.
    pub(crate) fn turn(&self, key: &str, workspace: &WorkspaceId) -> Option<KeyTurn> {
        // A panic cannot leave the table half-written: each change of it is one that cannot fail.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.turn(key, workspace, self.clock.now())
    }
}

impl KeyTable {
    fn turn(&mut self, key: &str, workspace: &WorkspaceId, now: Instant) -> Option<KeyTurn> {
        self.forget_old(now);
        if let Some(known) = self.keys.get(key) {
            return (known.workspace == *workspace).then(|| Arc::clone(&known.turn));
        }
        let (key, turn) = (Arc::from(key), Arc::new(AsyncMutex::new(KeyedRotation::Undone)));
        let known = KnownKey { workspace: workspace.clone(), first_at: now, turn: Arc::clone(&turn) };
        self.keys.insert(Arc::clone(&key), known);
        self.order.push_back(key);
        Some(turn)
    }

    /// Makes room for one more.
    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let is_over = |known: &KnownKey| now.saturating_since(known.first_at) >= LIFE;
            if self.order.len() < MAX_KEYS && !self.keys.get(oldest).is_none_or(is_over) {
                return;
            }
            self.keys.remove(oldest);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(id: &str) -> WorkspaceId {
        WorkspaceId::new(id).unwrap()
    }

    fn is_same(one: &Option<KeyTurn>, other: &Option<KeyTurn>) -> bool {
        matches!((one, other), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
    }

    #[test]
    fn a_key_is_one_workspaces_for_a_day() {
        let (mut table, start) = (KeyTable::default(), Instant::from_nanos(5));
        let at = |span: Duration| start.saturating_add(span);
        let first = table.turn("k", &workspace("a"), start);
        assert!(is_same(&first, &table.turn("k", &workspace("a"), at(LIFE - Duration::from_nanos(1)))));
        assert!(table.turn("k", &workspace("b"), start).is_none());
        assert!(!is_same(&first, &table.turn("other", &workspace("a"), start)));
        let next = table.turn("k", &workspace("b"), at(LIFE));
        assert!(next.is_some() && !is_same(&first, &next), "a day later it is a new key");
    }

    #[test]
    fn no_more_keys_are_kept_than_there_is_room_for_and_the_oldest_go() {
        let (mut table, now) = (KeyTable::default(), Instant::from_nanos(5));
        let first = table.turn("first", &workspace("a"), now);
        for n in 1..MAX_KEYS {
            table.turn(&format!("k-{n}"), &workspace("a"), now);
        }
        assert_eq!((table.keys.len(), table.order.len()), (MAX_KEYS, MAX_KEYS));
        table.turn("one more", &workspace("a"), now);
        assert_eq!((table.keys.len(), table.order.len()), (MAX_KEYS, MAX_KEYS));
        assert!(!is_same(&first, &table.turn("first", &workspace("a"), now)), "the oldest was kept");
    }

    #[test]
    fn only_an_error_that_says_so_leaves_it_open_what_was_done() {
        let secret = Secret::new("s");
        assert!(KeyedRotation::of(&Ok(secret.clone())).made(&secret));
        assert!(!KeyedRotation::of(&Ok(secret)).made(&Secret::new("t")));
        let unknown = KeyedRotation::of(&Err(Error::OutcomeUnknown("lost".into())));
        assert_eq!(unknown, KeyedRotation::Unknown);
        for error in [Error::Overloaded, Error::UnknownWorkspace, Error::Unavailable("down".into())] {
            assert_eq!(KeyedRotation::of(&Err(error)), KeyedRotation::Undone);
        }
    }
}
