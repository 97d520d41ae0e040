//! From a URL to a pool with the current schema.
//!
//! It never shows the URL, which may hold a password: what is shown is put together from the parts that may be. Every
//! way to fail says what was expected and what to do next.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use leasehold::{ConnectError, PostgresOptions, PostgresPool};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqlSafeStr as _};

use super::Store;

const SQLITE_MIGRATION: &str = include_str!("../../migrations/sqlite/0001_workspaces.sql");
const POSTGRES_MIGRATION: &str = include_str!("../../migrations/postgres/0001_workspaces.sql");

/// Readers of both caches beside the one writer that SQLite has, and one for the server itself. Each is a thread.
const SQLITE_CONNECTIONS: u32 = 6;
/// Enough for every miss there should be, and few enough that a dozen servers share a small PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long to wait for a free connection, and in SQLite for another writer: longer, and heartbeats pile up.
/// Together they are below the second that a load waits, so that a statement that was never sent is not taken for a late one.
const ACQUIRE: Duration = Duration::from_millis(500);
const BUSY: Duration = Duration::from_millis(400);
/// How long the first connection may take, which resolves a name and negotiates TLS, or recovers a file.
const FIRST_CONNECT: Duration = Duration::from_secs(5);

pub(super) async fn open(url: &str) -> anyhow::Result<(Store, String)> {
    match url.split_once(':') {
        Some(("sqlite", _)) => open_sqlite(url).await,
        Some(("postgres" | "postgresql", _)) => open_postgres(url).await,
        // Only what can be a scheme is shown: in user:password@host, the part before the colon is not one.
        Some((scheme, rest)) if rest.starts_with("//") => anyhow::bail!(
            "--database has the unknown scheme {scheme:?}; expected sqlite://FILE?mode=rwc or postgres://USER@HOST:PORT/NAME"
        ),
        _ => anyhow::bail!(
            "--database is not a URL; expected sqlite://FILE?mode=rwc or postgres://USER@HOST:PORT/NAME"
        ),
    }
}

async fn open_sqlite(url: &str) -> anyhow::Result<(Store, String)> {
    let options = SqliteConnectOptions::from_str(url)
        .context("--database cannot be read; expected sqlite://FILE, with ?mode=rwc to create the file")?
        .journal_mode(SqliteJournalMode::Wal)
        // A secret that was answered must survive a power cut: NORMAL would lose the last commits in WAL mode.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY);
    let shown = format!("sqlite://{}", options.get_filename().display());
    let cannot_open = || {
        format!(
            "cannot open {shown}; does its directory exist, may this user write there, is mode=rwc in the URL?"
        )
    };
    // The first connection may have a log to recover and a journal mode to change: that takes the time that the disk
    // takes, and no other connection may be there. The pool's are opened once it has, and find it open.
    let first = tokio::time::timeout(FIRST_CONNECT, SqliteConnection::connect_with(&options))
        .await
        .with_context(cannot_open)?
        .with_context(cannot_open)?;
    let pool = SqlitePoolOptions::new()
        .max_connections(SQLITE_CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        // A local file does not go stale. No minimum of connections either: the pool would open it beside the first one.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .with_context(cannot_open)?;
    // What it leaves undone the pool's connections do.
    let _ = first.close().await;
    migrator(SQLITE_MIGRATION).run(&pool).await.with_context(|| cannot_migrate(&shown))?;
    Ok((Store::Sqlite(pool), shown))
}

async fn open_postgres(url: &str) -> anyhow::Result<(Store, String)> {
    let options = PostgresOptions::new(url).max_connections(POSTGRES_CONNECTIONS);
    let pool = PostgresPool::connect_with(options).await.map_err(|error| {
        let hint = match &error {
            ConnectError::Url { .. } => "correct --database",
            ConnectError::Unreachable { .. } => {
                "check its host, port and firewall, and the user and password (PGPASSWORD or ~/.pgpass)"
            }
            _ => return error.into(),
        };
        anyhow::anyhow!("{error}; {hint}")
    })?;
    let shown = show_postgres(&pool.pool().connect_options());
    migrator(POSTGRES_MIGRATION).run(pool.pool()).await.with_context(|| cannot_migrate(&shown))?;
    Ok((Store::Postgres(pool), shown))
}

fn show_postgres(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    // libpq's rule: a database without a name has the user's.
    let name = options.get_database().unwrap_or(user);
    match options.get_socket() {
        Some(socket) => format!("postgres://{user}@{}/{name}", socket.display()),
        None => format!("postgres://{user}@{}:{}/{name}", options.get_host(), options.get_port()),
    }
}

/// One migration so far. Built by hand, because the macro that reads the directory brings a SQL compiler along.
fn migrator(sql: &'static str) -> Migrator {
    let workspaces = Migration::new(1, "workspaces".into(), MigrationType::Simple, sql.into_sql_str(), false);
    Migrator::with_migrations(vec![workspaces])
}

fn cannot_migrate(shown: &str) -> String {
    format!(
        "cannot bring the schema of {shown} up to date; is it another program's database, or a newer server's?"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        match open(url).await {
            Ok((_, shown)) => panic!("opened {shown}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[tokio::test]
    async fn a_url_of_another_scheme_or_none_is_refused_with_those_that_would_do() {
        assert!(refused("mysql://u:hunter2@h/db").await.contains("unknown scheme \"mysql\""));
        for url in ["mysql://u:hunter2@h/db", "u:hunter2@h/db", "hunter2", "hunter2:x", ""] {
            let message = refused(url).await;
            assert!(message.contains("expected sqlite://") && !message.contains("hunter2"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_named() {
        let message = refused("sqlite:///no/such/directory/x.db?mode=rwc").await;
        assert!(
            message.contains("sqlite:///no/such/directory/x.db") && message.contains("directory exist"),
            "{message}"
        );
    }

    #[test]
    fn a_postgres_url_is_shown_without_its_password() {
        let options =
            PgConnectOptions::from_str("postgres://ann:hunter2@db.example:5433/prod?password=hunter2")
                .unwrap();
        assert_eq!(show_postgres(&options), "postgres://ann@db.example:5433/prod");
    }
}
