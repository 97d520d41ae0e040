//! Connections to one PostgreSQL database, and the way of every statement to it and back.
//!
//! The one place that sends anything. It tags what it sends and holds each answer against that, asks a connection for a sign of
//! life before it is used, and closes one whose session has become of no use. What a statement means it does not know.
//!
//! A connection is acquired before the statement is counted and sent, so that "not sent" and "sent, but what became of it?"
//! stay apart.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use scopeguard::{ScopeGuard, guard};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant as Deadline, sleep, timeout, timeout_at};

use super::connect;
use super::failure::Failure;
use super::sessions::{self, LOST, Sessions};
use super::tagged::{ANSWER, Nonce, Parameter, Tagged};
use crate::database::kept::{Kept, Lent};
use crate::{ConnectError, DatabaseError};

/// How long an answer is waited for here: longer than the server's own limit of 30 s, which ends a statement properly.
/// This one is for a server that has vanished without closing the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// How long a connection may take for a sign of life, and one that was kept for its answer, after which another one is used:
/// several round trips, and enough of the time that is left then to open one.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
/// How long a statement of a server's own may wait for a connection.
const OWN_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two looks at a pooler that mixes statements up.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The pool that all statements to one database share. A clone is another handle of it.
#[derive(Clone)]
pub struct PostgresPool(Arc<Shared>);

struct Shared {
    pool: PgPool,
    /// Where it comes from, to be read again. `None` for a pool that somebody else has made.
    origin: Option<connect::Origin>,
    is_checked: bool,
    /// Random bytes that begin the nonces of this pool.
    prefix: [u8; 4],
    nonces: AtomicU64,
    /// Whether a pooler lends sessions, and takes prepared statements along.
    is_lent: AtomicBool,
    /// Why nothing is sent for now.
    held: Mutex<Option<Arc<str>>>,
    /// Whether there is something in `held`: what a statement looks at.
    is_held: AtomicBool,
}

/// How to connect; see [`PostgresPool::connect_with`].
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    pub(super) url: String,
    pub(super) max_connections: u32,
    is_checked: bool,
}

/// Whether a database can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It can be read and written.
    ReadWrite,
    /// It can be read: a standby, or a session that may only read.
    ReadOnly,
}

/// A statement of a program's own that changes rows, for [`PostgresPool::write`].
#[derive(Clone, Debug)]
pub struct PostgresWrite(Tagged);

/// The way of one user of the pool to its connections: with the one that it keeps, and a count of its own.
#[derive(Clone)]
pub(super) struct Link {
    pool: PostgresPool,
    kept: Kept<sqlx::Postgres>,
    sent: Arc<AtomicU64>,
}

impl PostgresOptions {
    /// Connects to `url`, `postgres://user:password@host:port/database`, with 10 connections at most.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), max_connections: 10, is_checked: true }
    }

    /// So many connections at most.
    pub fn max_connections(mut self, max_connections: u32) -> Self {
        self.max_connections = max_connections.max(1);
        self
    }

    /// Takes it on trust that prepared statements stay with their connection, neither looking at the start nor later. What is
    /// mixed up then is an error each time. For a test of just that.
    pub fn without_pooler_check(mut self) -> Self {
        self.is_checked = false;
        self
    }
}

impl PostgresPool {
    /// As [`connect_with`](Self::connect_with), with what [`PostgresOptions::new`] says.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_with(PostgresOptions::new(url)).await
    }

    /// Connects, and finds out what is at the other end. Connections are opened as they are needed.
    ///
    /// The attempt is given up after 5 s. The server is asked to cancel a statement after 30 s, unless `options` in the URL
    /// says something else, and not to send notices. Where a pooler takes no such startup parameter it does without.
    /// A password from a file (`~/.pgpass`, `PGPASSFILE`) is read again once the server refuses the one that was read before.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`], [`ConnectError::Unreachable`]; [`ConnectError::Pooler`] where a pooler loses prepared statements.
    pub async fn connect_with(options: PostgresOptions) -> Result<Self, ConnectError> {
        let origin = connect::Origin::find(&options.url).await?;
        let connect_options = origin.options()?;
        let sessions = if options.is_checked { Some(look(&connect_options).await?) } else { None };
        // What is set in a session that is lent to others is set for them too.
        let is_limited = origin.takes_options() || sessions != Some(Sessions::Own);
        let pool = connect::pool(connect_options, options.max_connections, !is_limited);
        Self::around(pool, Some(origin), sessions)
    }

    /// Uses a pool that exists, with its own limits, and finds out what is at the other end.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] if there is no connection, [`ConnectError::Pooler`] where a pooler loses prepared statements.
    pub async fn from_pool(pool: PgPool) -> Result<Self, ConnectError> {
        let sessions = look(&pool.connect_options()).await?;
        Self::around(pool, None, Some(sessions))
    }

    /// The pool, to share it with the rest of a program.
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// What becomes of a session between two statements, as far as it was looked at.
    pub fn sessions(&self) -> Sessions {
        // A fact that orders nothing else.
        if self.0.is_lent.load(Ordering::Relaxed) { Sessions::Lent } else { Sessions::Own }
    }

    /// Reads the password's file again, and closes connections that are idle: for a program that is told so.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] if the URL is not usable any more, as with a file that it names and that is gone.
    pub fn reload(&self) -> Result<(), ConnectError> {
        if let Some(origin) = &self.0.origin {
            self.0.pool.set_connect_options(origin.options()?);
            self.0.close_idle();
        }
        Ok(())
    }

    /// Whether the database answers, and can be written.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if it does not answer.
    pub async fn health(&self) -> Result<Health, DatabaseError> {
        let statement = Tagged::read("health", |guard| {
            format!("pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', {guard}")
        });
        let rows = self.link().read(&statement, &[]).await.map_err(Failure::of_select)?;
        let is_read_only = rows.first().is_some_and(|row| sqlx::Row::try_get(row, ANSWER).unwrap_or(false));
        Ok(if is_read_only { Health::ReadOnly } else { Health::ReadWrite })
    }

    /// Sends a statement of a program's own, with its parameters as text, and returns how many rows it has changed.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Timeout`] and [`DatabaseError::Lost`] say that it may or may not have been done. After any other
    /// error nothing was changed.
    pub async fn write(&self, statement: &PostgresWrite, parameters: &[&str]) -> Result<u64, DatabaseError> {
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(|text| Parameter::Text(text)).collect();
        let send_by = Deadline::now() + OWN_PATIENCE;
        let rows = self.link().write(&statement.0, &parameters, send_by).await.map_err(Failure::of_issue)?;
        let changed: i64 = rows.first().map_or(0, |row| sqlx::Row::try_get(row, ANSWER).unwrap_or(0));
        Ok(u64::try_from(changed).unwrap_or(0))
    }

    pub(super) fn link(&self) -> Link {
        let kept = Kept::new(self.0.pool.clone(), connect::give_back);
        Link { pool: self.clone(), kept, sent: Arc::default() }
    }

    /// `sessions` is what was seen; nothing is looked at later where nobody has looked before.
    fn around(
        pool: PgPool,
        origin: Option<connect::Origin>,
        sessions: Option<Sessions>,
    ) -> Result<Self, ConnectError> {
        let mut prefix = [0; 4];
        getrandom::fill(&mut prefix)
            .map_err(|error| ConnectError::Unreachable { reason: format!("no random bytes: {error}") })?;
        Ok(Self(Arc::new(Shared {
            pool,
            origin,
            is_checked: sessions.is_some(),
            prefix,
            nonces: AtomicU64::new(0),
            is_lent: AtomicBool::new(sessions == Some(Sessions::Lent)),
            held: Mutex::default(),
            is_held: AtomicBool::new(false),
        })))
    }

    fn nonce(&self) -> Nonce {
        // Relaxed: each number is given out once, and nothing else is ordered by it.
        Nonce::new(self.0.prefix, self.0.nonces.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends nothing more until it is known what is at the other end.
    fn suspect(&self) {
        if !self.0.is_checked || !self.0.hold(LOST.into()) {
            return;
        }
        tracing::error!(
            "statements are mixed up between here and the database: nothing is sent until that is over"
        );
        tokio::spawn(Shared::look_until_it_is_over(Arc::downgrade(&self.0)));
    }
}

impl PostgresWrite {
    /// A statement for `purpose`, which is in its tag, that changes one row at most: two are an error that undoes it. `change`
    /// makes it from the condition without which it must change nothing; its own parameters begin with `$4`, and it ends with
    /// `RETURNING 1 AS stored`, or some other column `stored`.
    pub fn new(purpose: &str, change: impl FnOnce(&str) -> String) -> Self {
        Self(Tagged::write(purpose, change, ""))
    }
}

impl Shared {
    /// Returns whether it was not held before.
    fn hold(&self, words: Arc<str>) -> bool {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        !self.is_held.swap(true, Ordering::SeqCst)
    }

    fn held(&self) -> Result<(), Failure> {
        if !self.is_held.load(Ordering::SeqCst) {
            return Ok(());
        }
        let words = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(Failure::Held(words.unwrap_or_else(|| LOST.into())))
    }

    async fn look_until_it_is_over(shared: Weak<Self>) {
        loop {
            let Some(options) = shared.upgrade().map(|shared| shared.pool.connect_options()) else { return };
            let seen = sessions::look(&options).await;
            let Some(shared) = shared.upgrade() else { return };
            match seen {
                Ok(sessions) => {
                    shared.is_lent.store(sessions == Sessions::Lent, Ordering::Relaxed);
                    // Whatever was prepared before is not to be relied on.
                    shared.close_idle();
                    shared.is_held.store(false, Ordering::SeqCst);
                    tracing::info!(?sessions, "statements reach the database as they are meant again");
                    return;
                }
                Err(error) => {
                    shared.hold(error.to_string().into());
                }
            }
            drop(shared);
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Closes what is idle: it goes without a farewell, which the other end might not read.
    fn close_idle(&self) {
        while let Some(connection) = self.pool.try_acquire() {
            drop(connection.detach());
        }
    }

    /// Reads the password again. Returns whether it is worth another attempt.
    fn renew_login(&self) -> bool {
        let Some(options) = self.origin.as_ref().and_then(|origin| origin.options().ok()) else {
            return false;
        };
        self.pool.set_connect_options(options);
        true
    }
}

impl Link {
    pub(super) fn sent(&self) -> u64 {
        // A statistic that orders nothing else.
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn pool(&self) -> &PostgresPool {
        &self.pool
    }

    /// Sends a statement that changes nothing.
    pub(super) async fn read(
        &self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<PgRow>, Failure> {
        self.shared().held()?;
        if let Some(kept) = self.kept.take() {
            match timeout(SIGN_OF_LIFE, self.send_over(kept, statement, parameters)).await {
                Ok(Ok(sent)) => match self.settle(sent, true) {
                    Err(failure) if failure.spoils_connection() => self.shared().held()?,
                    answer => return answer,
                },
                Ok(Err(failure)) => return Err(failure),
                // One that was kept was not asked for a sign of life. The next one is.
                Err(_elapsed) => {}
            }
        }
        match self.send_once(statement, parameters, None, true).await {
            Err(failure) if failure.is_of_stale_session() => {
                self.send_once(statement, parameters, None, true).await
            }
            answer => answer,
        }
    }

    /// Sends a statement that changes rows, and waits for the end of its answer, which is when it is committed. Once
    /// `send_by` has passed it is not sent.
    pub(super) async fn write(
        &self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
        send_by: Deadline,
    ) -> Result<Vec<PgRow>, Failure> {
        self.shared().held()?;
        match self.send_once(statement, parameters, Some(send_by), false).await {
            // Nothing was changed, and the next session may do it.
            Err(failure) if failure.is_of_stale_session() => {
                self.send_once(statement, parameters, Some(send_by), false).await
            }
            answer => answer,
        }
    }

    /// A connection for a look at the table, which does not count.
    pub(super) async fn glance(&self) -> Result<Glance<'_>, Failure> {
        Ok(Glance { lent: guard(self.acquire().await?, Lent::close as fn(_)), link: self })
    }

    /// Over a connection that was asked for a sign of life. One that was kept is not used for a write: were it lost, nobody
    /// would know what became of it.
    async fn send_once(
        &self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
        send_by: Option<Deadline>,
        may_keep: bool,
    ) -> Result<Vec<PgRow>, Failure> {
        self.kept.make_way();
        let lent = match send_by {
            None => self.acquire().await?,
            Some(send_by) => {
                timeout_at(send_by, self.acquire()).await.map_err(|_elapsed| Failure::Late)??
            }
        };
        if send_by.is_some_and(|send_by| send_by <= Deadline::now()) {
            self.kept.give_back(lent);
            return Err(Failure::Late);
        }
        let sent = self.send_over(lent, statement, parameters).await?;
        self.settle(sent, may_keep)
    }

    /// A connection whose session is alive, and known by the server's process.
    async fn acquire(&self) -> Result<Lent<sqlx::Postgres>, Failure> {
        let mut is_renewed = false;
        // Each round closes one that gives no sign of life; then there is none left that was opened before.
        let mut rounds = self.shared().pool.options().get_max_connections();
        loop {
            let lent = match self.kept.acquire().await.map_err(Failure::NotSent) {
                Err(failure) if failure.is_login_refused() && !is_renewed && self.shared().renew_login() => {
                    is_renewed = true;
                    continue;
                }
                lent => lent?,
            };
            let mut lent = guard(lent, Lent::close);
            let asked = sessions::process(lent.connection().map_err(Failure::NotSent)?);
            match timeout(SIGN_OF_LIFE, asked).await {
                Ok(Ok(process)) => {
                    let mut lent = ScopeGuard::into_inner(lent);
                    lent.process = Some(process);
                    return Ok(lent);
                }
                Ok(Err(error)) if rounds == 0 => return Err(Failure::NotSent(error)),
                Err(_elapsed) if rounds == 0 => return Err(Failure::NotSent(sqlx::Error::PoolTimedOut)),
                // Those that lie idle share the fate of one that is silent: waiting for each would take too long.
                Err(_elapsed) if self.shared().origin.is_some() => self.shared().close_idle(),
                Ok(Err(_)) | Err(_) => {}
            }
            rounds -= 1;
        }
    }

    /// Sends one statement. The connection comes back unless it is silent.
    async fn send_over(
        &self,
        lent: Lent<sqlx::Postgres>,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Sent, Failure> {
        // Given up half-way, it still waits for an answer: it is closed then and not handed to the next borrower.
        let mut lent = guard(lent, Lent::close);
        let nonce = self.pool.nonce();
        // A statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let connection = lent.connection().map_err(Failure::NotSent)?;
        let exchanged = timeout(ANSWER_TIMEOUT, exchange(connection, statement, &nonce, parameters)).await;
        let answer = exchanged.map_err(|_elapsed| Failure::Silent)?;
        Ok(Sent { lent: ScopeGuard::into_inner(lent), answer })
    }

    /// Decides what becomes of the connection, and of the pool, by the answer that came over it.
    fn settle(&self, sent: Sent, may_keep: bool) -> Result<Vec<PgRow>, Failure> {
        let Sent { mut lent, answer } = sent;
        match answer {
            Ok((rows, process)) => {
                let is_another = lent.process.replace(process).is_some_and(|before| before != process);
                // The answer is the right one all the same.
                if is_another && self.pool.sessions() == Sessions::Own {
                    self.pool.suspect();
                    lent.close();
                } else if may_keep {
                    self.kept.keep(lent);
                } else {
                    self.kept.give_back(lent);
                }
                Ok(rows)
            }
            Err(failure) => {
                if failure.spoils_connection() {
                    lent.close();
                } else {
                    self.kept.give_back(lent);
                }
                if failure.is_mix_up() {
                    self.pool.suspect();
                }
                if failure.is_of_stale_session() {
                    self.kept.discard();
                    self.shared().close_idle();
                }
                Err(failure)
            }
        }
    }

    fn shared(&self) -> &Shared {
        &self.pool.0
    }
}

/// A connection over which a table is looked at. It is closed unless it comes to its end.
pub(super) struct Glance<'a> {
    lent: ScopeGuard<Lent<sqlx::Postgres>, fn(Lent<sqlx::Postgres>)>,
    link: &'a Link,
}

impl Glance<'_> {
    pub(super) async fn read(
        &mut self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<PgRow>, Failure> {
        let nonce = self.link.pool.nonce();
        let connection = self.lent.connection().map_err(Failure::NotSent)?;
        Ok(exchange(connection, statement, &nonce, parameters).await?.0)
    }

    /// Has the server parse a statement with so many texts as parameters of its own, and nothing more.
    pub(super) async fn prepare(&mut self, statement: &Tagged, texts: usize) -> Result<(), Failure> {
        let connection = self.lent.connection().map_err(Failure::NotSent)?;
        statement.prepare(connection, texts).await.map_err(Failure::Sent)
    }

    pub(super) fn end(self) {
        self.link.kept.keep(ScopeGuard::into_inner(self.lent));
    }
}

/// Sends a statement, and holds the answer against it: the rows, and the server's process that has answered.
pub(super) async fn exchange(
    connection: &mut PgConnection,
    statement: &Tagged,
    nonce: &Nonce,
    parameters: &[Parameter<'_>],
) -> Result<(Vec<PgRow>, i32), Failure> {
    let rows = statement.query(nonce, parameters).fetch_all(connection).await.map_err(Failure::Sent)?;
    let process = statement.check(nonce, &rows).map_err(Failure::Mixed)?;
    Ok((rows, process))
}

/// Looks at what is there, and names the server where it cannot be used.
async fn look(options: &PgConnectOptions) -> Result<Sessions, ConnectError> {
    sessions::look(options).await.map_err(|error| connect::at(options, error))
}

/// A statement that has come to its end, and the connection that it went over.
struct Sent {
    lent: Lent<sqlx::Postgres>,
    answer: Result<(Vec<PgRow>, i32), Failure>,
}

/// Without the pool, whose own output names the way to the server.
impl fmt::Debug for PostgresPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPool").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &mut f.debug_struct("PostgresOptions");
        options.field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}
