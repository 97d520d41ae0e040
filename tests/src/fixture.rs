//! One interface to the two databases, so that a test of what both must do is written once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use leasehold::{Column, ConnectError, Database, Postgres, Sqlite};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;

use crate::{postgres, sqlite};

/// The table that the tests use unless they are about tables.
pub const WORKSPACES: &str =
    "CREATE TABLE workspaces (id TEXT PRIMARY KEY, auth_token_hash TEXT, platform_inbound_secret TEXT)";

/// Time for which a test waits for a database that is merely slow.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// The kinds of database that the cache works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A database of the throwaway cluster that `tests/run` starts.
    Postgres,
    /// A file in a temporary folder.
    Sqlite,
}

/// A database of either kind that no other test uses.
#[derive(Debug)]
pub enum Fixture {
    /// The database of the cluster; see [`postgres::TestDatabase`].
    Postgres(Box<postgres::TestDatabase>),
    /// The database in a file; see [`sqlite::TestDatabase`].
    Sqlite(sqlite::TestDatabase),
}

impl Engine {
    /// Creates a database without tables.
    pub async fn empty(self) -> Result<Fixture> {
        Ok(match self {
            Self::Postgres => Fixture::Postgres(Box::new(postgres::TestDatabase::create().await?)),
            Self::Sqlite => Fixture::Sqlite(sqlite::TestDatabase::create().await?),
        })
    }

    /// Creates a database with the table [`WORKSPACES`] and nothing in it.
    pub async fn workspaces(self) -> Result<Fixture> {
        let fixture = self.empty().await?;
        fixture.execute(WORKSPACES).await?;
        Ok(fixture)
    }
}

impl Fixture {
    /// Returns the kind of the database.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Postgres(_) => Engine::Postgres,
            Self::Sqlite(_) => Engine::Sqlite,
        }
    }

    /// Returns the URL to connect with.
    pub fn url(&self) -> &str {
        match self {
            Self::Postgres(database) => database.url(),
            Self::Sqlite(database) => database.url(),
        }
    }

    /// Runs SQL beside the code under test, on a connection of the fixture's own.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(database) => sql.execute(database.pool()).await.map(drop)?,
            Self::Sqlite(database) => sql.execute(database.pool()).await.map(drop)?,
        }
        Ok(())
    }

    /// Reads one text beside the code under test. `None` is no row or NULL.
    pub async fn text(&self, sql: &str) -> Result<Option<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        let row: Option<Option<String>> = match self {
            Self::Postgres(database) => sqlx::query_scalar(sql).fetch_optional(database.pool()).await?,
            Self::Sqlite(database) => sqlx::query_scalar(sql).fetch_optional(database.pool()).await?,
        };
        Ok(row.flatten())
    }

    /// Stores a workspace with this secret in the table [`WORKSPACES`].
    pub async fn insert(&self, id: &str, secret: Option<&str>) -> Result<()> {
        let sql = "INSERT INTO workspaces (id, platform_inbound_secret) VALUES ($1, $2)";
        match self {
            Self::Postgres(database) => {
                sqlx::query(sql).bind(id).bind(secret).execute(database.pool()).await.map(drop)?
            }
            Self::Sqlite(database) => {
                sqlx::query(sql).bind(id).bind(secret).execute(database.pool()).await.map(drop)?
            }
        }
        Ok(())
    }

    /// Connects the code under test, with a pool of its own.
    pub async fn connect(&self, column: Column) -> Result<Arc<dyn Database>, ConnectError> {
        Ok(match self {
            Self::Postgres(database) => Arc::new(Postgres::connect(database.url(), column).await?),
            Self::Sqlite(database) => Arc::new(Sqlite::connect(database.url(), column).await?),
        })
    }

    /// Connects the code under test to the secrets of the table [`WORKSPACES`], over a small pool that waits
    /// for as long as it takes: on a busy machine a test must not fail because a login was slow.
    pub async fn secrets(&self) -> Result<Arc<dyn Database>> {
        self.patiently(Column::new("workspaces", "id", "platform_inbound_secret")?).await
    }

    /// Connects in the same manner to any column.
    pub async fn patiently(&self, column: Column) -> Result<Arc<dyn Database>> {
        Ok(match self {
            Self::Postgres(database) => {
                let options = database.options().application_name("leasehold");
                let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(MAX_WAIT);
                Arc::new(Postgres::from_pool(pool.connect_lazy_with(options), column).await?)
            }
            Self::Sqlite(database) => {
                let options = database.options().busy_timeout(MAX_WAIT);
                let pool = SqlitePoolOptions::new().max_connections(4).acquire_timeout(MAX_WAIT);
                Arc::new(Sqlite::from_pool(pool.connect_lazy_with(options), column).await?)
            }
        })
    }
}
