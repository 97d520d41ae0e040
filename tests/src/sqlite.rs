//! Databases in files of a temporary folder.

use anyhow::{Context as _, Result};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;

/// A file in a folder of its own, removed with this value.
#[derive(Debug)]
pub struct TestDatabase {
    folder: TempDir,
    url: String,
    pool: SqlitePool,
}

impl TestDatabase {
    /// Creates an empty database.
    pub async fn create() -> Result<Self> {
        let folder = tempfile::tempdir().context("creating a temporary folder")?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("test.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        Ok(Self { folder, url, pool })
    }

    /// Returns the URL of this file.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL of a file beside it that does not exist.
    pub fn missing_url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("missing.db").display())
    }

    /// Returns connections for what a test does beside the code under test.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Returns how to connect, for a test that wants a pool with limits of its own.
    pub fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(self.folder.path().join("test.db"))
    }
}
