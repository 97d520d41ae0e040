//! A process that holds the write lock of a SQLite file until it is asked to release it: the other program
//! that a test needs.
//!
//! `hold-lock FILE BEGIN-STATEMENT STATEMENT` begins, runs the statement, says `held`, and waits for a word
//! on stdin: `COMMIT` or `ROLLBACK`. It gives up after five seconds if it does not get the lock. It knows
//! nothing of what is tested.

use std::io::{Write as _, stdin, stdout};

use anyhow::{Context as _, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("expected FILE BEGIN-STATEMENT STATEMENT");
    let (file, begin, statement) = (next()?, next()?, next()?);
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await?;
    for sql in [begin, statement] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    }
    print("held")?;
    let mut word = String::new();
    stdin().read_line(&mut word)?;
    sqlx::raw_sql(AssertSqlSafe(word)).execute(&mut connection).await?;
    connection.close().await?;
    print("released")
}

fn print(word: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{word}")?;
    stdout.flush().context("writing to stdout")
}
