//! Whether the server refuses new connections, found out beside the pool.
//!
//! A pool tries a refused connection again until its time is up, and then says no more than that time is up:
//! a caller waits for most of a second, and the reason is lost. Here the same attempt is made beside it, so
//! that a statement which needs a new connection fails at once, with the reason, for as long as the server
//! refuses.
//!
//! Only a refusal counts, never silence: a server that is slow may still answer the pool's own attempt. And a
//! server that has no connection left is no reason to fail at once, since one of ours may come back.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep, timeout};

use crate::database::postgres::connect::{CONNECT_TIMEOUT, RETURN_TIMEOUT};
use crate::database::postgres::failure::describe;

/// Wait for a connection after which it is looked at why there is none: longer than one takes to be opened
/// nearby.
const PATIENCE: Duration = Duration::from_millis(100);
/// Pause between two attempts while the server refuses: a statement that comes meanwhile waits for the next.
const AGAIN: Duration = Duration::from_millis(100);
/// Minimum time between two looks that found nothing: under load, waiting is not the server's fault.
const SELDOM: Duration = Duration::from_secs(1);

/// The answer to the last attempt to open a connection.
#[derive(Clone, Debug, Default)]
enum Door {
    /// The server accepts connections, as far as that is known.
    #[default]
    Open,
    /// The server has as many connections as it may have.
    Full(Arc<str>),
    /// The server refuses.
    Shut(Arc<str>),
}

impl Door {
    fn words(&self) -> Option<Arc<str>> {
        match self {
            Self::Open => None,
            Self::Full(words) | Self::Shut(words) => Some(Arc::clone(words)),
        }
    }
}

/// What is known of the server that a pool connects to.
#[derive(Default)]
pub(super) struct Refusals(Arc<Findings>);

#[derive(Default)]
struct Findings {
    door: watch::Sender<Door>,
    attempts: Mutex<Attempts>,
}

#[derive(Default)]
struct Attempts {
    is_under_way: bool,
    ended_at: Option<Deadline>,
}

impl Refusals {
    /// Returns the reason why a connection could not be opened in time, where that is known.
    pub(super) fn why(&self) -> Option<Arc<str>> {
        self.0.door.borrow().words()
    }

    /// Waits until it is known that the server refuses connections, and returns its words. This never ends
    /// where the server accepts them, or says nothing. Attempts are made in tasks of `runtime`.
    pub(super) async fn refused(&self, pool: &PgPool, runtime: &Handle) -> Arc<str> {
        let mut door = self.0.door.subscribe();
        // What was found before this statement may be over by now: only a later attempt counts.
        let mut refused = pin!(async {
            while door.changed().await.is_ok() {
                if let Door::Shut(words) = &*door.borrow_and_update() {
                    return Arc::clone(words);
                }
            }
            // The sender lives as long as the pool.
            std::future::pending().await
        });
        if let Ok(words) = timeout(PATIENCE, refused.as_mut()).await {
            return words;
        }
        if self.0.begin() {
            runtime.spawn(attempt_until_it_opens(Attempting(Arc::downgrade(&self.0)), pool.clone()));
        }
        refused.await
    }
}

impl Findings {
    /// Returns whether an attempt may begin now, of which there is one at a time.
    fn begin(&self) -> bool {
        let attempts = &mut *self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = attempts.ended_at.is_none_or(|ended_at| ended_at.elapsed() >= SELDOM);
        is_due && !std::mem::replace(&mut attempts.is_under_way, true)
    }
}

/// Attempts that are under way. However they end, others may begin then, and nothing is refused
/// any more.
struct Attempting(Weak<Findings>);

impl Drop for Attempting {
    fn drop(&mut self) {
        let Some(findings) = self.0.upgrade() else { return };
        if matches!(*findings.door.borrow(), Door::Shut(_)) {
            findings.door.send_replace(Door::Open);
        }
        *findings.attempts.lock().unwrap_or_else(PoisonError::into_inner) =
            Attempts { is_under_way: false, ended_at: Some(Deadline::now()) };
    }
}

/// Tries to connect until the server does not refuse any more.
async fn attempt_until_it_opens(attempting: Attempting, pool: PgPool) {
    while !pool.is_closed() {
        let options = pool.connect_options();
        let found = match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => {
                // A failed goodbye concerns the other end only.
                let _ = timeout(RETURN_TIMEOUT, connection.close()).await;
                Door::Open
            }
            Ok(Err(error)) => answer(&error),
            Err(_elapsed) => Door::Open,
        };
        let Some(findings) = attempting.0.upgrade() else { return };
        let is_shut = matches!(found, Door::Shut(_));
        findings.door.send_replace(found);
        drop(findings);
        if !is_shut {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// Converts an error of a login. It counts where the pool would try again, and say no more; all others the
/// pool returns by itself.
fn answer(error: &sqlx::Error) -> Door {
    let words = || format!("no connection can be opened: {}", describe(error)).into();
    match error {
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Door::Shut(words())
        }
        sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
            // It starts, or it stops.
            Some("57P03") => Door::Shut(words()),
            Some("53300") => Door::Full(words()),
            _ => Door::Open,
        },
        _ => Door::Open,
    }
}
