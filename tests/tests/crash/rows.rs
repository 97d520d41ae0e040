//! The database of a server that is dead, opened without the server's code.
//!
//! Of SQLite a copy is opened, as after a crash of the machine: the file and its log, without the memory that
//! the processes shared. The original is left as the kill left it, so that the next server is the one to
//! recover it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use leasehold_tests::acknowledged::Row;
use leasehold_tests::server::Launch;
use leasehold_tests::{Engine, Fixture, MAX_WAIT};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

const FILE: &str = "crash.db";
const ROWS: &str = "SELECT id, platform_inbound_secret FROM workspaces";

/// A database, and how to start a server on it.
pub(super) struct Site {
    pub(super) launch: Launch,
    /// The fixture; `None` is SQLite, in the folder that the server is started in.
    cluster: Option<Fixture>,
}

impl Site {
    pub(super) async fn new(engine: Engine) -> Result<Self> {
        Ok(match engine {
            Engine::Sqlite => {
                Self { launch: Launch::new(&format!("sqlite://{FILE}?mode=rwc"))?, cluster: None }
            }
            Engine::Postgres => {
                let fixture = engine.empty().await?;
                Self { launch: Launch::new(fixture.url())?, cluster: Some(fixture) }
            }
        })
    }

    /// Returns the rows. No server may be running.
    pub(super) async fn rows(&self) -> Result<HashMap<String, Row>> {
        let rows = match &self.cluster {
            Some(Fixture::Postgres(database)) => {
                tokio::time::timeout(MAX_WAIT, sessions_end(database.pool()))
                    .await
                    .context("a session of the dead server lives on")??;
                sqlx::query_as(ROWS).fetch_all(database.pool()).await?
            }
            Some(Fixture::Sqlite(_)) => bail!("SQLite is opened by its file"),
            None => copied(self.launch.folder()).await?,
        };
        Ok(rows.into_iter().map(|(id, secret)| (id, row(secret))).collect())
    }
}

fn row(secret: Option<String>) -> Row {
    secret.filter(|secret| !secret.is_empty()).map_or(Row::Empty, Row::Holds)
}

/// Waits until PostgreSQL has ended the sessions of the dead server. Until then it may be about to commit for
/// them.
async fn sessions_end(pool: &sqlx::PgPool) -> Result<()> {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'leasehold'";
    while sqlx::query_scalar::<_, i64>(sessions).fetch_one(pool).await? > 0 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn copied(folder: &Path) -> Result<Vec<(String, Option<String>)>> {
    let copy = tempfile::tempdir()?;
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        if folder.join(&name).exists() {
            fs::copy(folder.join(&name), copy.path().join(&name))?;
        }
    }
    let options = SqliteConnectOptions::new().filename(copy.path().join(FILE));
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await?;
    ensure!(verdict == "ok", "integrity_check: {verdict}");
    let rows = sqlx::query_as(ROWS).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}
