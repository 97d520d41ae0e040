//! The changes that a database tells of: each takes the entry out, and makes what is in flight for it too old
//! to be stored or joined.
//!
//! There is one task for each cache whose database tells of any. It holds the cache weakly and ends with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::SecretCache;
use crate::core::Core;
use crate::{Changes, RowChange};

/// Interval at which the task looks whether there still is a cache.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before another stream is asked for.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn start(core: &Arc<Core>) {
    if let Some(changes) = stream(core) {
        core.statements.runtime.spawn(follow(Arc::downgrade(core), changes));
    }
}

/// Returns the stream of the database, whose code may be the program's own.
fn stream(core: &Core) -> Option<Changes> {
    let database = &core.statements.database;
    catch_unwind(AssertUnwindSafe(|| database.changes())).unwrap_or_else(|_| {
        error!("the database panicked when it was asked for its changes");
        None
    })
}

async fn follow(core: Weak<Core>, mut changes: Changes) {
    loop {
        drop_changed(&core, changes).await;
        // Nothing to say where the cache has ended.
        if core.strong_count() > 0 {
            warn!("the database tells of no changes any more; it is asked again");
        }
        changes = loop {
            sleep(PAUSE).await;
            let Some(core) = core.upgrade() else { return };
            if let Some(changes) = stream(&core) {
                SecretCache { core }.reset();
                break changes;
            }
        };
    }
}

/// Drops the entry of each row that changes, until the stream or the cache has ended.
async fn drop_changed(core: &Weak<Core>, mut changes: Changes) {
    loop {
        let next = AssertUnwindSafe(changes.next()).catch_unwind();
        let change = match timeout(LOOK, next).await {
            Ok(Ok(Some(change))) => Some(change),
            Ok(Ok(None)) => return,
            Ok(Err(_)) => return error!("the stream of the database's changes panicked"),
            Err(_) => None,
        };
        let Some(core) = core.upgrade() else { return };
        let cache = SecretCache { core };
        match change {
            Some(RowChange::One(workspace)) => cache.remove(&workspace),
            Some(RowChange::Any) => cache.reset(),
            None => {}
        }
    }
}
