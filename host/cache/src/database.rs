//! The column behind the cache: what the cache needs of a database, and nothing of how it is asked.
//!
//! It knows no policy, no entry and no lease. An implementation sends statements that commit by themselves,
//! one for each call and at times one more that only reads, never a transaction: a `BEGIN` that is abandoned
//! half-way can swallow the next borrower's writes. A program may have a transaction of its own, in which it
//! has a secret issued (`transaction.rs`).

// Parts that the two engines share.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod batch;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod column;
#[cfg(feature = "postgres")]
mod key_form;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "a part of it is for connections to a server")
)]
mod sticky;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod transaction;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tokio::time::Instant as Deadline;

use crate::{DatabaseError, Secret, WorkspaceId};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use column::Column;
#[cfg(feature = "postgres")]
pub use key_form::KeyForm;
#[cfg(feature = "postgres")]
pub use postgres::{Health, Postgres, PostgresOptions, PostgresPool, PostgresQuery, PostgresWrite, Sessions};
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use transaction::{Engine, TransactionConnection};

/// The action of an issue when a secret is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueMode {
    /// Replaces the secret.
    Rotate,
    /// Keeps the secret, and returns it: a new one is stored only where there is none, decided by the
    /// database in one statement.
    Heal,
}

/// The answer of a [`Database`], boxed so that the trait can be a trait object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DatabaseError>> + Send + 'a>>;

/// The answers for the workspaces of a batch, in their order.
pub type Answers<'a, T> = Pin<Box<dyn Future<Output = Vec<Result<T, DatabaseError>>> + Send + 'a>>;

/// Committed change of the column, made by this process or any other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowChange {
    /// The row of this workspace was inserted, deleted, or given another secret.
    One(WorkspaceId),
    /// Any row may have changed.
    Any,
}

/// Changes of a column, in any order, for as long as the database can tell of them.
pub type Changes = Pin<Box<dyn Stream<Item = RowChange> + Send>>;

/// A column of secrets, by workspace.
///
/// The cache calls it from tasks of its own, whatever becomes of the callers. An issue runs to its end. A
/// select whose load has waited long enough is dropped: its connection must not go to the next borrower with
/// an answer still in it. No poll may block its thread: other loads wait for the same task.
///
/// A statement is sent when its future is polled, never before. A panic while an issue is polled is an
/// outcome that is unknown, as is a lost connection: the entry goes, and for 35 s nothing is cached for the
/// workspace, since a server may be busy with what was sent. A panic before that has sent nothing, and one in
/// a SELECT is an error of it. The empty secret is absence; an issue that returns it has failed. An error
/// holds no secret, nor does an error behind it.
pub trait Database: Send + Sync + 'static {
    /// Reads the secret. `None` is absence: no row, NULL, or the empty string.
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>>;

    /// Reads the secrets of several workspaces, [`batch_size`](Self::batch_size) of them at most, in as few
    /// statements as it can: one answer for each, in their order. An error of one of them is no error of
    /// another.
    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(workspaces.len());
            for workspace in workspaces {
                answers.push(self.select(workspace).await);
            }
            answers
        })
    }

    /// The number of workspaces that [`select_batch`](Self::select_batch) reads at once; 1 if it is no better
    /// than one by one.
    fn batch_size(&self) -> usize {
        1
    }

    /// Stores `minted` as `mode` says and returns the secret that is stored, once that is committed: what the
    /// row holds, whatever a trigger makes of it.
    ///
    /// Nothing may be sent after `send_by`: the caller goes then, and an answer of
    /// [`DatabaseError::Overloaded`] says that nothing was done. [`DatabaseError::Timeout`] and
    /// [`DatabaseError::Lost`] say that the outcome is unknown. After any other error nothing was changed.
    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: Deadline,
    ) -> Answer<'a, Secret>;

    /// Stores `minted` in place of what is there, within a transaction of the program's own and over its
    /// connection, and returns what the row holds in it. Whatever the error, the transaction is not
    /// committed, unless it says [`DatabaseError::UnknownWorkspace`]. It goes with
    /// [`open_transaction`](Self::open_transaction): a database that has one of the two methods needs both.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn issue_in<'a>(
        &'a self,
        _connection: TransactionConnection<'a>,
        _workspace: &'a WorkspaceId,
        _minted: Secret,
    ) -> Answer<'a, Secret> {
        Box::pin(async { Err(transaction::takes_no_part()) })
    }

    /// Returns the transaction that is open on a connection of the program's, by a number that no later one
    /// has on that connection; `None` where none is open. An error says that the transaction cannot be
    /// committed.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn open_transaction<'a>(&'a self, _connection: TransactionConnection<'a>) -> Answer<'a, Option<i64>> {
        Box::pin(async { Err(transaction::takes_no_part()) })
    }

    /// Does, within the transaction, what a COMMIT may have to wait for: after it the COMMIT is carried out
    /// at once or never. After an error the transaction is not committed.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn prepare_commit<'a>(&'a self, _connection: TransactionConnection<'a>) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Returns the changes that are committed, by this process or any other; `None`, as by default, if the
    /// database does not tell of them. The cache drops the entry of a row that has changed, and does not
    /// store or share what it was reading of it meanwhile; without this stream it sees another process's
    /// change when the lease ends. A change of this process's own drops what its issue has stored: the next
    /// read is a SELECT.
    ///
    /// It is asked for while the cache is built: `None` is final then. A stream that has to connect first
    /// gives [`RowChange::Any`] once it listens, for what was committed before. After a stream has ended
    /// another one is asked for, at first after a second, later after up to a minute; every entry goes with
    /// it. A change that waits to be taken is for the stream to keep, or to fold into [`RowChange::Any`].
    fn changes(&self) -> Option<Changes> {
        None
    }

    /// The number of statements that were sent since the start.
    fn statements(&self) -> u64;

    /// The number of statements that the database runs at once; `None` if it does not say. By default the
    /// cache sends fewer reads than that at a time.
    fn connections(&self) -> Option<usize> {
        None
    }
}

impl<D: Database + ?Sized> Database for Arc<D> {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        (**self).select(workspace)
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        (**self).select_batch(workspaces)
    }

    fn batch_size(&self) -> usize {
        (**self).batch_size()
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: Deadline,
    ) -> Answer<'a, Secret> {
        (**self).issue(workspace, mode, minted, send_by)
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn issue_in<'a>(
        &'a self,
        connection: TransactionConnection<'a>,
        workspace: &'a WorkspaceId,
        minted: Secret,
    ) -> Answer<'a, Secret> {
        (**self).issue_in(connection, workspace, minted)
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn open_transaction<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, Option<i64>> {
        (**self).open_transaction(connection)
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn prepare_commit<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, ()> {
        (**self).prepare_commit(connection)
    }

    fn changes(&self) -> Option<Changes> {
        (**self).changes()
    }

    fn statements(&self) -> u64 {
        (**self).statements()
    }

    fn connections(&self) -> Option<usize> {
        (**self).connections()
    }
}
