//! A transaction over either database, for tests of both.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use anyhow::Result;
use leasehold::{Error, Secret, SecretCache, Transaction, WorkspaceId};
use leasehold_tests::Fixture;
use sqlx::{AssertSqlSafe, Connection as _};

/// A transaction of either kind.
pub(super) enum Begun {
    Postgres(Transaction<sqlx::Postgres>),
    Sqlite(Transaction<sqlx::Sqlite>),
}

impl Begun {
    pub(super) async fn on(fixture: &Fixture) -> Result<Self> {
        Ok(match fixture {
            Fixture::Postgres(database) => Self::Postgres(database.pool().begin().await?.into()),
            Fixture::Sqlite(database) => Self::Sqlite(database.pool().begin().await?.into()),
        })
    }

    pub(super) async fn issue(
        &mut self,
        cache: &SecretCache,
        workspace: &WorkspaceId,
    ) -> Result<Secret, Error> {
        match self {
            Self::Postgres(transaction) => cache.issue_in(transaction, workspace).await,
            Self::Sqlite(transaction) => cache.issue_in(transaction, workspace).await,
        }
    }

    pub(super) async fn execute(&mut self, sql: &str) -> Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(transaction) => sql.execute(&mut **transaction).await.map(drop)?,
            Self::Sqlite(transaction) => sql.execute(&mut **transaction).await.map(drop)?,
        }
        Ok(())
    }

    /// Begins a savepoint as the driver does, and drops that before it has begun. The driver rolls the whole
    /// transaction back then.
    pub(super) async fn give_up_a_savepoint(&mut self) {
        async fn poll_once(begin: impl Future) {
            let mut begin = pin!(begin);
            poll_fn(|context| Poll::Ready(begin.as_mut().poll(context).is_ready())).await;
        }
        match self {
            Self::Postgres(transaction) => poll_once(transaction.begin()).await,
            Self::Sqlite(transaction) => poll_once(transaction.begin()).await,
        }
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Postgres(transaction) => transaction.commit().await,
            Self::Sqlite(transaction) => transaction.commit().await,
        }
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        match self {
            Self::Postgres(transaction) => transaction.rollback().await,
            Self::Sqlite(transaction) => transaction.rollback().await,
        }
    }
}
