//! SQLite when its file cannot be written: locked by another process, full, refused by the system, damaged,
//! gone.
//!
//! Each test checks the same: an issue that failed is a typed error that changed nothing and cached nothing,
//! or an error that says that the outcome is unknown; what is cached is served; what can still be read is
//! read; and nothing has to be restarted once the cause is gone. The causes are real, down to the system's
//! own error where that takes no privileges.

mod damaged;
mod full;
mod locked;

use anyhow::Result;
use leasehold::{Error, Policy, SecretCache, Sqlite, Status, WorkspaceId};
use leasehold_tests::sqlite::TestDatabase;
use sqlx::AssertSqlSafe;

/// A cache with the default policy over a file.
struct TestBed {
    cache: SecretCache,
    rows: TestDatabase,
}

impl TestBed {
    async fn over(rows: TestDatabase, database: Sqlite) -> Result<Self> {
        let policy = Policy::from_bytes(leasehold_policies::TTL);
        Ok(Self { cache: SecretCache::builder().database(database).policy(policy).build().await?, rows })
    }

    async fn read(&self, workspace: &str) -> Result<(String, Status), Error> {
        let lookup = self.cache.read(&id(workspace)).await?;
        Ok((lookup.secret.expose_str().expect("text").to_owned(), lookup.status))
    }

    async fn issue(&self, workspace: &str) -> Result<String, Error> {
        Ok(self.cache.issue(&id(workspace)).await?.expose_str().expect("text").to_owned())
    }

    async fn heal(&self, workspace: &str) -> Result<String, Error> {
        let lookup = self.cache.read_or_issue(&id(workspace)).await?;
        Ok(lookup.secret.expose_str().expect("text").to_owned())
    }

    /// Returns what the file holds, read beside the cache.
    async fn stored(&self, workspace: &str) -> Result<Option<String>> {
        let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
        Ok(sqlx::query_scalar(sql).bind(workspace).fetch_one(self.rows.pool()).await?)
    }

    async fn verdict(&self) -> Result<String> {
        Ok(sqlx::query_scalar("PRAGMA integrity_check").fetch_one(self.rows.pool()).await?)
    }
}

fn id(text: &str) -> WorkspaceId {
    WorkspaceId::new(text).expect("a usable id")
}

/// Creates a file with the table of the tests and what `sql` puts into it.
async fn workspaces(sql: &str) -> Result<TestDatabase> {
    let rows = TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(rows.pool()).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(rows.pool()).await?;
    Ok(rows)
}

/// Asserts that nothing was changed, for this reason.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Error>, words: &str) {
    match answer {
        Err(Error::Unavailable(reason)) if reason.contains(words) => {}
        other => panic!("expected a refusal that speaks of {words:?}, got {other:?}"),
    }
}
