//! A connection that is kept from one SELECT to the next: how its loss is noticed, and what becomes of it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use leasehold::{Database as _, IssueMode, Postgres, Secret, Sqlite};
use leasehold_tests::{Engine, postgres, sqlite};
use sqlx::postgres::PgPoolOptions;

use super::{at_leisure, column, id, select};

/// Time limit: long enough for a connection to go back by itself, and far below what a caller would wait for
/// one.
const SOON: Duration = Duration::from_secs(5);

async fn on_postgres() -> Result<(postgres::TestDatabase, Postgres)> {
    let fixture = postgres::TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(fixture.pool()).await?;
    let insert = "INSERT INTO workspaces (id, platform_inbound_secret) VALUES ('w', 'old')";
    sqlx::raw_sql(insert).execute(fixture.pool()).await?;
    let database = Postgres::connect(fixture.url(), column()).await?;
    Ok((fixture, database))
}

/// Waits until so many connections lie idle in the pool.
async fn idle(count: usize, pool: &sqlx::PgPool) -> Result<()> {
    let wait = async {
        while pool.num_idle() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, wait).await.with_context(|| format!("never {count} idle connections"))
}

#[tokio::test]
async fn selects_in_a_row_use_one_connection_which_then_goes_back() -> Result<()> {
    let (_fixture, database) = on_postgres().await?;
    for _ in 0..100 {
        assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
        assert_eq!(database.pool().size(), 1);
    }
    assert_eq!(database.pool().num_idle(), 0, "it is kept");
    idle(1, database.pool()).await?;
    assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    assert_eq!(database.pool().size(), 1, "it is taken out again");
    Ok(())
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_ended_is_no_miss_at_all() -> Result<()> {
    let (fixture, database) = on_postgres().await?;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'leasehold'";
    for _ in 0..20 {
        assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
        let ended: i64 = sqlx::query_scalar(end).fetch_one(fixture.pool()).await?;
        assert!(ended > 0, "there was none to end");
        assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    }
    Ok(())
}

#[tokio::test]
async fn an_issue_never_uses_a_connection_that_was_kept() -> Result<()> {
    let (fixture, database) = on_postgres().await?;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'leasehold'";
    for _ in 0..20 {
        assert!(select(&database, "w").await?.is_some());
        sqlx::query(end).fetch_one(fixture.pool()).await?;
        // On the ended connection its outcome would be unknown.
        database.issue(&id("w"), IssueMode::Rotate, Secret::new("new"), at_leisure()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_a_small_pool_none_is_kept_and_of_a_full_one_it_goes_to_whoever_issues() -> Result<()> {
    let (fixture, _) = on_postgres().await?;
    let small = PgPoolOptions::new().max_connections(3).connect_with(fixture.options()).await?;
    let database = Postgres::from_pool(small.clone(), column()).await?;
    assert!(select(&database, "w").await?.is_some());
    idle(1, &small).await?;

    let patience = Duration::from_millis(800);
    let full = PgPoolOptions::new().max_connections(4).acquire_timeout(patience);
    let full = full.connect_with(fixture.options()).await?;
    let database = Postgres::from_pool(full.clone(), column()).await?;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(full.acquire().await?);
    }
    for _ in 0..20 {
        assert!(select(&database, "w").await?.is_some());
        database.issue(&id("w"), IssueMode::Rotate, Secret::new("new"), at_leisure()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_pool_is_closed_while_a_connection_is_kept() -> Result<()> {
    let (_fixture, database) = on_postgres().await?;
    assert!(select(&database, "w").await?.is_some());
    tokio::time::timeout(SOON, database.pool().close()).await.context("it is kept for ever")?;
    assert!(select(&database, "w").await.is_err(), "the pool is closed");
    Ok(())
}

#[test]
fn a_database_may_be_dropped_after_its_runtime_with_a_connection_kept() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match engine {
            Engine::Sqlite => {
                let fixture = runtime.block_on(sqlite::TestDatabase::create())?;
                let prepare = sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(fixture.pool());
                runtime.block_on(prepare)?;
                let database = runtime.block_on(Sqlite::connect(fixture.url(), column()))?;
                assert_eq!(runtime.block_on(select(&database, "w"))?, None);
                runtime.block_on(fixture.pool().close());
                drop(runtime);
                drop(database);
            }
            Engine::Postgres => {
                let (fixture, database) = runtime.block_on(on_postgres())?;
                assert!(runtime.block_on(select(&database, "w"))?.is_some());
                let kept_elsewhere = database.clone();
                drop(runtime);
                drop(database);
                drop(kept_elsewhere);
                drop(fixture);
            }
        }
    }
    Ok(())
}
