//! The tables: one pool, shared by both caches and by the server's own statements.
//!
//! It knows nothing of HTTP. Each change is one transaction with bound parameters, in PostgreSQL one
//! autocommit statement. A change whose answer was lost may have been committed, and its error says so: a
//! careless reader would call that a failure.

mod connect;
mod existing;
mod file;
pub(crate) mod files;
mod layout;
mod list;
mod report;
mod schema;
mod source;
mod tokens;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use leasehold::{Builder, Column, DatabaseError, Health, Postgres, PostgresPool, SecretCache, Sqlite};
use sqlx::SqlitePool;
use sqlx::error::DatabaseError as _;
use sqlx::sqlite::SqliteError;

pub(crate) use self::file::DatabaseFile;

use self::file::{FileChange, Guarded};
pub(crate) use self::layout::{Layout, NamedColumn, RowOwner};
pub(crate) use self::list::{Listed, WorkspaceRow};
pub(crate) use self::report::DatabaseReport;
pub(crate) use self::schema::{Migrate, Migrated};
pub(crate) use self::source::DatabaseSource;
pub use self::source::password_on_command_line;
pub(crate) use self::tokens::{Added, Deleted, MAX_TOKENS, NewToken, StoredToken};
use crate::options::PoolBounds;

/// Time that a statement may take, a connection from the pool included. The caller is a person or a probe.
const STATEMENT: Duration = Duration::from_secs(5);
/// Timeout of a probe.
const PING: Duration = Duration::from_secs(1);
/// Time that the pool may take to close: a connection that is stuck must not keep the process alive.
const CLOSE: Duration = Duration::from_secs(2);

const PROBE: &str = "SELECT count(*) FROM sqlite_schema";

/// The pool of either database.
#[derive(Clone)]
pub(crate) enum Store {
    Sqlite(SqlitePool, Arc<DatabaseFile>),
    Postgres(PostgresPool),
}

/// Access that the database gives us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    /// Reading only: a standby, or a database that was set so.
    ReadOnly,
}

/// Reason why a statement was not carried out: always the database's fault. The words are ours: the
/// database's own may quote a row, as a trigger's do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database could not be reached, or refused the statement. Nothing was changed.
    #[error("the database is unavailable: {0}")]
    Unavailable(Cow<'static, str>),
    /// The database takes no writes. Nothing was changed.
    #[error("the database is read-only: a standby, or set so")]
    ReadOnly,
    /// The database's file is no longer the one that was opened. Nothing was changed.
    #[error("the database is unavailable: {0}")]
    FileChanged(FileChange),
    /// The connection was lost, or the answer was late.
    #[error("the database may or may not have done it: {0}")]
    OutcomeUnknown(Cow<'static, str>),
}

impl Store {
    /// Opens the database that the URL names, and brings its schema up to date as far as that is allowed. The
    /// text is the URL for people to read, without a password.
    pub(crate) async fn open(url: &str, how: Migrate, pool: PoolBounds) -> anyhow::Result<(Self, String)> {
        let source = DatabaseSource::new(url, None)?;
        let (store, _, shown) = Self::open_as(&source, &Layout::own(), how, pool).await?;
        Ok((store, shown))
    }

    /// Does the same for this layout, and returns it with what was found out about its tables. A table of
    /// another program is looked at and never changed.
    pub(crate) async fn open_as(
        source: &DatabaseSource,
        layout: &Layout,
        how: Migrate,
        pool: PoolBounds,
    ) -> anyhow::Result<(Self, Layout, String)> {
        connect::open(source, layout, how, pool).await
    }

    /// Returns the file that may be replaced under the server, if the database is one.
    pub(crate) fn file(&self) -> Option<&Arc<DatabaseFile>> {
        match self {
            Self::Sqlite(_, file) => Some(file),
            Self::Postgres(_) => None,
        }
    }

    /// Returns the builder of a cache over a column.
    pub(crate) async fn cache_of(&self, named: &NamedColumn) -> anyhow::Result<Builder> {
        self.cache_over(named.column()?).await
    }

    async fn cache_over(&self, column: Column) -> anyhow::Result<Builder> {
        let [loads, issues] = self.shares();
        let builder = SecretCache::builder().max_selects(loads).max_issues(issues);
        Ok(match self {
            Self::Sqlite(pool, file) => {
                let column = Sqlite::from_pool(pool.clone(), column).await?;
                builder.database(Guarded::new(column, Arc::clone(file)))
            }
            Self::Postgres(pool) => builder.database(Postgres::new(pool, column).await?),
        })
    }

    /// Returns the numbers of connections that each cache may take for loads, and for issues: two caches and
    /// the server itself share them.
    fn shares(&self) -> [usize; 2] {
        let connections = match self {
            Self::Sqlite(pool, _) => pool.options().get_max_connections(),
            Self::Postgres(pool) => pool.pool().options().get_max_connections(),
        };
        let connections = connections as usize;
        [connections / 3, connections / 4].map(|share| share.max(1))
    }

    /// Checks that the database answers, and returns whether it takes writes.
    pub(crate) async fn ping(&self) -> Result<Access, StoreError> {
        self.check_file()?;
        let asked = async {
            match self {
                Self::Sqlite(pool, file) => {
                    sqlx::query(PROBE).fetch_one(pool).await?;
                    Ok(if file.is_read_only() { Access::ReadOnly } else { Access::ReadWrite })
                }
                Self::Postgres(pool) => match pool.health().await? {
                    Health::ReadOnly => Ok(Access::ReadOnly),
                    _ => Ok(Access::ReadWrite),
                },
            }
        };
        tokio::time::timeout(PING, asked).await.unwrap_or_else(|_elapsed| {
            Err(StoreError::Unavailable(format!("no answer within {PING:?}").into()))
        })
    }

    /// Checks that the file is still the one that was opened.
    fn check_file(&self) -> Result<(), StoreError> {
        self.file().map_or(Ok(()), |file| file.check()).map_err(StoreError::FileChanged)
    }

    /// Empties the old file's log after the file has changed, so that it is not taken for the new file's.
    pub(crate) async fn part_from_file(&self) {
        if let Self::Sqlite(pool, file) = self {
            file.empty_log(pool).await;
        }
    }

    /// Reads the password of the database again, if there is one in a file.
    pub(crate) fn reload(&self) {
        if let Self::Postgres(pool) = self
            && let Err(error) = pool.reload()
        {
            tracing::error!(%error, "the way to the database cannot be read again; the old one stays");
        }
    }

    /// Waits for the connections that are in use, and closes all.
    pub(crate) async fn close(&self) {
        if self.check_file().is_err() {
            self.part_from_file().await;
        }
        if let Some(file) = self.file() {
            file.release();
        }
        let closed = async {
            match self {
                Self::Sqlite(pool, _) => pool.close().await,
                Self::Postgres(pool) => pool.pool().close().await,
            }
        };
        match tokio::time::timeout(CLOSE, closed).await {
            Ok(()) => tracing::info!("the database is closed"),
            Err(_) => tracing::warn!("the database did not close in time"),
        }
    }
}

async fn in_time<T>(executed: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(STATEMENT, executed).await.unwrap_or_else(|_elapsed| {
        Err(StoreError::OutcomeUnknown(format!("no answer within {STATEMENT:?}").into()))
    })
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Timeout | DatabaseError::Lost(_) => Self::OutcomeUnknown(error.to_string().into()),
            DatabaseError::ReadOnly => Self::ReadOnly,
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
            sqlx::Error::Database(ref refusal) if is_read_only(&**refusal) => Self::ReadOnly,
            sqlx::Error::Database(ref refusal) if !is_io_error(&**refusal) => {
                Self::Unavailable(describe(&error))
            }
            // A connection that broke says nothing about what the other end has done.
            lost => Self::OutcomeUnknown(describe(&lost)),
        }
    }
}

/// Returns whether the database takes no writes: SQLITE_READONLY.
fn is_read_only(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    primary_code(refusal) == Some(8)
}

/// Returns whether it was SQLite's disk that failed the statement, perhaps between the commit's record and
/// its sync: SQLITE_IOERR.
fn is_io_error(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    primary_code(refusal) == Some(10)
}

/// Returns SQLite's primary code, without its extension.
fn primary_code(refusal: &dyn sqlx::error::DatabaseError) -> Option<u32> {
    let error = refusal.try_downcast_ref::<SqliteError>()?;
    Some(error.code()?.parse::<u32>().ok()? & 0xff)
}

/// Returns the error in words that cannot hold a value.
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

/// Checks the database that the URL names, and changes nothing.
pub(crate) async fn check(source: &DatabaseSource, layout: &Layout) -> anyhow::Result<DatabaseReport> {
    connect::check(source, layout).await
}

/// Brings the schema of the database that the URL names up to date. The text is the URL for people to read.
pub(crate) async fn migrate(source: &DatabaseSource, layout: &Layout) -> anyhow::Result<(Migrated, String)> {
    connect::migrate(source, layout).await
}
