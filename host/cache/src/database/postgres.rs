//! PostgreSQL, over sqlx.
//!
//! Every statement is sent alone and commits by itself; nothing here may ever `begin`. A connection is acquired before
//! the statement is counted and sent, so that "not sent" and "sent, but what became of it?" stay apart: an issue of the
//! second kind is [`DatabaseError::Lost`] or [`DatabaseError::Timeout`], never `Unavailable`.

mod connect;
mod failure;
mod key;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scopeguard::{ScopeGuard, guard};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tokio::time::timeout;

use self::failure::Failure;
use self::key::Key;
use super::batch::{self, BATCH_SIZE, Read, Readable, Several};
use super::column::{Dialect, Statements};
use super::kept::{Kept, Lent};
use super::{Answer, Answers, Column, Database, IssueMode};
use crate::{ConnectError, DatabaseError, Secret, WorkspaceId};

/// How long an answer is waited for here: longer than the server's own limit of 30 s, which ends a statement properly.
/// This one is for a server that has vanished without closing the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// The same for a SELECT on a connection that was kept, after which it is sent on another one: as long as an idle connection
/// of the pool may take for a sign of life.
const KEPT_ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// A column of a PostgreSQL database. A clone shares the pool and the count of statements.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    kept: Kept<sqlx::Postgres>,
    column: Arc<Column>,
    statements: Statements,
    select_batch: Arc<str>,
    key: Key,
    /// Whether an id may be no value of the key column's type at all.
    key_is_cast: bool,
    sent: Arc<AtomicU64>,
}

impl Postgres {
    /// Connects to `url` (`postgres://user:password@host:port/database`) and checks that it has the column.
    ///
    /// The attempt is given up after 5 s. The pool holds 10 connections at most; waiting for one takes 1 s at most. The
    /// server is asked to cancel a statement after 30 s, unless `options` in the URL says something else.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what is wrong with the URL, the way to the server, or the table. It never holds the password.
    pub async fn connect(url: &str, column: Column) -> Result<Self, ConnectError> {
        let options = connect::options(url)?;
        let key_type = connect::check_server(&options, &column).await?;
        Ok(Self::new(connect::pool(options), column, key_type))
    }

    /// Uses a pool that exists, with its own limits, after checking that its database has the column.
    ///
    /// Set a `statement_timeout` in the pool's options: without one, a statement is given up here after 35 s while the
    /// server may still be at it.
    ///
    /// While reads miss, one connection of the pool is kept from one to the next, for at most a quarter of a second: whoever
    /// else uses the pool may wait so long for it. Of a pool with fewer than four connections none is kept.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] if there is no connection, [`ConnectError::Schema`] if the column is not usable.
    pub async fn from_pool(pool: PgPool, column: Column) -> Result<Self, ConnectError> {
        let key_type = connect::check_pool(&pool, &column).await?;
        Ok(Self::new(pool, column, key_type))
    }

    /// The pool, to share it with the rest of a server.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn new(pool: PgPool, column: Column, key_type: Option<String>) -> Self {
        let dialect = Dialect::Postgres { key_type: key_type.as_deref() };
        Self {
            kept: Kept::new(pool.clone(), connect::give_back),
            pool,
            statements: column.statements(dialect),
            select_batch: column.select_batch(dialect, BATCH_SIZE).into(),
            key: Key::of(key_type.as_deref()),
            column: Arc::new(column),
            key_is_cast: key_type.is_some(),
            sent: Arc::default(),
        }
    }

    /// Sends one statement and waits for the end of its answer, which is when it is committed.
    async fn send(&self, statement: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Vec<PgRow>, Failure> {
        self.kept.make_way();
        let lent = self.kept.acquire().await.map_err(Failure::NotSent)?;
        let (lent, answer) = self.send_over(lent, statement).await?;
        self.kept.give_back(lent);
        answer
    }

    /// Sends one that changes nothing.
    async fn send_select<'q>(
        &self,
        statement: impl Fn() -> Query<'q, sqlx::Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failure> {
        if let Some(kept) = self.kept.take()
            && let Ok(sent) = timeout(KEPT_ANSWER_TIMEOUT, self.send_over(kept, statement())).await
        {
            let (kept, answer) = sent?;
            match answer {
                Err(failure) if failure.is_of_connection() => kept.close(),
                answer => {
                    self.kept.keep(kept);
                    return answer;
                }
            }
        }
        // One that was kept was not asked for a sign of life. This one is.
        let lent = self.kept.acquire().await.map_err(Failure::NotSent)?;
        let (lent, answer) = self.send_over(lent, statement()).await?;
        match &answer {
            Ok(_) => self.kept.keep(lent),
            Err(_) => self.kept.give_back(lent),
        }
        answer
    }

    /// The connection comes back unless it is silent.
    async fn send_over(
        &self,
        lent: Lent<sqlx::Postgres>,
        statement: Query<'_, sqlx::Postgres, PgArguments>,
    ) -> Result<(Lent<sqlx::Postgres>, Result<Vec<PgRow>, Failure>), Failure> {
        // Given up half-way, it still waits for an answer: it is closed then and not handed to the next borrower.
        let mut lent = guard(lent, Lent::close);
        // A statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let connection = lent.connection().map_err(Failure::NotSent)?;
        let answer = timeout(ANSWER_TIMEOUT, statement.fetch_all(connection)).await;
        let answer = answer.map_err(|_elapsed| Failure::Silent)?;
        Ok((ScopeGuard::into_inner(lent), answer.map_err(Failure::Sent)))
    }

    async fn read(&self, workspace: &WorkspaceId) -> Result<Option<Secret>, DatabaseError> {
        let statement = || query(&self.statements.select).bind(workspace.as_str());
        let rows = match self.send_select(statement).await {
            Ok(rows) => rows,
            Err(failure) if self.key_is_cast && failure.says_no_such_value() => return Ok(None),
            Err(failure) => return Err(failure.of_select()),
        };
        match rows.as_slice() {
            [] => Ok(None),
            [row] => self.decode(row, 0),
            _ => Err(self.unusable("has more than one row for a workspace; its key column has to be unique")),
        }
    }

    async fn read_several(&self, workspaces: &[WorkspaceId]) -> Several {
        let ids: Vec<&str> =
            workspaces.iter().map(WorkspaceId::as_str).filter(|id| self.key.may_be(id)).collect();
        if ids.is_empty() {
            return Several::Found(Vec::new());
        }
        // One more than there can be if the key column is unique: then somebody has two.
        let limit = i64::try_from(ids.len() + 1).unwrap_or(i64::MAX);
        let rows = match self.send_select(|| query(&self.select_batch).bind(&ids).bind(limit)).await {
            Ok(rows) if rows.len() > ids.len() => return Several::Splits,
            Ok(rows) => rows,
            Err(failure) if failure.may_be_of_one_row() => return Several::Splits,
            Err(failure) => return Several::Failed(failure.of_select()),
        };
        let found = rows.iter().map(|row| Ok((row.try_get(0)?, self.decode(row, 1))));
        match found.collect::<Result<_, sqlx::Error>>() {
            Ok(found) => Several::Found(found),
            Err(_) => Several::Splits,
        }
    }

    async fn write(
        &self,
        id: &WorkspaceId,
        mode: IssueMode,
        minted: Secret,
    ) -> Result<Secret, DatabaseError> {
        let text = minted
            .expose_str()
            .ok_or_else(|| self.unusable("holds text only, and the secret is not text"))?;
        let statement = match mode {
            IssueMode::Rotate => &self.statements.rotate,
            IssueMode::Heal => &self.statements.heal,
        };
        let rows = match self.send(query(statement).bind(id.as_str()).bind(text)).await {
            Ok(rows) => rows,
            Err(failure) if self.key_is_cast && failure.says_no_such_value() => {
                return Err(DatabaseError::UnknownWorkspace);
            }
            Err(failure) => return Err(failure.of_issue()),
        };
        match (rows.first(), mode) {
            (None, _) => Err(DatabaseError::UnknownWorkspace),
            (Some(_), IssueMode::Rotate) => Ok(minted),
            (Some(row), IssueMode::Heal) => self
                .decode(row, 0)?
                .ok_or_else(|| self.unusable("stays empty when it is written; look at its triggers")),
        }
    }

    fn decode(&self, row: &PgRow, column: usize) -> Result<Option<Secret>, DatabaseError> {
        // The driver's own words are dropped: nobody promises that they do not quote the value.
        let text: Option<&str> =
            row.try_get(column).map_err(|_| self.unusable("holds a value that is not UTF-8 text"))?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    }

    fn unusable(&self, problem: &str) -> DatabaseError {
        DatabaseError::Unavailable(format!("the column {} {problem}", self.column).into())
    }
}

/// The text holds checked identifiers only; see `Column`.
fn query(statement: &Arc<str>) -> Query<'_, sqlx::Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(Arc::clone(statement)))
}

impl Readable for Postgres {
    async fn one(&self, workspace: &WorkspaceId) -> Read {
        self.read(workspace).await
    }

    async fn several(&self, workspaces: &[WorkspaceId]) -> Several {
        self.read_several(workspaces).await
    }
}

impl Database for Postgres {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(self.read(workspace))
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        Box::pin(batch::read(self, workspaces))
    }

    fn batch_size(&self) -> usize {
        if self.key == Key::Other { 1 } else { BATCH_SIZE }
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
    ) -> Answer<'a, Secret> {
        Box::pin(self.write(workspace, mode, minted))
    }

    fn statements(&self) -> u64 {
        // A statistic that orders nothing else.
        self.sent.load(Ordering::Relaxed)
    }

    fn connections(&self) -> Option<usize> {
        usize::try_from(self.pool.options().get_max_connections()).ok()
    }
}

/// Without the pool, whose own output names the way to the server.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("column", &self.column).finish_non_exhaustive()
    }
}
