//! A pool of the program's own whose connections are all busy, and which waits for one for longer than the
//! cache does.

use std::time::Duration;

use anyhow::Result;
use leasehold::{Column, Database, Error, Postgres, SecretCache, Sqlite, Status};
use leasehold_tests::{Engine, Fixture};
use sqlx::Pool;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::time::Instant;

use super::id;
use crate::database::on_both;

on_both! {
    an_issue_that_finds_no_connection_is_known_not_to_have_been_sent_and_never_is,
}

const CONNECTIONS: u32 = 4;

/// Takes all connections of a pool, and holds them until it is dropped.
async fn all_of<DB: sqlx::Database>(pool: Pool<DB>) -> Result<Box<dyn Send>> {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        all.push(pool.acquire().await?);
    }
    Ok(Box::new(all))
}

/// Returns a cache over a pool as the driver makes it, which waits for half a minute, and all its
/// connections.
async fn crowded(fixture: &Fixture) -> Result<(SecretCache, Box<dyn Send>)> {
    async fn warm(database: impl Database) -> Result<SecretCache> {
        let cache = SecretCache::builder().database(database).build().await?;
        assert_eq!(cache.read(&id("w")).await?.status, Status::Miss);
        Ok(cache)
    }
    let column = Column::new("workspaces", "id", "platform_inbound_secret")?;
    Ok(match fixture {
        Fixture::Postgres(database) => {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
            let pool = pool.connect_lazy_with(database.options());
            (warm(Postgres::from_pool(pool.clone(), column).await?).await?, all_of(pool).await?)
        }
        Fixture::Sqlite(database) => {
            let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
            let pool = pool.connect_lazy_with(database.options());
            (warm(Sqlite::from_pool(pool.clone(), column).await?).await?, all_of(pool).await?)
        }
    })
}

async fn an_issue_that_finds_no_connection_is_known_not_to_have_been_sent_and_never_is(
    engine: Engine,
) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let (cache, all) = crowded(&fixture).await?;
    let (begun, before) = (Instant::now(), cache.stats().statements);
    let error = cache.issue(&id("w")).await.expect_err("there is no connection");
    assert_eq!(error, Error::Overloaded, "after {:?}", begun.elapsed());
    assert!(error.is_transient() && begun.elapsed() < Duration::from_secs(10));
    assert_eq!(cache.read(&id("w")).await?.status, Status::Hit, "nothing has changed");
    drop(all);
    // Its turn comes after any statement that might still be sent.
    let issued = cache.issue(&id("w")).await?;
    assert_eq!(cache.stats().statements - before, 1, "the first one was not carried out later");
    let stored = fixture.text("SELECT platform_inbound_secret FROM workspaces WHERE id = 'w'").await?;
    assert_eq!(stored.as_deref(), issued.expose_str());
    Ok(())
}
