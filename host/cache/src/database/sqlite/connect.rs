//! The way to a SQLite file: its URL, the pool's limits, and whether it has the column.
//!
//! A file is created only if the URL says so: a mistyped path is an error, not an empty database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Executor as _, Row as _, SqlSafeStr as _, SqliteConnection, SqlitePool};

use super::failure::describe;
use super::statements::SqliteSql;
use crate::database::Column;
use crate::{ConnectError, IssueMode};

/// Maximum wait of a statement for a connection, and then for a lock: short, since a caller that waits behind
/// it can be asked to come again. Together they are below the second that a load waits by default, so that a
/// refusal arrives as one, and not as an issue whose outcome is unknown.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);
const BUSY_TIMEOUT: Duration = Duration::from_millis(400);
/// Maximum number of connections: each is a thread, and only one can write at a time.
const MAX_CONNECTIONS: u32 = 4;

/// Opens the file and connects once, so that an error shows now.
pub(super) async fn open(url: &str) -> Result<SqlitePool, ConnectError> {
    let options = options(url)?;
    let file = options.get_filename().display().to_string();
    SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A file does not go away like a server: connections need neither a test before use nor an end.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .map_err(|error| ConnectError::Unreachable { reason: format!("{file}: {}", describe(&error)) })
}

fn options(url: &str) -> Result<SqliteConnectOptions, ConnectError> {
    let refuse = |reason: String| ConnectError::Url { reason };
    if !url.starts_with("sqlite:") {
        return Err(refuse("it does not begin with sqlite:".to_owned()));
    }
    let options: SqliteConnectOptions = url.parse().map_err(|error| match error {
        sqlx::Error::Configuration(problem) => {
            refuse(format!("{problem}; expected sqlite://path, and ?mode=rwc to create the file"))
        }
        _ => refuse("it cannot be parsed".to_owned()),
    })?;
    let options = options.busy_timeout(BUSY_TIMEOUT).synchronous(SqliteSynchronous::Full);
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let read_only = parameters
        .split('&')
        .any(|parameter| matches!(parameter, "mode=ro" | "immutable=1" | "immutable=true"));
    // The journal mode is stored in the file, so a file that may not be written keeps its own.
    Ok(if read_only { options } else { options.journal_mode(SqliteJournalMode::Wal) })
}

/// Checks that the database has the column.
pub(super) async fn check(pool: &SqlitePool, column: &Column) -> Result<(), ConnectError> {
    let mut connection = pool
        .acquire()
        .await
        .map_err(|error| ConnectError::Unreachable { reason: describe(&error).into_owned() })?;
    let types = columns(&mut connection, column).await?;
    let table = column.quoted_table();
    if types.is_empty() {
        return Err(ConnectError::Schema(format!("the database has no table {table}")));
    }
    let find = |name: &str, role: &str| {
        // SQLite does not mind the case of a name.
        types
            .iter()
            .find(|candidate| candidate.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| ConnectError::Schema(format!("the table {table} has no {role} {name:?}")))
    };
    let key = find(column.key(), "key column")?;
    let declared = &find(column.secret(), "secret column")?.declared;
    if !keeps_text(declared) {
        return Err(ConnectError::Schema(format!(
            "the secret column {column} has the type {declared}, in which SQLite stores text that looks like \
             a number as a number; expected TEXT"
        )));
    }
    if !key.is_unique && !column.is_assumed_unique() {
        return Err(column.not_unique());
    }
    // Anything else that is wrong shows when the statements are parsed.
    let statements = SqliteSql::new(column);
    let both = [(&statements.select, "read"), (statements.issue(IssueMode::Rotate), "written")];
    for (statement, done) in both.into_iter().take(if column.is_read_only() { 1 } else { 2 }) {
        let text = AssertSqlSafe(Arc::clone(statement)).into_sql_str();
        connection.prepare(text).await.map_err(|error| {
            ConnectError::Schema(format!("the column {column} cannot be {done}: {}", describe(&error)))
        })?;
    }
    Ok(())
}

/// A column of a table or of a view.
struct Described {
    name: String,
    declared: String,
    /// Whether no two rows can have the same value, as far as that can be seen: for a view it is assumed.
    is_unique: bool,
}

/// Returns each column of the table, or of the view.
async fn columns(connection: &mut SqliteConnection, column: &Column) -> Result<Vec<Described>, ConnectError> {
    let failed = |error: sqlx::Error| {
        ConnectError::Schema(format!("the table could not be looked up: {}", describe(&error)))
    };
    // The extended list has the generated columns too. Through the list of schemas, an unknown schema is an
    // empty answer and not an error.
    let table = "SELECT c.name, c.type, \
                 (c.pk = 1 AND (SELECT max(pk) FROM pragma_table_xinfo(?1, s.name)) = 1) \
                 OR EXISTS (SELECT 1 FROM pragma_table_list(?1) AS t \
                 WHERE t.schema = s.name AND t.type = 'view') \
                 OR EXISTS (SELECT 1 FROM pragma_index_list(?1, s.name) AS i \
                 WHERE i.\"unique\" AND NOT i.partial \
                 AND (SELECT count(*) FROM pragma_index_info(i.name, s.name)) = 1 \
                 AND (SELECT name FROM pragma_index_info(i.name, s.name)) = c.name) \
                 FROM pragma_database_list AS s JOIN pragma_table_xinfo(?1, s.name) AS c \
                 WHERE s.name = ?2 COLLATE NOCASE";
    let rows = sqlx::query(table)
        .bind(column.table())
        .bind(column.schema().unwrap_or("main"))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let described = |row: &SqliteRow| {
        Ok(Described { name: row.try_get(0)?, declared: row.try_get(1)?, is_unique: row.try_get(2)? })
    };
    rows.iter().map(described).collect::<Result<_, _>>().map_err(failed)
}

/// Returns whether SQLite leaves text alone in a column of this declared type, by the rules of its chapter
/// "Determination Of Column Affinity". Any other type would turn the secret `1e3` into `1000.0`.
fn keeps_text(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    let text = has("CHAR") || has("CLOB") || has("TEXT");
    !has("INT") && (text || has("BLOB") || declared.is_empty())
}
