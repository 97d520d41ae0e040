//! The way to a PostgreSQL server: its URL, the pool's limits, and whether it has the column.
//!
//! Nothing here may print the URL, which holds a password. Messages name the server by what was parsed from it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Postgres, Row as _, SqlSafeStr as _,
};
use tokio::time::{Instant, timeout};

use super::failure::describe;
use crate::ConnectError;
use crate::database::Column;
use crate::database::column::Dialect;

/// How long the first connection and the look at the table may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement waits for a connection: short, since whoever waits behind it can be told to come again.
/// Below the second that a load waits by default, so that a statement that was never sent is not taken for a late one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(800);
/// How long an idle connection may take for a sign of life: several round trips, and enough of the time that is left then
/// to open another one.
const PING_TIMEOUT: Duration = Duration::from_millis(250);
/// The same for a connection that goes back: nobody waits for it, but it takes up a place.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);
/// Many workspaces travel in one statement, so a few connections carry thousands of workspaces.
const MAX_CONNECTIONS: u32 = 10;
/// The server's own limit: no statement of ours takes 30 s unless it waits for a lock that nobody lets go of.
const STATEMENT_TIMEOUT: (&str, &str) = ("statement_timeout", "30s");

/// Each column of a table, with the type that it is declared as and the one that it is based on if that is a domain.
/// `-1` as the modifier leaves a length out, and makes `character` what it is here: of any length.
const COLUMNS: &str = "SELECT CAST(a.attname AS text), format_type(a.atttypid, a.atttypmod), \
     format_type(b.oid, -1), CAST(b.typcategory AS text) \
     FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_type b ON b.oid = COALESCE(NULLIF(t.typbasetype, 0), t.oid) \
     WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

/// Reads the URL.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, ConnectError> {
    let refuse = |reason: String| ConnectError::Url { reason };
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => {}
        Some(_) => return Err(refuse("its scheme is not postgres://".to_owned())),
        None => return Err(refuse("it does not begin with postgres://".to_owned())),
    }
    let options: PgConnectOptions = url.parse().map_err(|error| {
        let problem = match error {
            sqlx::Error::Configuration(problem) => problem.to_string(),
            _ => "it cannot be parsed".to_owned(),
        };
        refuse(format!(
            "{problem}; expected postgres://user:password@host:port/database, with any of @ : / ? # % in the user or \
             the password written as %40 %3A %2F %3F %23 %25"
        ))
    })?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("leasehold"),
    };
    // The driver logs notices, and a trigger may put anything into one.
    let options = options.options([("client_min_messages", "error")]);
    let chosen = options.get_options().is_some_and(|given| given.contains(STATEMENT_TIMEOUT.0));
    Ok(if chosen { options } else { options.options([STATEMENT_TIMEOUT]) })
}

/// The pool that all statements share. It opens connections as they are needed.
pub(super) fn pool(options: PgConnectOptions) -> PgPool {
    let silent_at = Arc::new(SilentAt::default());
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // One round trip before each statement finds the connection that a restart or a firewall has ended. Without it,
        // the first issues after a restart would be lost, each with an outcome that nobody knows. The pool's own look has
        // no limit of time.
        .test_before_acquire(false)
        .before_acquire(move |connection, idle| {
            let silent_at = Arc::clone(&silent_at);
            Box::pin(async move { is_alive(connection, idle.idle_for, &silent_at).await })
        })
        .connect_lazy_with(options)
}

/// When a connection last gave no sign of life, if one ever did.
type SilentAt = Mutex<Option<Instant>>;

/// Whether a connection that was idle may be used.
async fn is_alive(
    connection: &mut PgConnection,
    idle_for: Duration,
    silent_at: &SilentAt,
) -> Result<bool, sqlx::Error> {
    let last = || silent_at.lock().unwrap_or_else(PoisonError::into_inner);
    let asked_at = Instant::now();
    // Those that were not used since another one was found silent share its fate: waiting for each would take too long.
    if last().is_some_and(|silent_at| asked_at.checked_sub(idle_for).is_none_or(|since| since < silent_at)) {
        return Ok(false);
    }
    match timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_elapsed) => {
            *last() = Some(asked_at);
            Ok(false)
        }
    }
}

/// Gives a connection back to its pool, which asks for a sign of life first, and would wait for it as long as it takes.
pub(super) fn give_back(mut connection: PoolConnection<Postgres>) {
    let returned = connection.return_to_pool();
    // One that is silent is closed, and its place is free.
    tokio::spawn(async move { timeout(RETURN_TIMEOUT, returned).await });
}

/// Connects once, outside the pool, and checks the column. Returns the key's type if it is not text.
///
/// A pool would try again and again and then say no more than that time is up; a connection says what is wrong.
pub(super) async fn check_server(
    options: &PgConnectOptions,
    column: &Column,
) -> Result<Option<String>, ConnectError> {
    let server = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let unreachable = |why: &str| ConnectError::Unreachable { reason: format!("{server}: {why}") };
    let attempt = async {
        let mut connection =
            PgConnection::connect_with(options).await.map_err(|error| unreachable(&describe(&error)))?;
        let key_type = check(&mut connection, column).await?;
        // The server ends the session when the socket closes, polite farewell or not.
        let _ = connection.close().await;
        Ok(key_type)
    };
    match timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(checked) => checked,
        Err(_elapsed) => Err(unreachable(&format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

/// Checks the column over a pool that exists. Returns the key's type if it is not text.
pub(super) async fn check_pool(pool: &PgPool, column: &Column) -> Result<Option<String>, ConnectError> {
    let mut connection = pool
        .acquire()
        .await
        .map_err(|error| ConnectError::Unreachable { reason: describe(&error).into_owned() })?;
    match timeout(CONNECT_TIMEOUT, check(&mut connection, column)).await {
        Ok(checked) => checked,
        Err(_elapsed) => {
            // It still waits for an answer, so that the next borrower would too.
            drop(connection.detach());
            let reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            Err(ConnectError::Unreachable { reason })
        }
    }
}

async fn check(connection: &mut PgConnection, column: &Column) -> Result<Option<String>, ConnectError> {
    let table = column.quoted_table();
    let rows = sqlx::query(COLUMNS).bind(&table).fetch_all(&mut *connection).await.map_err(|e| failed(&e))?;
    if rows.is_empty() {
        return Err(ConnectError::Schema(format!(
            "the database has no table {table}; names are case-sensitive"
        )));
    }
    let mut types = Vec::with_capacity(rows.len());
    for row in &rows {
        types.push(ColumnType::read(row).map_err(|error| failed(&error))?);
    }
    let find = |name: &str, role: &str| {
        types.iter().find(|candidate| candidate.column == name).ok_or_else(|| {
            ConnectError::Schema(format!(
                "the table {table} has no {role} {name:?}; names are case-sensitive"
            ))
        })
    };
    let key = find(column.key(), "key column")?;
    let secret = find(column.secret(), "secret column")?;
    // A `name` is a string too, but is cut off at 63 bytes without an error.
    if secret.category != "S" || secret.base == "name" {
        return Err(ConnectError::Schema(format!(
            "the secret column {column} has the type {}; expected text, varchar or char",
            secret.declared
        )));
    }
    let key_type = (key.base != "text").then(|| key.base.clone());
    // Whatever else is wrong (an index in place of a table, a key type that has no equality) shows when it is parsed.
    let select = column.statements(Dialect::Postgres { key_type: key_type.as_deref() }).select;
    connection.prepare(AssertSqlSafe(select).into_sql_str()).await.map_err(|error| {
        ConnectError::Schema(format!(
            "the column {column} cannot be read by the key column {:?} of type {}: {}",
            column.key(),
            key.declared,
            describe(&error)
        ))
    })?;
    Ok(key_type)
}

fn failed(error: &sqlx::Error) -> ConnectError {
    ConnectError::Schema(format!("the table could not be looked up: {}", describe(error)))
}

struct ColumnType {
    column: String,
    /// As it is declared, for messages: `character varying(64)`.
    declared: String,
    /// What it is compared as: the type below a domain, without a length.
    base: String,
    /// PostgreSQL's own grouping of types; `S` is strings.
    category: String,
}

impl ColumnType {
    fn read(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            column: row.try_get(0)?,
            declared: row.try_get(1)?,
            base: row.try_get(2)?,
            category: row.try_get(3)?,
        })
    }
}
