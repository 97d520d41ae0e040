//! The note of the tokens that were let in since it was last written down.
//!
//! A heartbeat adds its hash to a set and nothing more: it waits for no statement, and allocates only where a
//! token comes for the first time. The hashes are evenly spread as they are, so that they are hashed no
//! further. It is for people to read: what cannot be written now is kept for the next time, within a bound.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::auth::TokenHash;
use crate::store::{Access, Store, StoreError};

/// Number of sets, each under a lock of its own, so that processors seldom meet at one.
const SETS: usize = 64;
/// Maximum number of hashes in a set, 40 bytes each: four million tokens in all. More are not written down.
const MAX_SET: usize = 1 << 16;
/// Maximum number of hashes in a statement.
const BATCH: usize = 500;

type Set = HashSet<TokenHash, BuildHasherDefault<OwnBytes>>;

/// Hashes of tokens that were let in.
pub(super) struct LastUsed([Mutex<Set>; SETS]);

/// The hasher of what is a hash already.
#[derive(Default)]
struct OwnBytes(u64);

impl Default for LastUsed {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl LastUsed {
    /// Notes a token.
    pub(super) fn note(&self, hash: TokenHash) {
        let [first, ..] = *hash.bytes();
        if let Some(set) = self.0.get(usize::from(first) % SETS) {
            let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
            if set.len() < MAX_SET {
                set.insert(hash);
            }
        }
    }

    /// Writes down what was noted. On a database that takes no writes it is let go.
    pub(super) async fn write(&self, store: &Store, at_ms: u64) {
        let noted = self.take();
        // A write to a database that takes none costs its pool connections.
        if noted.is_empty() || matches!(store.ping().await, Ok(Access::ReadOnly)) {
            return;
        }
        for (begun, batch) in noted.chunks(BATCH).enumerate() {
            let hashes: Vec<String> = batch.iter().map(|hash| hash.hex().as_str().to_owned()).collect();
            match store.note_used(&hashes, at_ms).await {
                Ok(()) => {}
                Err(StoreError::ReadOnly) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot write down when tokens were last used; it is tried again");
                    noted.iter().skip(begun * BATCH).for_each(|hash| self.note(*hash));
                    return;
                }
            }
        }
    }

    fn take(&self) -> Vec<TokenHash> {
        let taken = self.0.iter().map(|set| {
            let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
            // The room stays, for the tokens that come again.
            set.drain().collect::<Vec<_>>()
        });
        taken.flatten().collect()
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The first byte says in which set it is.
        if let Some(last) = self.bytes().last_chunk() {
            state.write_u64(u64::from_le_bytes(*last));
        }
    }
}

impl Hasher for OwnBytes {
    fn write(&mut self, bytes: &[u8]) {
        // Never called: a hash of a token is one number.
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_noted_once_however_often_it_comes_and_is_taken_once() {
        let noted = LastUsed::default();
        let hashes: Vec<TokenHash> = (0..1000).map(|n| TokenHash::of(&format!("token-{n}"))).collect();
        for hash in hashes.iter().chain(&hashes) {
            noted.note(*hash);
        }
        let taken = noted.take();
        assert_eq!(taken.len(), hashes.len());
        assert!(hashes.iter().all(|hash| taken.contains(hash)));
        assert!(noted.take().is_empty());
    }
}
