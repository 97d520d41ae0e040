//! The changes that a database tells of: each takes the entry out, and makes what is in flight for it too old
//! to be stored or joined.
//!
//! There is one task for each cache whose database tells of any. It holds the cache weakly and ends with it.
//! The stream is the program's own code: a panic in it ends the stream, never the task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::SecretCache;
use crate::core::Core;
use crate::{Changes, RowChange, blocking};

/// Interval at which the task looks whether there still is a cache.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before another stream is asked for, and the most to which it grows while none gives a change: each
/// new stream costs every entry.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

struct Follower {
    core: Weak<Core>,
    changes: Option<Changes>,
    pause: Duration,
    /// Whether the log has it already that there are no changes.
    has_warned: bool,
}

pub(super) fn start(core: &Arc<Core>) {
    let changes = match catch_unwind(AssertUnwindSafe(|| core.statements.database.changes())) {
        Ok(None) => return,
        Ok(changes) => changes,
        // The next attempt may fare better.
        Err(_) => None,
    };
    let follower = Follower { core: Arc::downgrade(core), changes, pause: PAUSE, has_warned: false };
    core.statements.runtime.spawn(follower.run());
}

impl Follower {
    async fn run(mut self) {
        while self.core.strong_count() > 0 {
            // A panic of the stream or of the log's collector ends this round alone.
            if AssertUnwindSafe(self.follow()).catch_unwind().await.is_err() {
                let _ =
                    catch_unwind(|| error!("the changes of the database panicked; they are asked for again"));
            }
        }
    }

    /// Follows one stream to its end, and asks for the next one after a pause.
    async fn follow(&mut self) {
        if let Some(changes) = self.changes.take() {
            self.drop_changed(changes).await;
        }
        if self.core.strong_count() > 0 && !std::mem::replace(&mut self.has_warned, true) {
            warn!("the database tells of no changes any more; it is asked again");
        }
        sleep(self.pause).await;
        self.pause = (2 * self.pause).min(MAX_PAUSE);
        let Some(core) = self.core.upgrade() else { return };
        self.changes = core.statements.database.changes();
        if self.changes.is_some() {
            // What has changed in between is not known.
            reset(SecretCache { core }).await;
        }
    }

    /// Drops the entry of each row that changes, until the stream or the cache has ended.
    async fn drop_changed(&mut self, mut changes: Changes) {
        loop {
            // A stream that always has a change must not keep the runtime from all other tasks.
            consume_budget().await;
            let change = match timeout(LOOK, changes.next()).await {
                Ok(Some(change)) => Some(change),
                Ok(None) => return,
                Err(_) => None,
            };
            let Some(core) = self.core.upgrade() else { return };
            let Some(change) = change else { continue };
            (self.pause, self.has_warned) = (PAUSE, false);
            match change {
                RowChange::One(workspace) => core.remove(&workspace),
                RowChange::Any => reset(SecretCache { core }).await,
            }
        }
    }
}

/// Drops every entry, on a thread that may block: there may be a million.
async fn reset(cache: SecretCache) {
    let handle = cache.clone();
    if blocking::run(move || handle.reset()).await.is_err() {
        cache.reset();
    }
}
