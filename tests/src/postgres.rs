//! Databases in the throwaway cluster that `tests/run` starts and removes.
//!
//! No other server is ever touched: the cluster's address comes from `tests/run` alone, in an environment
//! variable.

use std::env;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};

/// The variable in which `tests/run` says how to reach the cluster, as a user that may create databases.
const VARIABLE: &str = "LEASEHOLD_TEST_POSTGRES";

/// A database with a name of its own. It goes with the cluster and not before: to drop it, the server waits
/// for every session, up to a minute for one that another test is in the middle of opening.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    admin: PgConnectOptions,
    pool: PgPool,
}

impl TestDatabase {
    /// Creates an empty database.
    pub async fn create() -> Result<Self> {
        let admin = admin()?;
        let name = unique_name()?;
        execute(&admin, format!("CREATE DATABASE {name}"))
            .await
            .context("creating a database for the test")?;
        let options = admin.clone().database(&name).application_name("test");
        // Few connections, because a cluster has 100 for all tests that run at once.
        let pool = PgPoolOptions::new().max_connections(3).connect_lazy_with(options.clone());
        let url = options.application_name("leasehold").to_url_lossy().to_string();
        Ok(Self { name, url, admin, pool })
    }

    /// Returns the URL of this database, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns connections for what a test does beside the code under test. Their `application_name` is
    /// `test`; that of the code under test is `leasehold`.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Returns how to connect, for a test that wants a pool with limits of its own.
    pub fn options(&self) -> PgConnectOptions {
        self.admin.clone().database(&self.name)
    }
}

fn admin() -> Result<PgConnectOptions> {
    let url = env::var(VARIABLE).with_context(|| {
        format!("{VARIABLE} is not set: run the tests with tests/run, which starts a PostgreSQL of its own")
    })?;
    url.parse().with_context(|| format!("{VARIABLE} is not the URL of a PostgreSQL server"))
}

async fn execute(admin: &PgConnectOptions, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect_with(admin).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Returns a name that no other test, in this process or in another one on the same cluster, comes up with.
fn unique_name() -> Result<String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    Ok(format!("test_{}_{started}_{count}", process::id()))
}
