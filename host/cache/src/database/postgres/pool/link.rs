//! The path of one user of a pool to the database and back.
//!
//! This is the only file that sends the statements of a pool's users. It tags what it sends and holds each
//! answer against that, asks a connection for a sign of life before it is used, and closes a connection whose
//! session has become useless.
//!
//! A connection is acquired before the statement is counted and sent, so that "not sent" and "sent, but what
//! became of it?" stay apart.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scopeguard::{ScopeGuard, guard};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use super::{PoolState, PostgresPool};
use crate::database::postgres::connect;
use crate::database::postgres::exchange::exchange;
use crate::database::postgres::failure::PostgresFailure;
use crate::database::postgres::sessions::{self, Sessions};
use crate::database::postgres::tagged::{Parameter, Tagged};
use crate::database::sticky::{Borrowed, StickyConnection};

/// Maximum wait for an answer: longer than the server's own limit of 30 s, which ends a statement properly.
/// This limit is for a server that has vanished without closing the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// Maximum time that a connection may take for a sign of life, and a kept connection for its answer, after
/// which another one is used: several round trips, and short enough that the rest of the time is enough to
/// open one.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
/// Maximum of that time after other connections were silent: perhaps the path is that long.
const MAX_SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Time after which a connection that has not come yet is a reason to look for another server.
const SLOW: Duration = Duration::from_millis(100);

/// The path of one user of the pool to its connections, with the connection that it keeps, and a count of its
/// own.
#[derive(Clone)]
pub(in crate::database::postgres) struct Link {
    pool: PostgresPool,
    sticky: StickyConnection<sqlx::Postgres>,
    sent: Arc<AtomicU64>,
}

impl PostgresPool {
    /// Makes a link to the pool's connections for one more user.
    pub(in crate::database::postgres) fn link(&self) -> Link {
        let shared = &self.0;
        let sticky = StickyConnection::new(shared.pool.clone(), connect::give_back, shared.epoch.clone());
        Link { pool: self.clone(), sticky, sent: Arc::default() }
    }
}

impl Link {
    pub(in crate::database::postgres) fn sent(&self) -> u64 {
        // Relaxed: a statistic that orders nothing else.
        self.sent.load(Ordering::Relaxed)
    }

    pub(in crate::database::postgres) fn pool(&self) -> &PostgresPool {
        &self.pool
    }

    /// Sends a statement that changes nothing.
    pub(in crate::database::postgres) async fn read(
        &self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<PgRow>, PostgresFailure> {
        self.shared().held()?;
        let mut was_silent = false;
        if let Some(kept) = self.sticky.take() {
            match timeout(SIGN_OF_LIFE, self.send_over(kept, statement, parameters)).await {
                Ok(Ok(sent)) => match self.settle(sent, true) {
                    Err(failure) if failure.spoils_connection() => self.shared().held()?,
                    answer => return answer,
                },
                Ok(Err(failure)) => return Err(failure),
                // A connection that was kept was not asked for a sign of life. The next one is.
                Err(_elapsed) => was_silent = true,
            }
        }
        match self.send_once(statement, parameters, None, was_silent).await {
            Err(failure) if failure.is_of_stale_session() => {
                self.shared().close_idle_if_due();
                self.send_once(statement, parameters, None, false).await
            }
            answer => answer,
        }
    }

    /// Sends a statement that changes rows, and waits for the end of its answer, which is when it is
    /// committed. The statement is not sent once `send_by` has passed.
    pub(in crate::database::postgres) async fn write(
        &self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
        send_by: Deadline,
    ) -> Result<Vec<PgRow>, PostgresFailure> {
        self.shared().held()?;
        match self.send_once(statement, parameters, Some(send_by), false).await {
            // Nothing was changed, and the next session may carry it out.
            Err(failure) if failure.is_of_stale_session() => {
                self.shared().close_idle_if_due();
                self.send_once(statement, parameters, Some(send_by), false).await
            }
            answer => answer,
        }
    }

    /// Sends a statement over a connection of the program's, in the middle of a transaction: once, since
    /// nothing but the whole transaction could be tried again. It may take another path to the server than
    /// the pool's, so that a mix-up there says nothing about the pool.
    pub(in crate::database::postgres) async fn send_within(
        &self,
        connection: &mut PgConnection,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<PgRow>, PostgresFailure> {
        self.shared().held()?;
        // Relaxed: a statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(exchange(connection, statement, &self.pool.nonce(), parameters).await?.0)
    }

    /// Acquires a connection for a look at the table, which does not count.
    pub(in crate::database::postgres) async fn glance(&self) -> Result<Glance<'_>, PostgresFailure> {
        Ok(Glance { lent: guard(self.acquire(false).await?, Borrowed::close as fn(_)), link: self })
    }

    /// Sends over a connection that was asked for a sign of life. A kept connection is not used for a write:
    /// were it lost, the outcome would be unknown.
    async fn send_once(
        &self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
        send_by: Option<Deadline>,
        was_silent: bool,
    ) -> Result<Vec<PgRow>, PostgresFailure> {
        self.sticky.release_if_exhausted();
        let lent = match send_by {
            None => self.acquire(was_silent).await?,
            Some(send_by) => match timeout_at(send_by, self.acquire_for_write(statement, parameters.len()))
                .await
            {
                Ok(acquired) => match acquired? {
                    (lent, Ok(())) => lent,
                    // The statement was refused before it was sent.
                    (lent, Err(failure)) => return self.settle(Sent { lent, answer: Err(failure) }, false),
                },
                Err(_elapsed) if self.is_exhausted() => return Err(PostgresFailure::Late),
                Err(_elapsed) => return Err(PostgresFailure::NotSent(sqlx::Error::PoolTimedOut)),
            },
        };
        if send_by.is_some_and(|send_by| send_by <= Deadline::now()) {
            self.sticky.give_back(lent);
            return Err(PostgresFailure::Late);
        }
        let sent = self.send_over(lent, statement, parameters).await?;
        self.settle(sent, send_by.is_none())
    }

    /// Acquires a connection on which the statement is prepared, which may itself wait for a lock: after
    /// that, no more round trip is needed before the statement is sent.
    async fn acquire_for_write(
        &self,
        statement: &Tagged,
        texts: usize,
    ) -> Result<(Borrowed<sqlx::Postgres>, Result<(), PostgresFailure>), PostgresFailure> {
        // If this is given up half-way, the connection still waits for an answer.
        let mut lent = guard(self.acquire(false).await?, Borrowed::close);
        let connection = lent.connection().map_err(PostgresFailure::NotSent)?;
        let prepared = statement.prepare(connection, texts).await.map_err(PostgresFailure::Sent);
        Ok((ScopeGuard::into_inner(lent), prepared))
    }

    /// Returns whether other users have all connections that there may be.
    fn is_exhausted(&self) -> bool {
        let pool = &self.shared().pool;
        pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections()
    }

    /// Takes a connection out of the pool, or has one opened. A refusal of the server's is not waited for.
    async fn lend(&self) -> Result<Borrowed<sqlx::Postgres>, PostgresFailure> {
        let shared = self.shared();
        tokio::select! {
            // First: an idle connection is lent whatever new ones meet.
            biased;
            lent = self.lend_by_pool() => lent.map_err(|error| match shared.refusals.why() {
                Some(words) if matches!(error, sqlx::Error::PoolTimedOut) => PostgresFailure::Held(words),
                _ => PostgresFailure::NotSent(error),
            }),
            // Where there is another server, it is looked for in place of that.
            words = shared.refused(), if !shared.has_choice => Err(PostgresFailure::Held(words)),
        }
    }

    /// Acquires a connection whose session is alive and whose server's process is known. `was_silent` says
    /// that another connection has just given no sign of life.
    async fn acquire(&self, mut was_silent: bool) -> Result<Borrowed<sqlx::Postgres>, PostgresFailure> {
        let (mut is_renewed, mut is_misfit) = (false, false);
        // Each round closes a connection that gives no sign of life; after the last one, none is left that
        // was opened before.
        let mut rounds = self.shared().pool.options().get_max_connections();
        let mut patience = SIGN_OF_LIFE;
        loop {
            let lent = match self.lend().await {
                Err(failure) if failure.is_login_refused() && !is_renewed && self.shared().renew_login() => {
                    is_renewed = true;
                    continue;
                }
                Err(failure) => {
                    self.pool.seek();
                    return Err(failure);
                }
                Ok(lent) => lent,
            };
            let mut lent = guard(lent, Borrowed::close);
            let wanted = self.shared().wanted;
            let asked = sessions::alive(lent.connection().map_err(PostgresFailure::NotSent)?, wanted);
            match timeout(patience, asked).await {
                // The server has become one of another kind, or another one has come to its address.
                Ok(Ok(None)) => {
                    drop(lent);
                    self.shared().close_idle();
                    self.pool.seek();
                    if is_misfit {
                        let words = format!("no server is {} at the moment", wanted.name());
                        return Err(PostgresFailure::Held(words.into()));
                    }
                    is_misfit = true;
                    self.pool.sought().await;
                    continue;
                }
                Ok(Ok(Some(process))) => {
                    let mut lent = ScopeGuard::into_inner(lent);
                    lent.process = Some(process);
                    return Ok(lent);
                }
                Ok(Err(error)) if rounds == 0 => return Err(PostgresFailure::NotSent(error)),
                Err(_elapsed) if rounds == 0 => {
                    return Err(PostgresFailure::NotSent(sqlx::Error::PoolTimedOut));
                }
                // A single connection may be slow. Where the next one is silent too, the idle ones are taken
                // to be as well: waiting for each would take too long.
                Err(_elapsed) if was_silent => {
                    if self.shared().origin.is_some() {
                        self.shared().close_idle();
                    }
                    patience = patience.saturating_mul(2).min(MAX_SIGN_OF_LIFE);
                }
                Err(_elapsed) => was_silent = true,
                Ok(Err(_)) => self.pool.seek(),
            }
            rounds -= 1;
        }
    }

    /// Takes a connection out of the pool. Where that takes long and there are other servers, one of them may
    /// be the one to connect to.
    async fn lend_by_pool(&self) -> Result<Borrowed<sqlx::Postgres>, sqlx::Error> {
        let mut lent = pin!(self.sticky.acquire());
        if self.shared().has_choice {
            match timeout(SLOW, &mut lent).await {
                Ok(lent) => return lent,
                Err(_elapsed) => self.pool.seek(),
            }
        }
        lent.await
    }

    /// Sends one statement. The connection comes back unless it is silent.
    async fn send_over(
        &self,
        lent: Borrowed<sqlx::Postgres>,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Sent, PostgresFailure> {
        // If this is given up half-way, the connection still waits for an answer: it is closed then and not
        // handed to the next borrower.
        let mut lent = guard(lent, Borrowed::close);
        let nonce = self.pool.nonce();
        // Relaxed: a statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let connection = lent.connection().map_err(PostgresFailure::NotSent)?;
        let exchanged = timeout(ANSWER_TIMEOUT, exchange(connection, statement, &nonce, parameters)).await;
        let answer = exchanged.map_err(|_elapsed| PostgresFailure::Silent)?;
        Ok(Sent { lent: ScopeGuard::into_inner(lent), answer })
    }

    /// Settles what becomes of the connection, and of the pool, by the answer that came over it.
    fn settle(&self, sent: Sent, may_keep: bool) -> Result<Vec<PgRow>, PostgresFailure> {
        let Sent { mut lent, answer } = sent;
        match answer {
            Ok((rows, process)) => {
                let is_another = lent.process.replace(process).is_some_and(|before| before != process);
                // The answer is the right one, although the process is another.
                if is_another && self.pool.sessions() == Sessions::Own {
                    self.pool.suspect();
                    lent.close();
                } else if may_keep {
                    self.sticky.keep(lent);
                } else {
                    self.sticky.give_back(lent);
                }
                Ok(rows)
            }
            Err(failure) => {
                if failure.spoils_connection() {
                    lent.close();
                    self.pool.seek();
                } else {
                    self.sticky.give_back(lent);
                }
                if failure.is_mix_up() {
                    self.pool.suspect();
                }
                if failure.is_of_stale_session() {
                    self.sticky.discard();
                }
                Err(failure)
            }
        }
    }

    fn shared(&self) -> &PoolState {
        &self.pool.0
    }
}

/// A statement that has ended, and the connection that it went over.
struct Sent {
    lent: Borrowed<sqlx::Postgres>,
    answer: Result<(Vec<PgRow>, i32), PostgresFailure>,
}

/// A connection for a look at a table. It is closed unless the look comes to its end.
pub(in crate::database::postgres) struct Glance<'a> {
    lent: ScopeGuard<Borrowed<sqlx::Postgres>, fn(Borrowed<sqlx::Postgres>)>,
    link: &'a Link,
}

impl Glance<'_> {
    pub(in crate::database::postgres) async fn read(
        &mut self,
        statement: &Tagged,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<PgRow>, PostgresFailure> {
        let nonce = self.link.pool.nonce();
        let connection = self.lent.connection().map_err(PostgresFailure::NotSent)?;
        Ok(exchange(connection, statement, &nonce, parameters).await?.0)
    }

    /// Has the server parse a statement with so many texts as parameters of its own, and nothing more.
    pub(in crate::database::postgres) async fn prepare(
        &mut self,
        statement: &Tagged,
        texts: usize,
    ) -> Result<(), PostgresFailure> {
        let connection = self.lent.connection().map_err(PostgresFailure::NotSent)?;
        statement.prepare(connection, texts).await.map_err(PostgresFailure::Sent)
    }

    pub(in crate::database::postgres) fn end(self) {
        self.link.sticky.keep(ScopeGuard::into_inner(self.lent));
    }
}
