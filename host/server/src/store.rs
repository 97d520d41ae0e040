//! The table `workspaces`: one pool, shared by both caches and by the server's own statements.
//!
//! It knows nothing of HTTP. Each statement is one autocommit statement with bound parameters. A statement whose answer
//! was lost may have been committed, and says so: a careless reader would call that a failure.

mod connect;

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use leasehold::{
    Builder, Column, DatabaseError, Postgres, PostgresPool, PostgresWrite, SecretCache, Sqlite, WorkspaceId,
};
use sqlx::SqlitePool;
use sqlx::error::DatabaseError as _;
use sqlx::sqlite::SqliteError;

/// How long a statement may take, a connection from the pool included. The caller is a person or a probe.
const STATEMENT: Duration = Duration::from_secs(5);
/// How long a probe waits.
const PING: Duration = Duration::from_secs(1);
/// How long the pool may take to close: a connection that is stuck must not keep the process alive.
const CLOSE: Duration = Duration::from_secs(2);

const INSERT: &str =
    "INSERT INTO workspaces (id, auth_token_hash) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
const DELETE: &str = "DELETE FROM workspaces WHERE id = ?1";
const PROBE: &str = "SELECT 1";

/// The same for PostgreSQL, each of which does nothing unless it is the one that was meant.
static PG_INSERT: LazyLock<PostgresWrite> = LazyLock::new(|| {
    PostgresWrite::new("create", |guard| {
        format!(
            "INSERT INTO workspaces (id, auth_token_hash) SELECT $4, $5 WHERE {guard} ON CONFLICT (id) DO NOTHING \
             RETURNING 1 AS stored"
        )
    })
});
static PG_DELETE: LazyLock<PostgresWrite> = LazyLock::new(|| {
    PostgresWrite::new("delete", |guard| {
        format!("DELETE FROM workspaces WHERE id = $4 AND {guard} RETURNING 1 AS stored")
    })
});

/// The pool of whichever database it is.
#[derive(Clone)]
pub(crate) enum Store {
    Sqlite(SqlitePool),
    Postgres(PostgresPool),
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
            Self::Postgres(pool) => builder.database(Postgres::new(pool, column).await?),
        })
    }

    /// How many connections each cache may take for loads, and for issues: two caches and the server itself share them.
    fn shares(&self) -> [usize; 2] {
        let connections = match self {
            Self::Sqlite(pool) => pool.options().get_max_connections(),
            Self::Postgres(pool) => pool.pool().options().get_max_connections(),
        };
        let connections = connections as usize;
        [connections / 3, connections / 4].map(|share| share.max(1))
    }

    /// Adds a workspace without a secret. `false`: there is one with this id already, and nothing was changed.
    pub(crate) async fn insert(&self, workspace: &WorkspaceId, token_hash: &str) -> Result<bool, StoreError> {
        let parameters = [workspace.as_str(), token_hash];
        Ok(match self {
            Self::Sqlite(pool) => execute(pool, INSERT, &parameters).await?,
            Self::Postgres(pool) => write(pool, &PG_INSERT, &parameters).await?,
        } > 0)
    }

    /// Deletes a workspace. `false`: there was none.
    pub(crate) async fn delete(&self, workspace: &WorkspaceId) -> Result<bool, StoreError> {
        let parameters = [workspace.as_str()];
        Ok(match self {
            Self::Sqlite(pool) => execute(pool, DELETE, &parameters).await?,
            Self::Postgres(pool) => write(pool, &PG_DELETE, &parameters).await?,
        } > 0)
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let answered = async {
            match self {
                Self::Sqlite(pool) => execute(pool, PROBE, &[]).await.map(drop),
                Self::Postgres(pool) => Ok(pool.health().await.map(drop)?),
            }
        };
        tokio::time::timeout(PING, answered).await.unwrap_or_else(|_elapsed| {
            Err(StoreError::Unavailable(format!("no answer within {PING:?}").into()))
        })
    }

    /// Waits for the connections that are in use, and closes all.
    pub(crate) async fn close(&self) {
        let closed = async {
            match self {
                Self::Sqlite(pool) => pool.close().await,
                Self::Postgres(pool) => pool.pool().close().await,
            }
        };
        match tokio::time::timeout(CLOSE, closed).await {
            Ok(()) => tracing::info!("the database is closed"),
            Err(_) => tracing::warn!("the database did not close in time"),
        }
    }
}

async fn write(
    pool: &PostgresPool,
    statement: &PostgresWrite,
    parameters: &[&str],
) -> Result<u64, StoreError> {
    in_time(async { Ok(pool.write(statement, parameters).await?) }).await
}

async fn execute(pool: &SqlitePool, statement: &'static str, parameters: &[&str]) -> Result<u64, StoreError> {
    let query = parameters.iter().fold(sqlx::query(statement), |query, &value| query.bind(value));
    in_time(async { Ok(query.execute(pool).await?.rows_affected()) }).await
}

async fn in_time(executed: impl Future<Output = Result<u64, StoreError>>) -> Result<u64, StoreError> {
    tokio::time::timeout(STATEMENT, executed).await.unwrap_or_else(|_elapsed| {
        Err(StoreError::OutcomeUnknown(format!("no answer within {STATEMENT:?}").into()))
    })
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Timeout | DatabaseError::Lost(_) => Self::OutcomeUnknown(error.to_string().into()),
            // Never sent, or answered with a refusal.
            refused => Self::Unavailable(refused.to_string().into()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // Never sent, or answered with a refusal.
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Configuration(_) => {
                Self::Unavailable(describe(&error))
            }
            sqlx::Error::Database(ref refusal) if !is_io_error(&**refusal) => {
                Self::Unavailable(describe(&error))
            }
            // A connection that broke says nothing about what the other end has done.
            lost => Self::OutcomeUnknown(describe(&lost)),
        }
    }
}

/// Whether it was SQLite's disk that failed the statement, perhaps between the commit's record and its sync.
fn is_io_error(refusal: &dyn sqlx::error::DatabaseError) -> bool {
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
        sqlx::Error::PoolTimedOut => "no connection became free or could be opened in time".into(),
        sqlx::Error::PoolClosed => "the server is stopping".into(),
        _ => "the driver failed".into(),
    }
}
