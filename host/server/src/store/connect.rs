//! The connection to the database: from a URL to a pool with the current schema.
//!
//! The URL is never shown, because it may hold a password: only the parts that may be shown are. Every error
//! names what was expected and what to do next.

use std::str::FromStr as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use leasehold::{ConnectError, PostgresOptions, PostgresPool, Sessions};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::file::DatabaseFile;
use super::schema::{Migrate, Migrated};
use super::{DatabaseReport, PoolBounds, Store, files, schema};

/// Number of connections to SQLite: readers of both caches beside the one writer that SQLite has, and one for
/// the server itself. Each is a thread.
const SQLITE_CONNECTIONS: u32 = 6;
/// Number of connections to PostgreSQL: enough for every miss there should be, and few enough that a dozen
/// servers share a small PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Maximum wait for a free connection, and in SQLite for another writer: with a longer one heartbeats pile
/// up. Together they are below the second that a load waits, so that a statement that was never sent is not
/// taken for a late one.
const ACQUIRE: Duration = Duration::from_millis(500);
const BUSY: Duration = Duration::from_millis(400);
/// Time after which the driver calls a statement slow.
const SLOW: Duration = Duration::from_secs(1);
/// Time that the first connection may take, which resolves a name and negotiates TLS, or recovers a file.
const FIRST_CONNECT: Duration = Duration::from_secs(5);

/// Kind of database that a URL names.
enum EngineKind {
    Sqlite,
    Postgres,
}

pub(super) async fn open(url: &str, how: Migrate, pool: PoolBounds) -> anyhow::Result<(Store, String)> {
    match kind(url)? {
        EngineKind::Sqlite => open_sqlite(url, how, pool).await,
        EngineKind::Postgres => open_postgres(url, how, pool).await,
    }
}

/// Brings the schema up to date over one connection.
pub(super) async fn migrate(url: &str) -> anyhow::Result<(Migrated, String)> {
    match kind(url)? {
        EngineKind::Sqlite => {
            let options = sqlite_options(url)?;
            let shown = show_sqlite(&options);
            let mut connection = first_sqlite(&options, &shown).await?;
            let migrated = schema::sqlite(&mut connection, &shown, Migrate::IfNeeded).await?;
            connection.close().await?;
            Ok((migrated, shown))
        }
        EngineKind::Postgres => {
            // One message without prepared statements, which no pooler can take for another one.
            let pool = connected(url, PostgresOptions::new(url).without_pooler_check()).await?;
            let options = pool.pool().connect_options();
            let shown = show_postgres(&options);
            let mut connection = first_postgres(&options, &shown).await?;
            let migrated = schema::postgres(&mut connection, &shown, Migrate::IfNeeded).await?;
            // A failed goodbye concerns the other end only.
            let _ = connection.close().await;
            Ok((migrated, shown))
        }
    }
}

/// Reports on a database. A reason that keeps it from being examined is an error.
pub(super) async fn check(url: &str) -> anyhow::Result<DatabaseReport> {
    match kind(url)? {
        EngineKind::Sqlite => {
            // Neither the file is made nor its journal mode changed.
            let options = sqlite_url(url)?.busy_timeout(BUSY).create_if_missing(false).read_only(true);
            let shown = show_sqlite(&options);
            let mut connection = first_sqlite(&options, &shown).await?;
            let mut report = DatabaseReport::default();
            report.fact("database", &*shown);
            let access = if is_read_only(url) { "read-only, as the URL says" } else { "read and write" };
            report.fact("access", access);
            schema::describe_sqlite(&mut connection, &mut report).await?;
            connection.close().await?;
            Ok(report)
        }
        EngineKind::Postgres => {
            let pool = postgres_pool(url, PoolBounds::default()).await?;
            let options = pool.pool().connect_options();
            let shown = show_postgres(&options);
            let mut connection = first_postgres(&options, &shown).await?;
            let report = describe_postgres(&mut connection, &pool, &shown).await?;
            // A failed goodbye concerns the other end only.
            let _ = connection.close().await;
            Ok(report)
        }
    }
}

async fn describe_postgres(
    connection: &mut PgConnection,
    pool: &PostgresPool,
    shown: &str,
) -> anyhow::Result<DatabaseReport> {
    let mut report = DatabaseReport::default();
    report.fact("database", shown);
    report.fact(
        "sessions",
        match pool.sessions() {
            Sessions::PerTransaction => "lent by the transaction by a pooler that keeps prepared statements",
            _ => "each connection has its own",
        },
    );
    schema::describe_postgres(connection, &mut report).await?;
    Ok(report)
}

fn kind(url: &str) -> anyhow::Result<EngineKind> {
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(EngineKind::Sqlite),
        Some(("postgres" | "postgresql", _)) => Ok(EngineKind::Postgres),
        // Only text that can be a scheme is shown: in user:password@host, the part before the colon is not
        // one.
        Some((scheme, rest)) if rest.starts_with("//") => anyhow::bail!(
            "--database has the unknown scheme {scheme:?}; expected sqlite://FILE?mode=rwc or \
             postgres://USER@HOST:PORT/NAME"
        ),
        _ => anyhow::bail!(
            "--database is not a URL; expected sqlite://FILE?mode=rwc or postgres://USER@HOST:PORT/NAME"
        ),
    }
}

async fn open_sqlite(url: &str, how: Migrate, bounds: PoolBounds) -> anyhow::Result<(Store, String)> {
    let options = sqlite_options(url)?;
    let options = if how == Migrate::Never { options.create_if_missing(false) } else { options };
    let shown = show_sqlite(&options);
    let path = options.get_filename().to_owned();
    // The first connection may have a log to recover and a journal mode to change: that takes the time that
    // the disk takes, and no other connection may be there. The pool's connections are opened after that, and
    // find it done.
    let mut first = first_sqlite(&options, &shown).await?;
    schema::sqlite(&mut first, &shown, how).await?;
    // A connection that opens the path later might find another file there: all connections are made now, and
    // a later one is checked.
    let file = Arc::new(OnceLock::<Arc<DatabaseFile>>::new());
    let looked_at = Arc::clone(&file);
    let size = bounds.size.unwrap_or(SQLITE_CONNECTIONS);
    let pool = SqlitePoolOptions::new()
        .min_connections(size)
        .max_connections(size)
        .acquire_timeout(bounds.timeout.unwrap_or(ACQUIRE))
        // A local file does not go stale.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |_, _| {
            let checked = looked_at.get().map_or(Ok(()), |file| file.check());
            Box::pin(std::future::ready(checked.map_err(|change| sqlx::Error::Configuration(change.into()))))
        })
        .connect_with(options)
        .await
        .with_context(|| cannot_open(&shown))?;
    let opened = Arc::new(DatabaseFile::opened(&path, is_read_only(url))?);
    let _ = file.set(Arc::clone(&opened));
    // The pool's connections do what it leaves undone.
    let _ = first.close().await;
    Ok((Store::Sqlite(pool, opened), shown))
}

fn sqlite_url(url: &str) -> anyhow::Result<SqliteConnectOptions> {
    SqliteConnectOptions::from_str(url)
        .context("--database cannot be read; expected sqlite://FILE, with ?mode=rwc to create the file")
}

fn sqlite_options(url: &str) -> anyhow::Result<SqliteConnectOptions> {
    let options = sqlite_url(url)?
        // A secret that was answered must survive a power cut: NORMAL would lose the last commits in WAL
        // mode.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY);
    // A disk that is slow would be a warning for each statement.
    let options = match "debug".parse() {
        Ok(level) => options.log_slow_statements(level, SLOW),
        Err(_) => options,
    };
    // The mode is stored in the file, so that a file which may not be written keeps its own.
    Ok(if is_read_only(url) { options } else { options.journal_mode(SqliteJournalMode::Wal) })
}

fn is_read_only(url: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    parameters.split('&').any(|parameter| matches!(parameter, "mode=ro" | "immutable=1" | "immutable=true"))
}

fn show_sqlite(options: &SqliteConnectOptions) -> String {
    format!("sqlite://{}", options.get_filename().display())
}

fn cannot_open(shown: &str) -> String {
    format!(
        "cannot open {shown}; does its directory exist, may this user write there, is mode=rwc in the URL?"
    )
}

/// Opens the first connection to a file, and checks that the file is whole.
async fn first_sqlite(options: &SqliteConnectOptions, shown: &str) -> anyhow::Result<SqliteConnection> {
    files::refuse_stray_log(options.get_filename())?;
    let mut first = tokio::time::timeout(FIRST_CONNECT, SqliteConnection::connect_with(options))
        .await
        .with_context(|| cannot_open(shown))?
        .with_context(|| cannot_open(shown))?;
    files::quick_check(&mut first, shown).await?;
    Ok(first)
}

async fn open_postgres(url: &str, how: Migrate, bounds: PoolBounds) -> anyhow::Result<(Store, String)> {
    let pool = postgres_pool(url, bounds).await?;
    let options = pool.pool().connect_options();
    let shown = show_postgres(&options);
    let mut first = first_postgres(&options, &shown).await?;
    schema::postgres(&mut first, &shown, how).await?;
    let report = describe_postgres(&mut first, &pool, &shown).await?;
    tracing::info!("{}", report.line());
    // A failed goodbye concerns the other end only.
    let _ = first.close().await;
    Ok((Store::Postgres(pool), shown))
}

/// Makes the pool. It finds out what is at the other end before anything is written.
async fn postgres_pool(url: &str, bounds: PoolBounds) -> anyhow::Result<PostgresPool> {
    let options = PostgresOptions::new(url).max_connections(bounds.size.unwrap_or(POSTGRES_CONNECTIONS));
    let options = match bounds.timeout {
        Some(timeout) => options.acquire_timeout(timeout),
        None => options,
    };
    connected(url, options).await
}

async fn connected(url: &str, options: PostgresOptions) -> anyhow::Result<PostgresPool> {
    PostgresPool::connect_with(options).await.map_err(|error| match &error {
        ConnectError::Url { .. } => anyhow::anyhow!("--database cannot be used: {error}"),
        ConnectError::Unreachable { reason } => {
            let shown =
                url.parse().map_or_else(|_| "the database".to_owned(), |options| show_postgres(&options));
            anyhow::anyhow!(
                "cannot connect to {shown}: {reason}; check its host and port, the firewall, and the user \
                 and password (PGPASSWORD or ~/.pgpass)"
            )
        }
        _ => error.into(),
    })
}

/// Opens a connection outside the pool, for the schema.
async fn first_postgres(options: &PgConnectOptions, shown: &str) -> anyhow::Result<PgConnection> {
    tokio::time::timeout(FIRST_CONNECT, PgConnection::connect_with(options))
        .await
        .with_context(|| format!("{shown} does not answer; check its host, port and firewall"))?
        .with_context(|| format!("cannot connect to {shown}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        match open(url, Migrate::IfNeeded, PoolBounds::default()).await {
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
