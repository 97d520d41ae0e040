//! The connections to a PostgreSQL server: the limits of their pool, and how they go back to it.
//!
//! The URL is not known here (`url.rs`, `origin.rs`). Messages name the server by what was parsed from it.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};
use tokio::time::timeout;

use super::url::place;
use crate::ConnectError;

/// Maximum time for the first connection, and again for the look at the table.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait of a statement for a connection: short, since a caller that waits behind it can be asked to
/// come again. It is below the second that a load waits by default, so that a statement that was never sent
/// is not taken for a late one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(800);
/// Maximum time that a connection that goes back may take for a sign of life: nothing waits for it, but it
/// takes up a place in the pool.
pub(super) const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds the name of the server to the error.
pub(super) fn at(options: &PgConnectOptions, error: ConnectError) -> ConnectError {
    let server = place(options);
    match error {
        ConnectError::Unreachable { reason } => {
            ConnectError::Unreachable { reason: format!("{server}: {reason}") }
        }
        ConnectError::Pooler(reason) => ConnectError::Pooler(format!("{server}: {reason}")),
        error => error,
    }
}

/// Makes the pool that all statements share. It opens connections as they are needed.
pub(super) fn pool(
    options: PgConnectOptions,
    max_connections: u32,
    acquire_timeout: Duration,
    sets_limit: bool,
) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        // Each connection is asked for a sign of life when it is taken, within a time limit.
        .test_before_acquire(false);
    let pool = if sets_limit {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql("SET statement_timeout = '30s'").execute(connection).await.map(drop)
            })
        })
    } else {
        pool
    };
    pool.connect_lazy_with(options)
}

/// Gives a connection back to its pool, which asks for a sign of life first, and by itself would wait for it
/// without a limit.
pub(super) fn give_back(mut connection: PoolConnection<Postgres>) {
    let returned = connection.return_to_pool();
    // A connection that is silent is closed, and its place is free.
    tokio::spawn(async move { timeout(RETURN_TIMEOUT, returned).await });
}
