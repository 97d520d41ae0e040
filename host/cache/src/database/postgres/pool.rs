//! Connections to one PostgreSQL database, and the path of every statement to it and back.
//!
//! All users of a pool share its state: where its connections come from, what is at their other end, and
//! whether anything may be sent at this moment. Each user sends by a [`Link`] of its own. The meaning of a
//! statement is not known here.

mod link;
mod options;
mod query;
mod refusal;
mod servers;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use scopeguard::{ScopeGuard, guard};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep, sleep_until};

use super::connect::{self, CONNECT_TIMEOUT, RETURN_TIMEOUT};
use super::failure::PostgresFailure;
use super::origin::ServerOrigin;
use super::sessions::{self, SUSPECTED, Sessions};
use super::tagged::{ANSWER, Nonce, Parameter, Tagged};
use super::url::WantedSession;
use crate::database::sticky::Epoch;
use crate::{ConnectError, DatabaseError};

pub(super) use self::link::Link;
pub use self::options::PostgresOptions;
pub use self::query::PostgresQuery;
use self::refusal::Refusals;

/// Maximum wait for a connection of a statement of the program's own.
const OWN_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two looks at a pooler that mixes statements up.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The pool that all statements to one database share. A clone is another handle of it.
#[derive(Clone)]
pub struct PostgresPool(Arc<PoolState>);

struct PoolState {
    /// The runtime on which the pool was made. A caller's may be one that nothing drives any more.
    runtime: Handle,
    pool: PgPool,
    /// The origin of the connections, to be read again. `None` for a pool that the program has made.
    origin: Option<ServerOrigin>,
    /// The kind of session that is wanted.
    wanted: WantedSession,
    /// Whether it may not always be the same server that is connected to.
    has_choice: bool,
    is_checked: bool,
    /// Random bytes that begin the nonces of this pool.
    prefix: [u8; 4],
    nonces: AtomicU64,
    /// Whether a pooler lends sessions, and takes prepared statements along.
    is_lent: AtomicBool,
    /// The last time that idle connections were closed because of a stale session.
    closed_idle_at: Mutex<Option<Deadline>>,
    /// Whether a server is being looked for.
    is_seeking: watch::Sender<bool>,
    /// The epoch, which ends when a suspicion begins, and when it is over.
    epoch: Epoch,
    /// The reason why nothing is sent for now.
    held: Mutex<Option<Arc<str>>>,
    /// Whether `held` is set: the check that every statement makes.
    is_held: AtomicBool,
    /// Whether new connections are refused.
    refusals: Refusals,
}

/// The state of a database: whether it can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// The database can be read and written.
    ReadWrite,
    /// The database can only be read: a standby, or a session that may only read.
    ReadOnly,
}

/// A statement of a program's own that changes rows, for [`PostgresPool::write`].
#[derive(Clone, Debug)]
pub struct PostgresWrite(Tagged);

impl PostgresPool {
    /// Connects as [`connect_with`](Self::connect_with) does, with what [`PostgresOptions::new`] says.
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_with(PostgresOptions::new(url)).await
    }

    /// Connects, and finds out what is at the other end of the connection. Connections are opened as they are
    /// needed.
    ///
    /// The first login is given up after 5 s, and so is the look at the other end. The server is asked to
    /// cancel a statement after 30 s, unless `options` in the URL says something else, and not to send
    /// notices. Where a pooler refuses such a startup parameter, it is left out. A password from a file
    /// (`~/.pgpass`, `PGPASSFILE`) is read again once the server refuses the password that was read before.
    ///
    /// The URL may name several servers (`h1:5432,h2:5432`), and by `target_session_attrs` the kind of
    /// session that is wanted, both as libpq has them. They are tried in their order, and again in their
    /// order once a connection is lost or its session is of another kind by now; all connections go to one
    /// of them.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`], [`ConnectError::Unreachable`]; [`ConnectError::Pooler`] where a pooler loses
    /// prepared statements.
    pub async fn connect_with(options: PostgresOptions) -> Result<Self, ConnectError> {
        let origin = ServerOrigin::find(&options.url, options.source, CONNECT_TIMEOUT).await?;
        let connect_options = origin.options()?;
        let sessions = if options.is_checked { Some(look(&connect_options).await?) } else { None };
        // A setting of a session that is lent to others applies to them too.
        let is_limited = origin.takes_options() || sessions != Some(Sessions::Own);
        if !origin.takes_options() && sessions == Some(Sessions::PerTransaction) {
            tracing::warn!(
                "the pooler before the database takes no options, so that no statement_timeout is set: set \
                 it for the role (ALTER ROLE ... SET statement_timeout = '30s')"
            );
        }
        let pool =
            connect::pool(connect_options, options.max_connections, options.acquire_timeout, !is_limited);
        Self::around(pool, Some(origin), sessions)
    }

    /// Uses a pool that exists, with its own limits, and finds out what is at the other end of its
    /// connections.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] if there is no connection, [`ConnectError::Pooler`] where a pooler loses
    /// prepared statements.
    pub async fn from_pool(pool: PgPool) -> Result<Self, ConnectError> {
        let sessions = look(&pool.connect_options()).await?;
        Self::around(pool, None, Some(sessions))
    }

    /// The pool, to share it with the rest of a program.
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// The fate of a session between two statements, as far as it was looked at.
    pub fn sessions(&self) -> Sessions {
        // Relaxed: a fact that orders nothing else.
        if self.0.is_lent.load(Ordering::Relaxed) { Sessions::PerTransaction } else { Sessions::Own }
    }

    /// Reads the password's file again, and the URL where there is a [source](PostgresOptions::url_source) of
    /// it, and closes connections that are idle: for a program that is asked to.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] if the URL is not usable any more, as with a file that it names and that is
    /// gone, or if it is another one by more than its password.
    pub fn reload(&self) -> Result<(), ConnectError> {
        if let Some(origin) = &self.0.origin {
            self.0.pool.set_connect_options(origin.renewed()?);
            self.0.close_idle();
            self.seek();
        }
        Ok(())
    }

    /// Asks the database whether it can be written.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if it does not answer.
    pub async fn health(&self) -> Result<Health, DatabaseError> {
        let statement = Tagged::read("health", |guard| {
            format!("pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', {guard}")
        });
        let rows = self.link().read(&statement, &[]).await.map_err(PostgresFailure::of_select)?;
        let is_read_only = rows.first().is_some_and(|row| sqlx::Row::try_get(row, ANSWER).unwrap_or(false));
        Ok(if is_read_only { Health::ReadOnly } else { Health::ReadWrite })
    }

    /// Sends a statement of a program's own, with its parameters as text, and returns how many rows it has
    /// changed.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Timeout`] and [`DatabaseError::Lost`] say that the outcome is unknown. After any
    /// other error nothing was changed.
    pub async fn write(&self, statement: &PostgresWrite, parameters: &[&str]) -> Result<u64, DatabaseError> {
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(|text| Parameter::Text(text)).collect();
        let send_by = Deadline::now() + OWN_LIMIT;
        let rows =
            self.link().write(&statement.0, &parameters, send_by).await.map_err(PostgresFailure::of_issue)?;
        let changed: i64 = rows.first().map_or(0, |row| sqlx::Row::try_get(row, ANSWER).unwrap_or(0));
        Ok(u64::try_from(changed).unwrap_or(0))
    }

    /// Makes a pool; `sessions` is what was seen, and without it nothing is looked at later.
    fn around(
        pool: PgPool,
        origin: Option<ServerOrigin>,
        sessions: Option<Sessions>,
    ) -> Result<Self, ConnectError> {
        let mut prefix = [0; 4];
        getrandom::fill(&mut prefix)
            .map_err(|error| ConnectError::Unreachable { reason: format!("no random bytes: {error}") })?;
        Ok(Self(Arc::new(PoolState {
            runtime: Handle::current(),
            pool,
            wanted: origin.as_ref().map_or(WantedSession::Any, ServerOrigin::wanted),
            has_choice: origin.as_ref().is_some_and(ServerOrigin::has_choice),
            origin,
            is_checked: sessions.is_some(),
            prefix,
            nonces: AtomicU64::new(0),
            is_lent: AtomicBool::new(sessions == Some(Sessions::PerTransaction)),
            closed_idle_at: Mutex::default(),
            is_seeking: watch::Sender::new(false),
            epoch: Epoch::default(),
            held: Mutex::default(),
            is_held: AtomicBool::new(false),
            refusals: Refusals::default(),
        })))
    }

    fn nonce(&self) -> Nonce {
        // Relaxed: each number is given out once, and nothing else is ordered by it.
        Nonce::new(self.0.prefix, self.0.nonces.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends nothing more until it is known what is at the other end.
    fn suspect(&self) {
        if !self.0.is_checked || !self.0.hold(SUSPECTED.into()) {
            return;
        }
        tracing::error!("{SUSPECTED}");
        // Connections in use are no better than idle ones, and come back later.
        self.0.epoch.end();
        self.0.runtime.spawn(PoolState::look_until_it_is_over(Arc::downgrade(&self.0)));
    }
}

impl PostgresWrite {
    /// Makes a statement for `purpose`, which is in its tag, that changes one row at most: two are an error
    /// that undoes it. `change` makes it from the condition without which it must change nothing; its own
    /// parameters begin with `$4`, and it ends with `RETURNING 1 AS stored`, or some other column `stored`.
    pub fn new(purpose: &str, change: impl FnOnce(&str) -> String) -> Self {
        Self(Tagged::write(purpose, change, ""))
    }
}

impl PoolState {
    /// Holds back statements for this reason. Returns whether they were not held back before.
    fn hold(&self, words: Arc<str>) -> bool {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        !self.is_held.swap(true, Ordering::SeqCst)
    }

    fn held(&self) -> Result<(), PostgresFailure> {
        if !self.is_held.load(Ordering::SeqCst) {
            return Ok(());
        }
        let words = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(PostgresFailure::Held(words.unwrap_or_else(|| SUSPECTED.into())))
    }

    /// Waits until the server is known to refuse connections, and returns its words.
    async fn refused(&self) -> Arc<str> {
        self.refusals.refused(&self.pool, &self.runtime).await
    }

    async fn look_until_it_is_over(shared: Weak<Self>) {
        // Should the task end early, with its runtime or by a panic, the next mix-up begins another one.
        let released = guard(Weak::clone(&shared), |shared| {
            if let Some(shared) = shared.upgrade() {
                shared.is_held.store(false, Ordering::SeqCst);
            }
        });
        let returned_by = Deadline::now() + RETURN_TIMEOUT;
        loop {
            let Some(options) = shared.upgrade().map(|shared| {
                // Sessions with earlier prepared statements cannot be relied on. And a pooler by session may
                // have no more connections to give while ours are open.
                shared.close_idle();
                shared.pool.connect_options()
            }) else {
                return;
            };
            let seen = sessions::look(&options).await;
            if seen.is_ok() {
                // A connection that was on its way back to the pool when this began is idle or closed by
                // then.
                sleep_until(returned_by).await;
            }
            let Some(shared) = shared.upgrade() else { return };
            match seen {
                Ok(sessions) => {
                    shared.is_lent.store(sessions == Sessions::PerTransaction, Ordering::Relaxed);
                    // For statements that had passed the check of `held` when this began.
                    shared.epoch.end();
                    shared.close_idle();
                    shared.is_held.store(false, Ordering::SeqCst);
                    // Another task ends a suspicion that begins from here on.
                    ScopeGuard::into_inner(released);
                    tracing::info!(?sessions, "statements reach the database as they are meant again");
                    return;
                }
                Err(error) => {
                    shared.hold(error.to_string().into());
                    // No statement gets as far as a login meanwhile, and the password may be another one by
                    // now.
                    shared.renew_login();
                }
            }
            drop(shared);
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Closes idle connections, at most once a second: a standby that refuses each write must not cost the
    /// pool for each.
    fn close_idle_if_due(&self) {
        let (now, last) =
            (Deadline::now(), &mut *self.closed_idle_at.lock().unwrap_or_else(PoisonError::into_inner));
        let is_due = last.is_none_or(|last| now.duration_since(last) >= LOOK_AGAIN);
        if is_due {
            *last = Some(now);
            self.close_idle();
        }
    }

    /// Closes idle connections without a farewell, which the other end might not read.
    fn close_idle(&self) {
        while let Some(connection) = self.pool.try_acquire() {
            drop(connection.detach());
        }
    }

    /// Reads the password again. Returns whether it is worth another attempt.
    fn renew_login(&self) -> bool {
        let Some(options) = self.origin.as_ref().and_then(|origin| origin.renewed().ok()) else {
            return false;
        };
        self.pool.set_connect_options(options);
        true
    }
}

/// Looks at what is at the other end, and names the server where it cannot be used.
async fn look(options: &PgConnectOptions) -> Result<Sessions, ConnectError> {
    sessions::look(options).await.map_err(|error| connect::at(options, error))
}

/// The output leaves out the pool, whose own output names the way to the server.
impl fmt::Debug for PostgresPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPool").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}
