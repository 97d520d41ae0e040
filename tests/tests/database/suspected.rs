//! The fate of a connection that was in use while statements were mixed up, once that is over.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{Health, Postgres, PostgresPool};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use sqlx::query_scalar;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{column, select};

/// Sends requests without a look at any table, from several tasks at once, until the answer is `expected`.
async fn until(pool: &PostgresPool, expected: impl Fn(&str) -> bool) -> Result<()> {
    let asked = async {
        loop {
            let mut asking = JoinSet::new();
            for _ in 0..6 {
                let pool = pool.clone();
                asking.spawn(async move {
                    match pool.health().await {
                        Ok(Health::ReadWrite) => "ok".to_owned(),
                        other => format!("{other:?}"),
                    }
                });
            }
            if asking.join_all().await.iter().any(|said| expected(said)) {
                return;
            }
        }
    };
    timeout(MAX_WAIT, asked).await.context("it was never said")
}

#[tokio::test]
async fn a_connection_from_before_a_suspicion_does_not_come_back_after_it() -> Result<()> {
    let fixture = TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(fixture.pool()).await?;
    let settings = [("default_pool_size", "30")];
    let pooler = Pooler::start(Version::Old, Mode::Session, &fixture.options(), &settings)?;
    let pool = PostgresPool::connect(&pooler.url()).await?;
    let database = Postgres::new(&pool, column()).await?;
    let mut holder = fixture.pool().begin().await?;
    sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    let early = tokio::spawn(async move { select(&database, "w").await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'leasehold' AND wait_event_type = 'Lock'";
    while query_scalar::<_, i64>(waits).fetch_one(fixture.pool()).await? == 0 {}

    pooler.switch(Mode::Transaction)?;
    until(&pool, |said| said.contains("max_prepared_statements above 0")).await?;
    pooler.switch(Mode::Session)?;
    until(&pool, |said| said == "ok").await?;
    let size = pool.pool().size();
    holder.rollback().await?;
    let early = timeout(Duration::from_secs(10), early).await.context("it has no end")??;
    ensure!(pool.pool().size() < size, "it is in the pool again: {early:?}");
    Ok(())
}
