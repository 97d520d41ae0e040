//! The behaviour of only one of the two databases in a transaction: it rolls back by itself, waits, refuses
//! at the end.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use leasehold::{Error, SecretCache, Transaction};
use leasehold_tests::proxy::{Fate, Proxy, Statement};
use leasehold_tests::{Engine, Fixture};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPoolOptions;

use super::super::{cache, id};
use super::begun::Begun;
use super::{bench, cached, is_at_rest, read, stored, text};

type PgLock = sqlx::Transaction<'static, sqlx::Postgres>;

#[tokio::test]
async fn a_transaction_that_sqlite_has_rolled_back_by_itself_is_not_committed() -> Result<()> {
    let (fixture, cache) = bench(Engine::Sqlite).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    assert!(transaction.execute("INSERT OR ROLLBACK INTO workspaces (id) VALUES ('w')").await.is_err());
    let after = transaction.issue(&cache, &id("w")).await;
    assert!(matches!(after, Err(Error::OutcomeUnknown(_))), "{after:?}");
    assert!(transaction.commit().await.is_err());
    assert_eq!(Some(read(&cache).await?), stored(&fixture).await?);
    is_at_rest(&fixture, &cache).await
}

#[tokio::test]
async fn an_id_that_is_no_key_leaves_the_transaction_as_it_is() -> Result<()> {
    let fixture = Engine::Postgres.empty().await?;
    fixture.execute("CREATE TABLE keyed (id uuid PRIMARY KEY, secret TEXT)").await?;
    let column = leasehold::Column::new("keyed", "id", "secret")?;
    let cache = cache(fixture.patiently(column).await?).await;
    let mut transaction = Begun::on(&fixture).await?;
    assert_eq!(transaction.issue(&cache, &id("no-uuid")).await.err(), Some(Error::UnknownWorkspace));
    let uuid = "8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55";
    transaction.execute(&format!("INSERT INTO keyed (id) VALUES ('{uuid}')")).await?;
    let issued = text(transaction.issue(&cache, &id(uuid)).await?);
    transaction.commit().await?;
    assert_eq!(text(cache.read(&id(uuid)).await?.secret), issued);
    Ok(())
}

#[tokio::test]
async fn a_row_that_goes_while_its_issue_waits_is_unknown() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    let Fixture::Postgres(database) = &fixture else { bail!("it is another engine") };
    let mut other = database.pool().begin().await?;
    sqlx::query("DELETE FROM workspaces").execute(&mut *other).await?;
    let mut transaction = Begun::on(&fixture).await?;
    let workspace = id("w");
    let mut issue = pin!(transaction.issue(&cache, &workspace));
    let waiting = "SELECT pid::text FROM pg_locks WHERE NOT granted AND pid IN \
                   (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    loop {
        tokio::select! {
            biased;
            ended = &mut issue => bail!("it did not wait: {ended:?}"),
            found = fixture.text(waiting) => if found?.is_some() { break },
        }
    }
    other.commit().await?;
    assert_eq!(issue.await.err(), Some(Error::UnknownWorkspace));
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_the_server_has_given_up_is_an_error_and_not_a_commit() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    // The server answers a COMMIT after this with a ROLLBACK, and the driver takes it for success.
    assert!(transaction.execute("SELECT 1 / 0").await.is_err());
    let error = transaction.commit().await.err().context("it was committed")?;
    assert!(error.to_string().contains("aborted"), "{error}");
    assert_eq!(read(&cache).await?, "old");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
    is_at_rest(&fixture, &cache).await
}

/// Creates a constraint that is checked when the transaction is committed, with a function of this body.
async fn at_commit(fixture: &Fixture, body: &str) -> Result<()> {
    let function = format!(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER act AFTER UPDATE ON workspaces DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION act()"
    );
    fixture.execute(&function).await
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_changes_nothing() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    at_commit(&fixture, "RAISE check_violation;").await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    assert!(matches!(transaction.commit().await, Err(Error::Refused(_))));
    assert_eq!(read(&cache).await?, "old");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
    Ok(())
}

/// Returns a lock for which a trigger waits at the end of the transaction, that transaction, and what was
/// issued in it.
async fn waits_for_a_lock(fixture: &Fixture, cache: &SecretCache) -> Result<(PgLock, Begun, String)> {
    at_commit(fixture, "PERFORM pg_advisory_xact_lock(1);").await?;
    let Fixture::Postgres(database) = fixture else { bail!("it is another engine") };
    let mut lock = database.pool().begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(1)").execute(&mut *lock).await?;
    let mut transaction = Begun::on(fixture).await?;
    let issued = text(transaction.issue(cache, &id("w")).await?);
    Ok((lock, transaction, issued))
}

#[tokio::test]
async fn what_is_deferred_to_the_end_is_waited_for_and_the_old_secret_is_answered_meanwhile() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    let (lock, transaction, issued) = waits_for_a_lock(&fixture, &cache).await?;
    let (workspace, mut commit) = (id("w"), pin!(transaction.commit()));
    for _ in 0..3 {
        tokio::select! {
            biased;
            ended = &mut commit => bail!("it did not wait: {ended:?}"),
            answer = cache.read(&workspace) => assert_eq!(text(answer?.secret), "old"),
        }
    }
    lock.rollback().await?;
    commit.await?;
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(issued.clone()), Some(issued)));
    is_at_rest(&fixture, &cache).await
}

#[tokio::test]
async fn what_is_deferred_to_the_end_has_a_limit_and_is_not_committed_after_it() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    let (lock, mut transaction, _) = waits_for_a_lock(&fixture, &cache).await?;
    transaction.execute("SET LOCAL statement_timeout = '100ms'").await?;
    assert_eq!(transaction.commit().await.err(), Some(Error::Timeout));
    lock.rollback().await?;
    assert_eq!((read(&cache).await?.as_str(), stored(&fixture).await?.as_deref()), ("old", Some("old")));
    is_at_rest(&fixture, &cache).await
}

/// Returns a proxy, a transaction whose COMMIT meets this fate, and what was issued in it.
async fn on_its_way(fixture: &Fixture, cache: &SecretCache, fate: Fate) -> Result<(Proxy, Begun, String)> {
    let Fixture::Postgres(database) = fixture else { bail!("it is another engine") };
    let (proxy, inside) = Proxy::start(&database.options()).await?;
    let pool = PgPoolOptions::new().max_connections(1).connect_with(inside).await?;
    let mut transaction = Begun::Postgres(pool.begin().await?.into());
    let issued = text(transaction.issue(cache, &id("w")).await?);
    proxy.next(Statement::Commit, fate);
    Ok((proxy, transaction, issued))
}

#[tokio::test]
async fn a_commit_that_is_late_is_in_doubt_until_it_has_ended() -> Result<()> {
    let fixture = Engine::Postgres.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let builder = SecretCache::builder().database(fixture.secrets().await?);
    let cache = builder.database_timeout(Duration::from_secs(1)).build().await?;
    cache.read(&id("w")).await?;
    let (proxy, transaction, issued) = on_its_way(&fixture, &cache, Fate::Held).await?;
    assert!(matches!(transaction.commit().await, Err(Error::OutcomeUnknown(_))));
    // While it is unknown when it is committed, nothing is cached.
    for _ in 0..3 {
        assert_eq!(text(cache.read(&id("w")).await?.secret), issued);
        assert_eq!(cached(&cache), None);
    }
    proxy.release();
    while cache.stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(issued.clone()), Some(issued)));
    Ok(())
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_is_in_doubt() -> Result<()> {
    for (fate, is_committed) in [(Fate::CutBefore, false), (Fate::CutAfter, true)] {
        let (fixture, cache) = bench(Engine::Postgres).await?;
        let (_proxy, transaction, issued) = on_its_way(&fixture, &cache, fate).await?;
        assert!(matches!(transaction.commit().await, Err(Error::OutcomeUnknown(_))), "{fate:?}");
        assert_eq!(cached(&cache), None);
        let row = if is_committed { issued } else { "old".to_owned() };
        assert_eq!(
            (text(cache.read(&id("w")).await?.secret), stored(&fixture).await?),
            (row.clone(), Some(row))
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_goes_away_before_the_commit_has_committed_nothing() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    at_commit(&fixture, "PERFORM pg_terminate_backend(pg_backend_pid());").await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    assert!(matches!(transaction.commit().await, Err(Error::Unavailable(_))));
    assert_eq!((read(&cache).await?.as_str(), stored(&fixture).await?.as_deref()), ("old", Some("old")));
    Ok(())
}

#[tokio::test]
async fn the_settings_of_the_transaction_are_left_alone() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    let Fixture::Postgres(database) = &fixture else { bail!("it is another engine") };
    let mut transaction = Transaction::from(database.pool().begin().await?);
    cache.issue_in(&mut transaction, &id("w")).await?;
    for setting in ["lock_timeout", "statement_timeout"] {
        let show = sqlx::query_scalar(AssertSqlSafe(format!("SHOW {setting}")));
        let value: String = show.fetch_one(&mut *transaction).await?;
        assert_eq!(value, "0", "{setting}");
    }
    transaction.rollback().await?;
    Ok(())
}

#[tokio::test]
async fn a_transaction_of_another_database_is_refused_in_words() -> Result<()> {
    let (ours, cache) = bench(Engine::Postgres).await?;
    let (theirs, other) = bench(Engine::Sqlite).await?;
    let error = Begun::on(&theirs).await?.issue(&cache, &id("w")).await.expect_err("it is SQLite's");
    assert!(error.to_string().contains("one of SQLite, and the cache is over PostgreSQL"), "{error}");
    let error = Begun::on(&ours).await?.issue(&other, &id("w")).await.expect_err("it is PostgreSQL's");
    assert!(error.to_string().contains("one of PostgreSQL, and the cache is over SQLite"), "{error}");
    let own = super::super::cache(leasehold::testing::InMemory::new()).await;
    let error = Begun::on(&theirs).await?.issue(&own, &id("w")).await.expect_err("it has none");
    assert!(error.to_string().contains("takes no part"), "{error}");
    Ok(())
}
