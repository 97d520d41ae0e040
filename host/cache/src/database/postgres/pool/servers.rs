//! The server that the pool's connections go to, where the URL leaves a choice: looked for again once the one
//! that was chosen is gone, or is of another kind.
//!
//! A look is the business of one task at a time, and of no statement: a statement only says that there is
//! reason to look, and may wait a moment for the outcome. The pool opens its next connection to whatever was
//! found, also for a statement that has been waiting for one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use scopeguard::guard;
use tokio::time::{sleep, timeout};

use super::{PoolState, PostgresPool};
use crate::database::postgres::origin::ServerChoice;
use crate::database::postgres::url::place;

/// Maximum time for the login at one server.
const LOGIN_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks, after one that found a server too: statements that fail together are one reason.
const PAUSE: Duration = Duration::from_millis(250);
/// Maximum time that a statement waits for the outcome.
const PATIENCE: Duration = Duration::from_millis(400);

impl PostgresPool {
    /// Looks for a server in the background, where there is a choice.
    pub(super) fn seek(&self) {
        if self.0.has_choice && !self.0.is_seeking.send_replace(true) {
            self.0.runtime.spawn(PoolState::seek(Arc::downgrade(&self.0)));
        }
    }

    /// Waits for the end of the look that is under way, and not for long.
    pub(super) async fn sought(&self) {
        let mut is_seeking = self.0.is_seeking.subscribe();
        // A look that takes longer goes on without this statement.
        let _ = timeout(PATIENCE, is_seeking.wait_for(|is_seeking| !is_seeking)).await;
    }
}

impl PoolState {
    async fn seek(shared: Weak<Self>) {
        // Should the task end early, with its runtime or by a panic, the next reason begins another one.
        let _ended = guard(Weak::clone(&shared), |shared| {
            if let Some(shared) = shared.upgrade() {
                shared.is_seeking.send_replace(false);
            }
        });
        let mut was_told = false;
        loop {
            let found = {
                let Some(shared) = shared.upgrade() else { return };
                let Some(origin) = &shared.origin else { return };
                match origin.choose(LOGIN_LIMIT).await.and_then(|choice| Ok((choice, origin.options()?))) {
                    Ok((choice, options)) => {
                        let server = place(&options);
                        shared.pool.set_connect_options(options);
                        if choice == ServerChoice::Another {
                            // A connection to the server before is not to be lent any more.
                            shared.epoch.end();
                            shared.close_idle();
                            tracing::warn!(server, "the database is another server of its URL from now on");
                        }
                        true
                    }
                    Err(error) => {
                        if !was_told {
                            tracing::warn!(%error, "no server of the database's URL can be used for now");
                        }
                        was_told = true;
                        false
                    }
                }
            };
            sleep(PAUSE).await;
            if found {
                return;
            }
        }
    }
}
