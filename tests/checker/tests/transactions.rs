//! Transactions of the program's own: a secret is issued in one, which is then committed or not.

use leasehold::{Error, SecretCache, Transaction, WorkspaceId};
use leasehold_checker::ValueId;
use sqlx::{Pool, Postgres, Sqlite};

use crate::world::value;

/// A pool that is not the cache's.
#[derive(Clone)]
pub(crate) enum Transactions {
    Postgres(Pool<Postgres>),
    Sqlite(Pool<Sqlite>),
}

/// The end of a transaction once a secret was issued in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Commit,
    Rollback,
    Drop,
}

impl Transactions {
    /// Returns the secret, where it was committed.
    pub(crate) async fn issue(
        &self,
        cache: &SecretCache,
        workspace: &WorkspaceId,
        end: End,
    ) -> Result<Option<ValueId>, Error> {
        match self {
            Self::Postgres(pool) => issue(pool, cache, workspace, end).await,
            Self::Sqlite(pool) => issue(pool, cache, workspace, end).await,
        }
    }
}

async fn issue<DB: leasehold::Engine>(
    pool: &Pool<DB>,
    cache: &SecretCache,
    workspace: &WorkspaceId,
    end: End,
) -> Result<Option<ValueId>, Error> {
    let unavailable = |error: sqlx::Error| Error::Unavailable(error.to_string().into());
    let mut transaction = Transaction::from(pool.begin().await.map_err(unavailable)?);
    let issued = value(&cache.issue_in(&mut transaction, workspace).await?);
    match end {
        End::Commit => transaction.commit().await.map(|()| Some(issued)),
        End::Rollback => transaction.rollback().await.map(|()| None),
        End::Drop => Ok(None),
    }
}
