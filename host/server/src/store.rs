//! The table `workspaces`: one pool, shared by both caches and by the server's own statements.
//!
//! It knows nothing of HTTP. Each statement is one autocommit statement with bound parameters. A statement whose answer
//! was lost may have been committed, and says so: a careless reader would call that a failure.

mod connect;

use std::borrow::Cow;
use std::time::Duration;

use leasehold::{Builder, Column, Postgres, SecretCache, Sqlite, WorkspaceId};
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;
use sqlx::{PgPool, SqlitePool};

/// How long a statement may take, a connection from the pool included. The caller is a person or a probe.
const STATEMENT: Duration = Duration::from_secs(5);
/// How long a probe waits.
const PING: Duration = Duration::from_secs(1);
/// How long the pool may take to close: a connection that is stuck must not keep the process alive.
const CLOSE: Duration = Duration::from_secs(2);

// SQLite reads $1 as PostgreSQL does.
const INSERT: &str =
    "INSERT INTO workspaces (id, auth_token_hash) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
const DELETE: &str = "DELETE FROM workspaces WHERE id = $1";
const PROBE: &str = "SELECT 1";

/// The pool of whichever database it is.
#[derive(Clone)]
pub(crate) enum Store {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Why a statement did not do what was asked: always the database's fault. The words are ours: the database's own may
/// quote a row, as a trigger's do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It could not be reached, or refused the statement. Nothing was changed.
    #[error("the database is unavailable: {0}")]
    Unavailable(Cow<'static, str>),
    /// The connection was lost, or the answer was late.
    #[error("the database may or may not have done it: {0}")]
    OutcomeUnknown(Cow<'static, str>),
}

impl Store {
    /// Opens the database that the URL names and brings its schema up to date. The text is the URL for people to read,
    /// without a password.
    pub(crate) async fn open(url: &str) -> anyhow::Result<(Self, String)> {
        connect::open(url).await
    }

    /// The builder of a cache over one column of the table.
    pub(crate) async fn cache(&self, column: &str) -> anyhow::Result<Builder> {
        let column = Column::new("workspaces", "id", column)?;
        let [loads, issues] = self.shares();
        let builder = SecretCache::builder().max_loads(loads).max_issues(issues);
        Ok(match self {
            Self::Sqlite(pool) => builder.database(Sqlite::from_pool(pool.clone(), column).await?),
            Self::Postgres(pool) => builder.database(Postgres::from_pool(pool.clone(), column).await?),
        })
    }

    /// How many connections each cache may take for loads, and for issues: two caches and the server itself share them.
    fn shares(&self) -> [usize; 2] {
        let connections = match self {
            Self::Sqlite(pool) => pool.options().get_max_connections(),
            Self::Postgres(pool) => pool.options().get_max_connections(),
        };
        let connections = connections as usize;
        [connections / 3, connections / 4].map(|share| share.max(1))
    }

    /// Adds a workspace without a secret. `false`: there is one with this id already, and nothing was changed.
    pub(crate) async fn insert(&self, workspace: &WorkspaceId, token_hash: &str) -> Result<bool, StoreError> {
        Ok(self.execute(INSERT, &[workspace.as_str(), token_hash]).await? > 0)
    }

    /// Deletes a workspace. `false`: there was none.
    pub(crate) async fn delete(&self, workspace: &WorkspaceId) -> Result<bool, StoreError> {
        Ok(self.execute(DELETE, &[workspace.as_str()]).await? > 0)
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        match tokio::time::timeout(PING, self.execute(PROBE, &[])).await {
            Ok(answered) => answered.map(drop),
            Err(_) => Err(StoreError::Unavailable(format!("no answer within {PING:?}").into())),
        }
    }

    /// Waits for the connections that are in use, and closes all.
    pub(crate) async fn close(&self) {
        let closed = async {
            match self {
                Self::Sqlite(pool) => pool.close().await,
                Self::Postgres(pool) => pool.close().await,
            }
        };
        match tokio::time::timeout(CLOSE, closed).await {
            Ok(()) => tracing::info!("the database is closed"),
            Err(_) => tracing::warn!("the database did not close in time"),
        }
    }

    async fn execute(&self, statement: &'static str, parameters: &[&str]) -> Result<u64, StoreError> {
        let executed = async {
            match self {
                Self::Sqlite(pool) => {
                    let query =
                        parameters.iter().fold(sqlx::query(statement), |query, &value| query.bind(value));
                    query.execute(pool).await.map(|done| done.rows_affected())
                }
                Self::Postgres(pool) => {
                    let query =
                        parameters.iter().fold(sqlx::query(statement), |query, &value| query.bind(value));
                    query.execute(pool).await.map(|done| done.rows_affected())
                }
            }
        };
        match tokio::time::timeout(STATEMENT, executed).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(StoreError::from(error)),
            Err(_) => Err(StoreError::OutcomeUnknown(format!("no answer within {STATEMENT:?}").into())),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // Never sent, or answered with a refusal.
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Configuration(_)
            | sqlx::Error::Tls(_) => Self::Unavailable(describe(&error)),
            sqlx::Error::Database(ref refusal) if !is_io_error(&**refusal) => {
                Self::Unavailable(describe(&error))
            }
            // A connection that broke says nothing about what the other end has done.
            lost => Self::OutcomeUnknown(describe(&lost)),
        }
    }
}

/// Whether it was SQLite's disk that failed the statement, perhaps between the commit's record and its sync.
fn is_io_error(refusal: &dyn DatabaseError) -> bool {
    let code = refusal.try_downcast_ref::<SqliteError>().and_then(|error| error.code()?.parse::<u32>().ok());
    // The primary code, below its extension: SQLITE_IOERR.
    code.is_some_and(|code| code & 0xff == 10)
}

/// The error in words that cannot hold a value.
fn describe(error: &sqlx::Error) -> Cow<'static, str> {
    match error {
        sqlx::Error::Database(refusal) => match refusal.code() {
            Some(code) => format!("it refused the statement (code {code})").into(),
            None => "it refused the statement".into(),
        },
        sqlx::Error::Io(failure) => format!("the connection failed: {}", failure.kind()).into(),
        sqlx::Error::Tls(_) => "TLS failed".into(),
        sqlx::Error::PoolTimedOut => "no connection became free or could be opened in time".into(),
        sqlx::Error::PoolClosed => "the server is stopping".into(),
        _ => "the driver failed".into(),
    }
}
