//! A stand-in for `papaya::HashMap`: each operation is one step, and entries outlive their place in the map.
//!
//! It has the part of the API that `table.rs` uses. What a reader has seen under a guard stays whole until
//! that guard drops, although it is replaced or removed meanwhile, and not a moment longer: earlier than
//! papaya would free it, never later, so that a use of an entry past its guard shows. An iterator reads one
//! entry at a step, so that the map may change under it as papaya's may.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex};

use super::seen::Seen;
use super::{lock, point};

/// An entry with its key, at one address for as long as any guard sees it.
type Pair<K, V> = Arc<(K, V)>;

pub(crate) struct ConcurrentMap<K, V, S> {
    entries: Mutex<HashMap<K, Pair<K, V>, S>>,
}

pub(crate) struct Builder<S>(S);

/// The operations of a guard by itself.
pub(crate) trait Guard {
    /// Asks for what was retired to be freed soon. Here it is freed with the last guard that has seen it.
    fn flush(&self);

    /// Returns the number of the thread that holds it, among those that run.
    fn thread_id(&self) -> usize;
}

/// A guard that keeps whole what was seen under it.
pub(crate) struct Pinning<K, V>(Seen<Pair<K, V>>);

/// The map under a guard of its own.
pub(crate) struct Pinned<'m, K, V, S> {
    map: &'m ConcurrentMap<K, V, S>,
    guard: Pinning<K, V>,
}

impl ConcurrentMap<(), (), ()> {
    pub(crate) fn builder() -> Builder<()> {
        Builder(())
    }
}

impl Builder<()> {
    pub(crate) fn hasher<S>(self, hasher: S) -> Builder<S> {
        Builder(hasher)
    }
}

impl<S> Builder<S> {
    pub(crate) fn build<K, V>(self) -> ConcurrentMap<K, V, S> {
        ConcurrentMap { entries: Mutex::new(HashMap::with_hasher(self.0)) }
    }
}

impl<K, V> Guard for Pinning<K, V> {
    fn flush(&self) {
        point();
    }

    fn thread_id(&self) -> usize {
        // Tasks of the scheduler are no threads: none has a number of its own.
        usize::MAX
    }
}

impl<K, V> Pinning<K, V> {
    fn see(&self, pair: Pair<K, V>) -> &(K, V) {
        self.0.push(pair)
    }
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher> ConcurrentMap<K, V, S> {
    pub(crate) fn guard(&self) -> Pinning<K, V> {
        Pinning(Seen::default())
    }

    pub(crate) fn pin(&self) -> Pinned<'_, K, V, S> {
        Pinned { map: self, guard: self.guard() }
    }

    pub(crate) fn get<'g>(&self, key: &K, guard: &'g Pinning<K, V>) -> Option<&'g V> {
        self.see(key, guard).map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        point();
        lock(&self.entries).len()
    }

    pub(crate) fn insert<'g>(&self, key: K, value: V, guard: &'g Pinning<K, V>) -> Option<&'g V> {
        point();
        let replaced = lock(&self.entries).insert(key.clone(), Arc::new((key, value)));
        replaced.map(|pair| &guard.see(pair).1)
    }

    pub(crate) fn remove<'g>(&self, key: &K, guard: &'g Pinning<K, V>) -> Option<&'g V> {
        point();
        let removed = lock(&self.entries).remove(key);
        removed.map(|pair| &guard.see(pair).1)
    }

    /// Removes an entry that `goes` agrees to, in one step. An entry that it does not agree to is returned as
    /// an error.
    pub(crate) fn remove_if<'g>(
        &self,
        key: &K,
        goes: impl Fn(&K, &V) -> bool,
        guard: &'g Pinning<K, V>,
    ) -> Result<Option<(&'g K, &'g V)>, (&'g K, &'g V)> {
        point();
        let mut entries = lock(&self.entries);
        let Some(pair) = entries.get(key).cloned() else { return Ok(None) };
        let (key, value) = guard.see(pair);
        if !goes(key, value) {
            return Err((key, value));
        }
        entries.remove(key);
        Ok(Some((key, value)))
    }

    pub(crate) fn clear(&self, guard: &Pinning<K, V>) {
        point();
        let cleared: Vec<_> = lock(&self.entries).drain().collect();
        for (_, pair) in cleared {
            guard.see(pair);
        }
    }

    pub(crate) fn iter<'g>(&self, guard: &'g Pinning<K, V>) -> impl Iterator<Item = (&'g K, &'g V)> {
        point();
        let keys: Vec<K> = lock(&self.entries).keys().cloned().collect();
        keys.into_iter().filter_map(move |key| {
            let (key, value) = self.see(&key, guard)?;
            Some((key, value))
        })
    }

    fn see<'g>(&self, key: &K, guard: &'g Pinning<K, V>) -> Option<&'g (K, V)> {
        point();
        let pair = lock(&self.entries).get(key).cloned()?;
        Some(guard.see(pair))
    }
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher> Pinned<'_, K, V, S> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key, &self.guard)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.map.iter(&self.guard).map(|(_, value)| value)
    }
}
