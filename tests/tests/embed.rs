//! The cache inside a program: with the program's own database, its own runtimes, its own keys, many of them
//! at once.

mod broken;
mod changes;
mod entry;
mod many;
mod runtime;
mod seen;
mod transaction;
mod unsent;
mod verify;

use leasehold::{Database, SecretCache, WorkspaceId};
use leasehold_tests::MAX_WAIT;

fn id(text: &str) -> WorkspaceId {
    WorkspaceId::new(text).expect("a usable id")
}

/// Returns a cache with the default policy, whose callers wait for as long as it takes.
async fn cache(database: impl Database) -> SecretCache {
    let builder = SecretCache::builder().database(database).database_timeout(MAX_WAIT);
    builder.build().await.expect("the default policy is good")
}
