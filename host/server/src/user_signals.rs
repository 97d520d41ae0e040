//! SIGUSR1 and SIGUSR2, which end a process that does not listen for them.
//!
//! The first logs the state of the caches, for an operator without a token at hand. The second means nothing,
//! and says so. Neither changes anything.

use std::io;
use std::sync::Arc;

use leasehold::{PolicyStatus, Stats};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;

/// The two signals. They end the process no more.
pub(crate) struct UserSignals {
    first: Signal,
    second: Signal,
}

impl UserSignals {
    pub(crate) fn listen() -> io::Result<Self> {
        let (first, second) = (SignalKind::user_defined1(), SignalKind::user_defined2());
        Ok(Self { first: signal(first)?, second: signal(second)? })
    }

    /// Answers the signals for as long as the server runs.
    pub(crate) async fn answer(mut self, app: Arc<App>) {
        loop {
            tokio::select! {
                _ = self.first.recv() => {
                    log_state("secrets", &app.secrets.stats(), &app.secrets.policy());
                    log_state("tokens", &app.tokens.stats(), &app.tokens.policy());
                }
                _ = self.second.recv() => {
                    tracing::info!("SIGUSR2 means nothing here; SIGUSR1 logs the state of the caches");
                }
            }
        }
    }
}

fn log_state(cache: &str, stats: &Stats, policy: &PolicyStatus) {
    tracing::info!(
        cache,
        policy = policy.name,
        generation = policy.generation,
        entries = stats.entries,
        in_flight = stats.in_flight,
        hits = stats.hits,
        misses = stats.misses,
        stale = stats.stale,
        errors = stats.errors,
        overloaded = stats.overloaded,
        statements = stats.statements,
        "the state of a cache, as SIGUSR1 asks for it"
    );
}
