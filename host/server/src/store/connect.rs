//! The connection to the database: from a URL to a pool with the current schema.
//!
//! The URL is never shown, because it may hold a password: only the parts that may be shown are. Every error
//! names what was expected and what to do next.

use std::str::FromStr as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use leasehold::{ConnectError, PostgresOptions, PostgresPool, Sessions};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::file::DatabaseFile;
use super::schema::{Migrate, Migrated};
use super::{DatabaseReport, DatabaseSource, Layout, RowOwner, Store, existing, files, schema};
use crate::options::PoolBounds;

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

pub(super) async fn open(
    source: &DatabaseSource,
    layout: &Layout,
    how: Migrate,
    pool: PoolBounds,
) -> anyhow::Result<(Store, Layout, String)> {
    match kind(source)? {
        EngineKind::Sqlite => open_sqlite(source, layout, how, pool).await,
        EngineKind::Postgres => open_postgres(source, layout, how, pool).await,
    }
}

/// Brings the schema up to date over one connection.
pub(super) async fn migrate(source: &DatabaseSource, layout: &Layout) -> anyhow::Result<(Migrated, String)> {
    if layout.rows == RowOwner::Other {
        let report = check(source, layout).await?;
        let shown = shown(source)?;
        existing::ensure_usable(&report, &shown)?;
        return Ok((Migrated::WasExternal, shown));
    }
    match kind(source)? {
        EngineKind::Sqlite => {
            let options = sqlite_options(source)?;
            let shown = show_sqlite(&options);
            let mut connection = first_sqlite(&options, &shown).await?;
            let migrated = schema::sqlite(&mut connection, &shown, Migrate::IfNeeded).await?;
            connection.close().await?;
            Ok((migrated, shown))
        }
        EngineKind::Postgres => {
            // One message without prepared statements, which no pooler can take for another one.
            let pool = connected(source, source.postgres().without_pooler_check()).await?;
            let shown = shown(source)?;
            let mut connection = first_postgres(&pool, &shown).await?;
            let migrated = schema::postgres(&mut connection, &shown, Migrate::IfNeeded).await?;
            // A failed goodbye concerns the other end only.
            let _ = connection.close().await;
            Ok((migrated, shown))
        }
    }
}

/// Reports on a database. A reason that keeps it from being examined is an error.
pub(super) async fn check(source: &DatabaseSource, layout: &Layout) -> anyhow::Result<DatabaseReport> {
    let shown = shown(source)?;
    let mut report = DatabaseReport::default();
    report.fact("database", &*shown);
    match kind(source)? {
        EngineKind::Sqlite => {
            // Neither the file is made nor its journal mode changed.
            let options = sqlite_url(source)?.busy_timeout(BUSY).create_if_missing(false).read_only(true);
            let mut connection = first_sqlite(&options, &shown).await?;
            let access =
                if is_read_only(source.url()) { "read-only, as the URL says" } else { "read and write" };
            report.fact("access", access);
            match layout.rows {
                RowOwner::Server => schema::describe_sqlite(&mut connection, &mut report).await?,
                RowOwner::Other => {
                    existing::sqlite(&mut connection, &options, layout, &mut report).await?;
                }
            }
            connection.close().await?;
        }
        EngineKind::Postgres => {
            let pool = postgres_pool(source, PoolBounds::default()).await?;
            let mut connection = first_postgres(&pool, &shown).await?;
            describe_postgres(&mut connection, &pool, layout, &mut report).await?;
            // A failed goodbye concerns the other end only.
            let _ = connection.close().await;
        }
    }
    Ok(report)
}

/// Reports on what is there, and returns the layout with what was found out.
async fn describe_postgres(
    connection: &mut PgConnection,
    pool: &PostgresPool,
    layout: &Layout,
    report: &mut DatabaseReport,
) -> anyhow::Result<Layout> {
    let options = pool.pool().connect_options();
    report.fact(
        "sessions",
        match pool.sessions() {
            Sessions::PerTransaction => "lent by the transaction by a pooler that keeps prepared statements",
            _ => "each connection has its own",
        },
    );
    report.fact("host", format!("{}, port {}", options.get_host(), options.get_port()));
    match layout.rows {
        RowOwner::Server => {
            schema::describe_postgres(connection, report).await?;
            Ok(layout.clone())
        }
        RowOwner::Other => existing::postgres(connection, pool, layout, report).await,
    }
}

fn kind(source: &DatabaseSource) -> anyhow::Result<EngineKind> {
    let name = source.name();
    match source.url().split_once(':') {
        Some(("sqlite", _)) => Ok(EngineKind::Sqlite),
        Some(("postgres" | "postgresql", _)) => Ok(EngineKind::Postgres),
        // Only text that can be a scheme is shown: in user:password@host, the part before the colon is not
        // one.
        Some((scheme, rest)) if rest.starts_with("//") => anyhow::bail!(
            "{name} has the unknown scheme {scheme:?}; expected sqlite://FILE?mode=rwc or \
             postgres://USER@HOST:PORT/NAME"
        ),
        _ => anyhow::bail!(
            "{name} is not a URL; expected sqlite://FILE?mode=rwc or postgres://USER@HOST:PORT/NAME"
        ),
    }
}

/// Returns the URL for people, without its password.
fn shown(source: &DatabaseSource) -> anyhow::Result<String> {
    match kind(source)? {
        EngineKind::Sqlite => Ok(show_sqlite(&sqlite_url(source)?)),
        EngineKind::Postgres => source.postgres().shown().map_err(|error| cannot_be_used(source, &error)),
    }
}

fn cannot_be_used(source: &DatabaseSource, error: &ConnectError) -> anyhow::Error {
    anyhow::anyhow!("{} cannot be used: {error}", source.name())
}

async fn open_sqlite(
    source: &DatabaseSource,
    layout: &Layout,
    how: Migrate,
    bounds: PoolBounds,
) -> anyhow::Result<(Store, Layout, String)> {
    let options = sqlite_options(source)?;
    let makes = how == Migrate::IfNeeded && layout.rows == RowOwner::Server;
    let options = if makes { options } else { options.create_if_missing(false) };
    let shown = show_sqlite(&options);
    let path = options.get_filename().to_owned();
    // The first connection may have a log to recover and a journal mode to change: that takes the time that
    // the disk takes, and no other connection may be there. The pool's connections are opened after that, and
    // find it done.
    let mut first = first_sqlite(&options, &shown).await?;
    let found = match layout.rows {
        RowOwner::Server => {
            schema::sqlite(&mut first, &shown, how).await?;
            layout.clone()
        }
        RowOwner::Other => {
            let mut report = DatabaseReport::default();
            let found = existing::sqlite(&mut first, &options, layout, &mut report).await?;
            existing::ensure_usable(&report, &shown)?;
            tracing::info!("{}", report.line());
            existing::warn(layout, &found);
            found
        }
    };
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
    let opened = Arc::new(DatabaseFile::opened(&path, is_read_only(source.url()))?);
    let _ = file.set(Arc::clone(&opened));
    // The pool's connections do what it leaves undone.
    let _ = first.close().await;
    Ok((Store::Sqlite(pool, opened), found, shown))
}

fn sqlite_url(source: &DatabaseSource) -> anyhow::Result<SqliteConnectOptions> {
    SqliteConnectOptions::from_str(source.url()).with_context(|| {
        format!("{} cannot be read; expected sqlite://FILE, with ?mode=rwc to create the file", source.name())
    })
}

fn sqlite_options(source: &DatabaseSource) -> anyhow::Result<SqliteConnectOptions> {
    let options = sqlite_url(source)?
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
    Ok(if is_read_only(source.url()) { options } else { options.journal_mode(SqliteJournalMode::Wal) })
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

async fn open_postgres(
    source: &DatabaseSource,
    layout: &Layout,
    how: Migrate,
    bounds: PoolBounds,
) -> anyhow::Result<(Store, Layout, String)> {
    let shown = shown(source)?;
    let pool = postgres_pool(source, bounds).await?;
    let mut first = first_postgres(&pool, &shown).await?;
    if layout.rows == RowOwner::Server {
        schema::postgres(&mut first, &shown, how).await?;
    }
    let mut report = DatabaseReport::default();
    report.fact("database", &*shown);
    let found = describe_postgres(&mut first, &pool, layout, &mut report).await?;
    if layout.rows == RowOwner::Other {
        existing::ensure_usable(&report, &shown)?;
        existing::warn(layout, &found);
    }
    tracing::info!("{}", report.line());
    // A failed goodbye concerns the other end only.
    let _ = first.close().await;
    Ok((Store::Postgres(pool), found, shown))
}

/// Makes the pool. It finds out what is at the other end before anything is written.
async fn postgres_pool(source: &DatabaseSource, bounds: PoolBounds) -> anyhow::Result<PostgresPool> {
    let options = source.postgres().max_connections(bounds.size.unwrap_or(POSTGRES_CONNECTIONS));
    let options = match bounds.timeout {
        Some(timeout) => options.acquire_timeout(timeout),
        None => options,
    };
    connected(source, options).await
}

async fn connected(source: &DatabaseSource, options: PostgresOptions) -> anyhow::Result<PostgresPool> {
    PostgresPool::connect_with(options).await.map_err(|error| match &error {
        ConnectError::Url { .. } => cannot_be_used(source, &error),
        ConnectError::Unreachable { reason } => {
            let shown = shown(source).unwrap_or_else(|_| "the database".to_owned());
            anyhow::anyhow!(
                "cannot connect to {shown}: {reason}; check its host and port, the firewall, and the user \
                 and password (PGPASSWORD or ~/.pgpass)"
            )
        }
        _ => error.into(),
    })
}

/// Opens a connection outside the pool, for the schema.
async fn first_postgres(pool: &PostgresPool, shown: &str) -> anyhow::Result<PgConnection> {
    let options = pool.pool().connect_options();
    tokio::time::timeout(FIRST_CONNECT, PgConnection::connect_with(&options))
        .await
        .with_context(|| format!("{shown} does not answer; check its host, port and firewall"))?
        .with_context(|| format!("cannot connect to {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        let source = DatabaseSource::new(url, None).unwrap();
        match open(&source, &Layout::own(), Migrate::IfNeeded, PoolBounds::default()).await {
            Ok((_, _, shown)) => panic!("opened {shown}"),
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
}
