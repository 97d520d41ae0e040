//! SQLite, over sqlx: for a server that runs alone, and for tests.
//!
//! Every statement is sent alone and commits by itself, unless the program has begun a transaction and asks
//! for one in it; nothing here may ever `begin`. All rows of an answer are read to its end, because SQLite
//! commits there: a statement left after its first row may not have been committed.

mod connect;
mod failure;
mod statements;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, SqlitePool};
use tokio::sync::Semaphore;
use tokio::time::{Instant as Deadline, timeout_at};

use self::failure::SqliteFailure;
use self::statements::SqliteSql;
use super::batch::{self, BATCH_SIZE, BatchRead, Readable, Several};
use super::sticky::{Epoch, StickyConnection};
use super::{Answer, Answers, Column, Database, IssueMode, TransactionConnection};
use crate::{ConnectError, DatabaseError, Secret, WorkspaceId};

/// A column of a SQLite database. A clone shares the pool and the count of statements.
#[derive(Clone)]
pub struct Sqlite {
    pool: SqlitePool,
    sticky: StickyConnection<sqlx::Sqlite>,
    column: Arc<Column>,
    statements: SqliteSql,
    sent: Arc<AtomicU64>,
    /// The permit of the issue whose turn it is. SQLite lets one connection write at a time: were the other
    /// issues to wait for the lock on connections of their own, none would be left for reads, which need no
    /// lock.
    turn: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens `url` (`sqlite://path`, and `?mode=rwc` to create the file) and checks that it has the column.
    ///
    /// The database is put into WAL mode with `synchronous = FULL`: a secret that an issue has returned
    /// survives a power failure. A statement waits up to 400 ms for a writer in another process or
    /// connection.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what is wrong with the URL, the file or the table.
    pub async fn connect(url: &str, column: Column) -> Result<Self, ConnectError> {
        Self::from_pool(connect::open(url).await?, column).await
    }

    /// Uses a pool that exists, with its own journal mode and limits, after checking that its database has
    /// the column.
    ///
    /// While reads miss, one connection of the pool is kept from one read to the next, for at most a quarter
    /// of a second: other users of the pool may wait that long for it. Of a pool with fewer than four
    /// connections none is kept.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] if there is no connection, [`ConnectError::Schema`] if the column is not
    /// usable.
    pub async fn from_pool(pool: SqlitePool, column: Column) -> Result<Self, ConnectError> {
        connect::check(&pool, &column).await?;
        Ok(Self {
            sticky: StickyConnection::new(pool.clone(), drop, Epoch::default()),
            pool,
            statements: SqliteSql::new(&column),
            column: Arc::new(column),
            sent: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// The pool, to share it with the rest of a server.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Runs a statement that changes nothing.
    async fn send_select(
        &self,
        statement: Query<'_, sqlx::Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, SqliteFailure> {
        let mut lent = match self.sticky.take() {
            Some(kept) => kept,
            None => self.sticky.acquire().await.map_err(SqliteFailure::NotSent)?,
        };
        // Relaxed: a statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let connection = lent.connection().map_err(SqliteFailure::NotSent)?;
        let rows = statement.fetch_all(connection).await.map_err(SqliteFailure::Sent)?;
        self.sticky.keep(lent);
        Ok(rows)
    }

    async fn read(&self, workspace: &WorkspaceId) -> Result<Option<Secret>, DatabaseError> {
        let statement = query(&self.statements.select).bind(workspace.as_str());
        let rows = self.send_select(statement).await.map_err(SqliteFailure::of_select)?;
        match rows.as_slice() {
            [] => Ok(None),
            [row] => self.decode(row, 0),
            _ => Err(self.not_unique()),
        }
    }

    async fn read_several(&self, workspaces: &[WorkspaceId]) -> Several {
        let fitting = self.statements.select_batch(workspaces.len());
        let Some((size, statement)) = fitting else { return Several::Splits };
        let ids = workspaces.iter().map(|workspace| Some(workspace.as_str()));
        // NULL is equal to nothing.
        let padded = ids.chain(std::iter::repeat(None)).take(*size);
        // One row more than there can be if the key column is unique: if it comes, some workspace has two.
        let limit = i64::try_from(workspaces.len() + 1).unwrap_or(i64::MAX);
        let statement = padded.fold(query(statement), Query::bind).bind(limit);
        let rows = match self.send_select(statement).await {
            Ok(rows) if rows.len() > workspaces.len() => return Several::Splits,
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
        send_by: Deadline,
    ) -> Result<Secret, DatabaseError> {
        let text = self.writable(&minted)?;
        let Ok(Ok(_turn)) = timeout_at(send_by, self.turn.acquire()).await else {
            return Err(DatabaseError::Overloaded);
        };
        self.sticky.release_if_exhausted();
        let Ok(connection) = timeout_at(send_by, self.pool.acquire()).await else {
            return Err(DatabaseError::Overloaded);
        };
        let mut connection = connection.map_err(|error| SqliteFailure::NotSent(error).of_issue())?;
        self.write_over(&mut connection, id, mode, text).await
    }

    /// Writes over this connection, whether it is in a transaction or not.
    async fn write_over(
        &self,
        connection: &mut SqliteConnection,
        id: &WorkspaceId,
        mode: IssueMode,
        text: &str,
    ) -> Result<Secret, DatabaseError> {
        // Relaxed, here and below: statistics that order nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let update = query(self.statements.issue(mode)).bind(id.as_str()).bind(text);
        // All rows are read: SQLite commits at their end.
        let changed = update
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| SqliteFailure::Sent(error).of_issue())?;
        let Some(row) = changed.first() else {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let count = query(&self.statements.count).bind(id.as_str()).fetch_one(&mut *connection).await;
            return Err(self.swallowed(count.and_then(|row| row.try_get(0))));
        };
        let has_triggers = row.try_get(1).map_or(true, |triggers: i64| triggers != 0);
        let stored = if has_triggers {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let select = query(&self.statements.select).bind(id.as_str());
            let rows = select
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| SqliteFailure::Sent(error).of_select());
            rows.and_then(|rows| rows.first().map_or(Ok(None), |row| self.decode(row, 0)))
        } else {
            self.decode(row, 0)
        };
        match stored {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(self.unknown("stays empty when it is written; look at its triggers")),
            // The value was there before, and no statement has touched it.
            Err(error) if mode == IssueMode::Heal && !has_triggers => Err(error),
            Err(error) => Err(self.unknown(&format!("was written, and cannot be read back: {error}"))),
        }
    }

    /// Returns whether a transaction is open on this connection, which SQLite may have ended without
    /// notifying the driver. Within a transaction SQLite refuses to set the safety level, even to its present
    /// value: nothing changes, and nothing is left behind by a caller that goes away in between.
    async fn is_in_transaction(connection: &mut SqliteConnection) -> Result<bool, DatabaseError> {
        let failed = |error| SqliteFailure::Sent(error).of_select();
        let level = sqlx::raw_sql("PRAGMA main.synchronous").fetch_one(&mut *connection).await;
        let level: i64 = level.and_then(|row| row.try_get(0)).map_err(failed)?;
        let set = AssertSqlSafe(format!("PRAGMA main.synchronous = {level}"));
        match sqlx::raw_sql(set).execute(connection).await {
            Ok(_) => Ok(false),
            Err(sqlx::Error::Database(error)) if error.message().contains("inside a transaction") => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the secret as text, if the column may be written.
    fn writable<'a>(&self, minted: &'a Secret) -> Result<&'a str, DatabaseError> {
        if self.column.is_read_only() {
            return Err(self.refused("is only read, as it was asked for"));
        }
        minted.expose_str().ok_or_else(|| self.refused("holds text only, and the secret is not text"))
    }

    /// The error of a write that has changed no row, by the number of rows that there are.
    fn swallowed(&self, rows: Result<i64, sqlx::Error>) -> DatabaseError {
        match rows {
            Ok(0) => DatabaseError::UnknownWorkspace,
            Ok(1) => self.refused(
                "keeps what it holds: the row is there, and the database has swallowed the write without an \
                 error. Look for a BEFORE UPDATE trigger that raises IGNORE",
            ),
            Ok(_) => self.not_unique(),
            Err(error) => SqliteFailure::Sent(error).of_select(),
        }
    }

    fn decode(&self, row: &SqliteRow, column: usize) -> Result<Option<Secret>, DatabaseError> {
        // A BLOB or a number is refused here as well: a column of SQLite holds values of any type. The
        // driver's own words are dropped: there is no promise that they do not quote the value.
        let text: Option<&str> =
            row.try_get(column).map_err(|_| self.refused("holds a value that is not UTF-8 text"))?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    }

    fn not_unique(&self) -> DatabaseError {
        self.refused("has more than one row for a workspace; its key column has to be unique")
    }

    fn refused(&self, problem: &str) -> DatabaseError {
        DatabaseError::Refused(format!("the column {} {problem}", self.column).into())
    }

    /// The error of a write after which the row may hold another secret.
    fn unknown(&self, problem: &str) -> DatabaseError {
        DatabaseError::Lost(format!("the column {} {problem}", self.column).into())
    }
}

/// Converts the failure of a COMMIT, before which a transaction was open.
pub(super) fn of_commit(error: sqlx::Error) -> DatabaseError {
    SqliteFailure::Sent(error).of_issue()
}

/// Makes a query. Its text holds checked identifiers only; see `Column`.
fn query(statement: &Arc<str>) -> Query<'_, sqlx::Sqlite, SqliteArguments> {
    sqlx::query(AssertSqlSafe(Arc::clone(statement)))
}

impl Readable for Sqlite {
    async fn one(&self, workspace: &WorkspaceId) -> BatchRead {
        self.read(workspace).await
    }

    async fn several(&self, workspaces: &[WorkspaceId]) -> Several {
        self.read_several(workspaces).await
    }
}

impl Database for Sqlite {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(self.read(workspace))
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        Box::pin(batch::read(self, workspaces))
    }

    fn batch_size(&self) -> usize {
        BATCH_SIZE
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: Deadline,
    ) -> Answer<'a, Secret> {
        Box::pin(self.write(workspace, mode, minted, send_by))
    }

    fn issue_in<'a>(
        &'a self,
        connection: TransactionConnection<'a>,
        workspace: &'a WorkspaceId,
        minted: Secret,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            let text = self.writable(&minted)?;
            // No turn is taken: the connection may have SQLite's lock already, for which the issue whose turn
            // it is waits.
            self.write_over(connection.of_sqlite()?, workspace, IssueMode::Rotate, text).await
        })
    }

    fn open_transaction<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, Option<i64>> {
        Box::pin(async {
            // SQLite does not number its transactions.
            Ok(Self::is_in_transaction(connection.of_sqlite()?).await?.then_some(0))
        })
    }

    fn statements(&self) -> u64 {
        // Relaxed: a statistic that orders nothing else.
        self.sent.load(Ordering::Relaxed)
    }

    fn connections(&self) -> Option<usize> {
        usize::try_from(self.pool.options().get_max_connections()).ok()
    }
}

/// The output shows the column alone: the pool's own output is long and says nothing of use.
impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("column", &self.column).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
