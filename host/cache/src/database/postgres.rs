//! A column of a PostgreSQL database, over sqlx.
//!
//! Every statement is sent alone and commits by itself, unless the program has begun a transaction and asks
//! for one in it; nothing here may ever `begin`, but for the look at a pooler (`sessions.rs`), on connections
//! of its own. The purpose of a statement and the meaning of its rows are known here; how it gets to the
//! database and back is known in `pool.rs`.

mod connect;
mod exchange;
mod failure;
mod look_up;
mod origin;
mod pool;
mod sessions;
mod startup;
mod statements;
mod tagged;
mod url;
mod within;

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use tokio::time::Instant as Deadline;

use self::failure::PostgresFailure;
use self::pool::Link;
use self::statements::{PostgresSql, Written};
use self::tagged::{ANSWER, Parameter};
use super::batch::{self, BATCH_SIZE, BatchRead, Readable, Several};
use super::key_form::KeyForm;
use super::{Answer, Answers, Column, Database, IssueMode, TransactionConnection};
use crate::{ConnectError, DatabaseError, Secret, WorkspaceId};

pub use self::pool::{Health, PostgresOptions, PostgresPool, PostgresQuery, PostgresWrite};
pub use self::sessions::Sessions;

/// A column of a PostgreSQL database. A clone shares the pool and the count of statements.
#[derive(Clone)]
pub struct Postgres {
    link: Link,
    column: Arc<Column>,
    statements: Arc<PostgresSql>,
    key: KeyForm,
    /// Whether an id may fail to be a value of the key column's type.
    key_is_cast: bool,
}

/// The outcome of a write.
enum WriteOutcome {
    /// The row holds this value.
    Stored(Option<Secret>),
    /// The row is changed, and may hold something else than the write gave it.
    Rewritten,
    /// No row was changed; `existed` says whether there was one.
    Nothing { existed: bool },
}

impl Postgres {
    /// Connects to `url` (`postgres://user:password@host:port/database`) and checks that it has the column:
    /// as [`PostgresPool::connect`] and [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what is wrong with the URL, the way to the server, or the table. It never holds
    /// the password.
    pub async fn connect(url: &str, column: Column) -> Result<Self, ConnectError> {
        Self::new(&PostgresPool::connect(url).await?, column).await
    }

    /// Uses a pool that exists, with its own limits, after checking that its database has the column.
    ///
    /// Set a `statement_timeout` in the pool's options: without one, a statement is given up here after 35 s
    /// while the server may still be at it.
    ///
    /// While reads miss, one connection of the pool is kept from one read to the next, for at most a quarter
    /// of a second: other users of the pool may wait that long for it. Of a pool with fewer than four
    /// connections none is kept.
    ///
    /// # Errors
    ///
    /// As [`PostgresPool::from_pool`] and [`new`](Self::new).
    pub async fn from_pool(pool: PgPool, column: Column) -> Result<Self, ConnectError> {
        Self::new(&PostgresPool::from_pool(pool).await?, column).await
    }

    /// Makes a column over connections that others use too.
    pub async fn new(pool: &PostgresPool, column: Column) -> Result<Self, ConnectError> {
        let link = pool.link();
        let key_type = look_up::check(&link, &column).await?;
        Ok(Self {
            link,
            statements: Arc::new(PostgresSql::new(&column, key_type.as_deref())),
            key: KeyForm::of(key_type.as_deref()),
            column: Arc::new(column),
            key_is_cast: key_type.is_some(),
        })
    }

    /// The pool, to share it with the rest of a server.
    pub fn pool(&self) -> &PgPool {
        self.link.pool().pool()
    }

    /// The form of the ids that the key column can hold.
    pub fn key_form(&self) -> KeyForm {
        self.key
    }

    async fn read(&self, workspace: &WorkspaceId) -> Result<Option<Secret>, DatabaseError> {
        match self.link.read(&self.statements.select, &[Parameter::Text(workspace.as_str())]).await {
            Ok(rows) => self.decode_first(&rows, ANSWER),
            Err(failure) if self.key_is_cast && failure.says_no_such_value() => Ok(None),
            Err(failure) => Err(self.of_row(failure, PostgresFailure::of_select)),
        }
    }

    async fn read_several(&self, workspaces: &[WorkspaceId]) -> Several {
        let ids: Vec<&str> =
            workspaces.iter().map(WorkspaceId::as_str).filter(|id| self.key.may_be(id)).collect();
        if ids.is_empty() {
            return Several::Found(Vec::new());
        }
        // One row more than there can be if the key column is unique: if it comes, some workspace has two.
        let limit = i64::try_from(ids.len() + 1).unwrap_or(i64::MAX);
        let parameters = [Parameter::Texts(&ids), Parameter::Count(limit)];
        let rows = match self.link.read(&self.statements.select_batch, &parameters).await {
            Ok(rows) if rows.len() > ids.len() => return Several::Splits,
            Ok(rows) => rows,
            Err(failure) if failure.may_be_of_one_row() => return Several::Splits,
            Err(failure) => return Several::Failed(failure.of_select()),
        };
        let found = rows.iter().filter_map(|row| match row.try_get(ANSWER) {
            // No workspace has a row.
            Ok(None) => None,
            Ok(Some(id)) => Some(Ok((id, self.decode(row, ANSWER + 1)))),
            Err(error) => Some(Err(error)),
        });
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
        let parameters = [Parameter::Text(id.as_str()), Parameter::Text(text)];
        let rows = match self.link.write(self.statements.issue(mode), &parameters, send_by).await {
            Ok(rows) => rows,
            Err(failure) => return Err(self.of_row(failure, PostgresFailure::of_issue)),
        };
        let stored = match self.outcome(&rows)? {
            WriteOutcome::Stored(stored) => stored,
            WriteOutcome::Rewritten => self.read(id).await.map_err(|error| self.unread(&error))?,
            // The row may have gone between the write and the look at what was there before.
            WriteOutcome::Nothing { existed } if existed && self.exists(id).await.unwrap_or(true) => {
                return Err(self.swallowed());
            }
            WriteOutcome::Nothing { .. } => return Err(DatabaseError::UnknownWorkspace),
        };
        stored.ok_or_else(|| self.stays_empty())
    }

    async fn exists(&self, id: &WorkspaceId) -> Result<bool, PostgresFailure> {
        let rows = self.link.read(&self.statements.exists, &[Parameter::Text(id.as_str())]).await?;
        Ok(says_exists(&rows))
    }

    /// Returns the secret as text, if the column may be written.
    fn writable<'a>(&self, minted: &'a Secret) -> Result<&'a str, DatabaseError> {
        if self.column.is_read_only() {
            return Err(self.refused("is only read, as it was asked for"));
        }
        minted.expose_str().ok_or_else(|| self.refused("holds text only, and the secret is not text"))
    }

    /// Converts the failure of a statement about one workspace.
    fn of_row(
        &self,
        failure: PostgresFailure,
        otherwise: fn(PostgresFailure) -> DatabaseError,
    ) -> DatabaseError {
        if self.key_is_cast && failure.says_no_such_value() {
            DatabaseError::UnknownWorkspace
        } else if failure.says_several_rows() {
            self.not_unique()
        } else {
            otherwise(failure)
        }
    }

    /// Reads the outcome of a write from its answer.
    fn outcome(&self, rows: &[PgRow]) -> Result<WriteOutcome, DatabaseError> {
        let other = || self.unknown("has answered with other columns");
        let row = rows.first().ok_or_else(|| self.unknown("has answered without a row"))?;
        let answered = |column| row.try_get::<bool, _>(column).map_err(|_| other());
        let changed: i64 = row.try_get(Written::CHANGED).map_err(|_| other())?;
        if changed == 0 {
            return Ok(WriteOutcome::Nothing { existed: answered(Written::EXISTED)? });
        }
        if answered(Written::IS_REWRITTEN)? {
            return Ok(WriteOutcome::Rewritten);
        }
        let stored = self.decode(row, Written::STORED).map_err(|error| self.unknown(&error.to_string()))?;
        Ok(WriteOutcome::Stored(stored))
    }

    fn swallowed(&self) -> DatabaseError {
        self.refused(
            "keeps what it holds: the row is there, and the database has swallowed the write without an \
             error. Look for a BEFORE UPDATE trigger that returns NULL, for row-level security without an \
             UPDATE policy, and for rules",
        )
    }

    fn unread(&self, error: &DatabaseError) -> DatabaseError {
        self.unknown(&format!("was written, and cannot be read back: {error}"))
    }

    fn stays_empty(&self) -> DatabaseError {
        self.unknown("stays empty when it is written; look at its triggers")
    }

    fn decode_first(&self, rows: &[PgRow], column: usize) -> Result<Option<Secret>, DatabaseError> {
        rows.first().map_or(Ok(None), |row| self.decode(row, column))
    }

    fn decode(&self, row: &PgRow, column: usize) -> Result<Option<Secret>, DatabaseError> {
        // The driver's own words are dropped: there is no promise that they do not quote the value.
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

/// Returns whether there is a row, by the answer to that question; an unexpected answer is no reason to say
/// that there is none.
fn says_exists(rows: &[PgRow]) -> bool {
    rows.first().is_some_and(|row| row.try_get(ANSWER).unwrap_or(true))
}

/// Converts the failure of a COMMIT.
pub(super) fn of_commit(error: sqlx::Error) -> DatabaseError {
    PostgresFailure::Sent(error).of_issue()
}

impl Readable for Postgres {
    async fn one(&self, workspace: &WorkspaceId) -> BatchRead {
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
        if self.key == KeyForm::Other { 1 } else { BATCH_SIZE }
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
        Box::pin(within::write(self, connection, workspace, minted))
    }

    fn open_transaction<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, Option<i64>> {
        Box::pin(within::open_transaction(self, connection))
    }

    fn prepare_commit<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, ()> {
        Box::pin(within::prepare_commit(self, connection))
    }

    fn statements(&self) -> u64 {
        self.link.sent()
    }

    fn connections(&self) -> Option<usize> {
        usize::try_from(self.pool().options().get_max_connections()).ok()
    }
}

/// The output leaves out the pool, whose own output names the way to the server.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("column", &self.column).finish_non_exhaustive()
    }
}
