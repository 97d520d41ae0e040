//! SQLite, over sqlx: for a server that runs alone, and for tests.
//!
//! Every statement is sent alone and commits by itself; nothing here may ever `begin`. All rows of an answer are read to
//! its end, because SQLite commits there: a statement left after its first row may not have been committed.

mod connect;
mod failure;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, SqlitePool};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::failure::Failure;
use super::batch::{self, BATCH_SIZE, Read, Readable, Several};
use super::column::{Dialect, Statements};
use super::kept::Kept;
use super::{Answer, Answers, Column, Database, IssueMode};
use crate::{ConnectError, DatabaseError, Secret, WorkspaceId};

/// A column of a SQLite database. A clone shares the pool and the count of statements.
#[derive(Clone)]
pub struct Sqlite {
    pool: SqlitePool,
    kept: Kept<sqlx::Sqlite>,
    column: Arc<Column>,
    statements: Statements,
    /// By size, the smallest first. A batch takes the first that it fits in: few texts, each of them prepared once.
    select_batch: Arc<[(usize, Arc<str>)]>,
    sent: Arc<AtomicU64>,
    /// One, for the issue whose turn it is. SQLite lets one connection write at a time: were the others to wait for the
    /// lock on connections of their own, none would be left for reads, which need no lock.
    turn: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens `url` (`sqlite://path`, and `?mode=rwc` to create the file) and checks that it has the column.
    ///
    /// The database is put into WAL mode with `synchronous = FULL`: what an issue has returned survives a power failure.
    /// A statement waits up to 400 ms for a writer in another process or connection.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what is wrong with the URL, the file or the table.
    pub async fn connect(url: &str, column: Column) -> Result<Self, ConnectError> {
        Self::from_pool(connect::open(url).await?, column).await
    }

    /// Uses a pool that exists, with its own journal mode and limits, after checking that its database has the column.
    ///
    /// While reads miss, one connection of the pool is kept from one to the next, for at most a quarter of a second: whoever
    /// else uses the pool may wait so long for it. Of a pool with fewer than four connections none is kept.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] if there is no connection, [`ConnectError::Schema`] if the column is not usable.
    pub async fn from_pool(pool: SqlitePool, column: Column) -> Result<Self, ConnectError> {
        connect::check(&pool, &column).await?;
        Ok(Self {
            kept: Kept::new(pool.clone(), drop),
            pool,
            statements: column.statements(Dialect::Sqlite),
            select_batch: sizes()
                .map(|size| (size, column.select_batch(Dialect::Sqlite, size).into()))
                .collect(),
            column: Arc::new(column),
            sent: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// The pool, to share it with the rest of a server.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Runs one statement to the end of its answer, which is when it is committed.
    async fn send(
        &self,
        statement: Query<'_, sqlx::Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, Failure> {
        self.kept.make_way();
        let mut connection = self.pool.acquire().await.map_err(Failure::NotSent)?;
        // A statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        statement.fetch_all(&mut *connection).await.map_err(Failure::Sent)
    }

    /// Runs one that changes nothing.
    async fn send_select(
        &self,
        statement: Query<'_, sqlx::Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, Failure> {
        let mut lent = match self.kept.take() {
            Some(kept) => kept,
            None => self.kept.acquire().await.map_err(Failure::NotSent)?,
        };
        // A statistic that orders nothing else.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let connection = lent.connection().map_err(Failure::NotSent)?;
        let rows = statement.fetch_all(connection).await.map_err(Failure::Sent)?;
        self.kept.keep(lent);
        Ok(rows)
    }

    async fn read(&self, workspace: &WorkspaceId) -> Result<Option<Secret>, DatabaseError> {
        let statement = query(&self.statements.select).bind(workspace.as_str());
        let rows = self.send_select(statement).await.map_err(Failure::of_select)?;
        match rows.as_slice() {
            [] => Ok(None),
            [row] => self.decode(row, 0),
            _ => Err(self.unusable("has more than one row for a workspace; its key column has to be unique")),
        }
    }

    async fn read_several(&self, workspaces: &[WorkspaceId]) -> Several {
        let fitting = self.select_batch.iter().find(|(size, _)| workspaces.len() <= *size);
        let Some((size, statement)) = fitting else { return Several::Splits };
        let ids = workspaces.iter().map(|workspace| Some(workspace.as_str()));
        // NULL is equal to nothing.
        let padded = ids.chain(std::iter::repeat(None)).take(*size);
        // One more than there can be if the key column is unique: then somebody has two.
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
    ) -> Result<Secret, DatabaseError> {
        let text = minted
            .expose_str()
            .ok_or_else(|| self.unusable("holds text only, and the secret is not text"))?;
        let statement = match mode {
            IssueMode::Rotate => &self.statements.rotate,
            IssueMode::Heal => &self.statements.heal,
        };
        // As long as for a connection, which is what it would wait for otherwise.
        let patience = self.pool.options().get_acquire_timeout();
        let Ok(Ok(_turn)) = timeout(patience, self.turn.acquire()).await else {
            return Err(DatabaseError::Overloaded);
        };
        let rows =
            self.send(query(statement).bind(id.as_str()).bind(text)).await.map_err(Failure::of_issue)?;
        match (rows.first(), mode) {
            (None, _) => Err(DatabaseError::UnknownWorkspace),
            (Some(_), IssueMode::Rotate) => Ok(minted),
            (Some(row), IssueMode::Heal) => self
                .decode(row, 0)?
                .ok_or_else(|| self.unusable("stays empty when it is written; look at its triggers")),
        }
    }

    fn decode(&self, row: &SqliteRow, column: usize) -> Result<Option<Secret>, DatabaseError> {
        // A BLOB or a number is refused here as well: a column of SQLite holds values of any type. The driver's own words
        // are dropped, because nobody promises that they do not quote the value.
        let text: Option<&str> =
            row.try_get(column).map_err(|_| self.unusable("holds a value that is not UTF-8 text"))?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    }

    fn unusable(&self, problem: &str) -> DatabaseError {
        DatabaseError::Unavailable(format!("the column {} {problem}", self.column).into())
    }
}

/// The text holds checked identifiers only; see `Column`.
fn query(statement: &Arc<str>) -> Query<'_, sqlx::Sqlite, SqliteArguments> {
    sqlx::query(AssertSqlSafe(Arc::clone(statement)))
}

/// The powers of two up to the size of a batch.
fn sizes() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(2), |size| Some(size * 2)).take_while(|size| *size <= BATCH_SIZE)
}

impl Readable for Sqlite {
    async fn one(&self, workspace: &WorkspaceId) -> Read {
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

/// The column alone: the pool's own output is long and says nothing of use.
impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("column", &self.column).finish_non_exhaustive()
    }
}
