//! Secrets that are issued in a transaction of the program's own: nobody sees them before it is committed, and
//! nobody sees the old ones after.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use leasehold::{Error, Secret, SecretCache, Transaction, WorkspaceId};
use leasehold_tests::{Engine, Fixture};
use sqlx::AssertSqlSafe;

use super::{cache, id};

macro_rules! on_both {
    ($($name:ident,)*) => {
        mod postgres {
            $(#[tokio::test] async fn $name() -> anyhow::Result<()> { super::$name(super::Engine::Postgres).await })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() -> anyhow::Result<()> { super::$name(super::Engine::Sqlite).await })*
        }
    };
}

on_both! {
    a_secret_counts_once_its_transaction_is_committed,
    what_is_rolled_back_never_was,
    a_transaction_that_is_dropped_is_rolled_back,
    another_issue_waits_and_is_not_in_doubt,
    what_is_read_meanwhile_is_not_kept,
    several_secrets_and_caches_share_one_transaction,
    a_thousand_secrets_are_issued_in_one_transaction,
    a_workspace_may_be_created_in_it,
    an_issue_that_was_given_up_is_not_committed,
    a_commit_goes_on_without_its_caller,
    a_savepoint_that_is_rolled_back_leaves_the_old_secret,
    what_a_trigger_makes_of_it_is_what_is_answered,
    a_transaction_without_an_issue_is_one_like_any_other,
}

/// A transaction of either kind.
enum Begun {
    Postgres(Transaction<sqlx::Postgres>),
    Sqlite(Transaction<sqlx::Sqlite>),
}

impl Begun {
    async fn on(fixture: &Fixture) -> Result<Self> {
        Ok(match fixture {
            Fixture::Postgres(database) => Self::Postgres(database.pool().begin().await?.into()),
            Fixture::Sqlite(database) => Self::Sqlite(database.pool().begin().await?.into()),
        })
    }

    async fn issue(&mut self, cache: &SecretCache, workspace: &WorkspaceId) -> Result<Secret, Error> {
        match self {
            Self::Postgres(transaction) => cache.issue_in(transaction, workspace).await,
            Self::Sqlite(transaction) => cache.issue_in(transaction, workspace).await,
        }
    }

    async fn execute(&mut self, sql: &str) -> Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(transaction) => sql.execute(&mut **transaction).await.map(drop)?,
            Self::Sqlite(transaction) => sql.execute(&mut **transaction).await.map(drop)?,
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Postgres(transaction) => transaction.commit().await,
            Self::Sqlite(transaction) => transaction.commit().await,
        }
    }

    async fn rollback(self) -> Result<(), Error> {
        match self {
            Self::Postgres(transaction) => transaction.rollback().await,
            Self::Sqlite(transaction) => transaction.rollback().await,
        }
    }
}

/// A database with the workspace `w`, whose secret is `old`, and a cache that has read it.
async fn bench(engine: Engine) -> Result<(Fixture, SecretCache)> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let cache = cache(fixture.secrets().await?).await;
    assert_eq!(cache.read(&id("w")).await?.secret.expose_str(), Some("old"));
    Ok((fixture, cache))
}

/// What the cache answers without the database.
fn cached(cache: &SecretCache) -> Option<String> {
    cache.get(&id("w")).map(text)
}

fn text(secret: Secret) -> String {
    secret.expose_str().expect("a secret of the tests is text").to_owned()
}

async fn stored(fixture: &Fixture) -> Result<Option<String>> {
    fixture.text("SELECT platform_inbound_secret FROM workspaces WHERE id = 'w'").await
}

/// The cache and the database agree, and an issue is not in anybody's way.
async fn is_at_rest(fixture: &Fixture, cache: &SecretCache) -> Result<()> {
    assert_eq!(Some(text(cache.read(&id("w")).await?.secret)), stored(fixture).await?);
    let issued = text(cache.issue(&id("w")).await?);
    assert_eq!((cached(cache), stored(fixture).await?), (Some(issued.clone()), Some(issued)));
    assert_eq!(cache.stats().under_way, 0);
    Ok(())
}

async fn a_secret_counts_once_its_transaction_is_committed(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    let issued = text(transaction.issue(&cache, &id("w")).await?);
    assert_eq!(cached(&cache).as_deref(), Some("old"));
    assert!(!cache.verify(&id("w"), issued.as_bytes()).await?);
    transaction.commit().await?;
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(issued.clone()), Some(issued)));
    assert!(!cache.verify(&id("w"), b"old").await?);
    is_at_rest(&fixture, &cache).await
}

async fn what_is_rolled_back_never_was(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    transaction.rollback().await?;
    // Nothing has changed, so that nothing has to be read again.
    assert_eq!((cached(&cache).as_deref(), stored(&fixture).await?.as_deref()), (Some("old"), Some("old")));
    is_at_rest(&fixture, &cache).await
}

async fn a_transaction_that_is_dropped_is_rolled_back(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    drop(transaction);
    assert_eq!((cached(&cache).as_deref(), stored(&fixture).await?.as_deref()), (Some("old"), Some("old")));
    is_at_rest(&fixture, &cache).await
}

async fn another_issue_waits_and_is_not_in_doubt(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let builder = SecretCache::builder().database(fixture.secrets().await?);
    let cache = builder.database_timeout(Duration::from_millis(200)).build().await?;
    let mut transaction = Begun::on(&fixture).await?;
    let issued = text(transaction.issue(&cache, &id("w")).await?);
    assert_eq!(cache.issue(&id("w")).await.err(), Some(Error::Overloaded));
    // Nor for another transaction, which has not touched the row.
    let mut other = Begun::on(&fixture).await?;
    assert_eq!(other.issue(&cache, &id("w")).await.err(), Some(Error::Overloaded));
    other.rollback().await?;
    // The same transaction may issue again.
    let again = text(transaction.issue(&cache, &id("w")).await?);
    assert_ne!(issued, again);
    transaction.commit().await?;
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(again.clone()), Some(again)));
    Ok(())
}

async fn what_is_read_meanwhile_is_not_kept(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    let issued = text(transaction.issue(&cache, &id("w")).await?);
    cache.remove(&id("w"));
    for _ in 0..3 {
        assert_eq!(text(cache.read(&id("w")).await?.secret), "old");
        assert_eq!(cached(&cache), None);
    }
    transaction.commit().await?;
    assert_eq!(text(cache.read(&id("w")).await?.secret), issued);
    is_at_rest(&fixture, &cache).await
}

async fn several_secrets_and_caches_share_one_transaction(engine: Engine) -> Result<()> {
    let (fixture, first) = bench(engine).await?;
    let second = cache(fixture.secrets().await?).await;
    fixture.insert("v", Some("old")).await?;
    for workspace in ["v", "w"] {
        second.read(&id(workspace)).await?;
    }
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&first, &id("w")).await?;
    transaction.issue(&second, &id("v")).await?;
    let last = text(transaction.issue(&second, &id("w")).await?);
    transaction.commit().await?;
    assert_eq!((cached(&first), cached(&second)), (Some(last.clone()), Some(last)));
    assert_ne!(second.get(&id("v")).map(text).as_deref(), Some("old"));
    is_at_rest(&fixture, &first).await
}

async fn a_thousand_secrets_are_issued_in_one_transaction(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let ids: Vec<WorkspaceId> = (0..1_000).map(|number| id(&format!("w{number}"))).collect();
    let mut transaction = Begun::on(&fixture).await?;
    let mut issued = Vec::new();
    for id in &ids {
        transaction.execute(&format!("INSERT INTO workspaces (id) VALUES ('{id}')")).await?;
        issued.push(text(transaction.issue(&cache, id).await?));
    }
    transaction.commit().await?;
    let statements = cache.stats().statements;
    for (id, issued) in ids.iter().zip(issued) {
        assert_eq!(cache.get(id).map(text), Some(issued), "{id}");
    }
    assert_eq!((cache.stats().statements, cache.stats().overloaded), (statements, 0));
    is_at_rest(&fixture, &cache).await
}

async fn a_workspace_may_be_created_in_it(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    assert_eq!(transaction.issue(&cache, &id("new")).await.err(), Some(Error::UnknownWorkspace));
    transaction.execute("INSERT INTO workspaces (id) VALUES ('new')").await?;
    let issued = transaction.issue(&cache, &id("new")).await?;
    transaction.commit().await?;
    assert_eq!(text(cache.read(&id("new")).await?.secret), text(issued));
    is_at_rest(&fixture, &cache).await
}

async fn an_issue_that_was_given_up_is_not_committed(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let workspace = id("w");
    let mut transaction = loop {
        let mut transaction = Begun::on(&fixture).await?;
        let has_ended = {
            let mut issue = pin!(transaction.issue(&cache, &workspace));
            poll_fn(|context| Poll::Ready(issue.as_mut().poll(context).is_ready())).await
        };
        // Begun, and dropped before its answer. SQLite is a thread, which may have answered by then.
        if !has_ended {
            break transaction;
        }
        transaction.rollback().await?;
    };
    assert!(matches!(transaction.issue(&cache, &id("w")).await, Err(Error::Refused(_))));
    assert!(matches!(transaction.commit().await, Err(Error::Refused(_))));
    assert_eq!((cached(&cache).as_deref(), stored(&fixture).await?.as_deref()), (Some("old"), Some("old")));
    is_at_rest(&fixture, &cache).await
}

async fn a_commit_goes_on_without_its_caller(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    let issued = text(transaction.issue(&cache, &id("w")).await?);
    {
        let mut commit = pin!(transaction.commit());
        poll_fn(|context| {
            assert!(commit.as_mut().poll(context).is_pending(), "it has ended at once");
            Poll::Ready(())
        })
        .await;
    }
    while cache.stats().under_way > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(issued.clone()), Some(issued)));
    is_at_rest(&fixture, &cache).await
}

async fn a_savepoint_that_is_rolled_back_leaves_the_old_secret(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.execute("SAVEPOINT before").await?;
    transaction.issue(&cache, &id("w")).await?;
    transaction.execute("ROLLBACK TO SAVEPOINT before").await?;
    transaction.commit().await?;
    assert_eq!((cached(&cache).as_deref(), stored(&fixture).await?.as_deref()), (Some("old"), Some("old")));
    is_at_rest(&fixture, &cache).await
}

async fn what_a_trigger_makes_of_it_is_what_is_answered(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let body = "UPDATE workspaces SET platform_inbound_secret = 'a-' || NEW.platform_inbound_secret \
                WHERE id = NEW.id AND platform_inbound_secret NOT LIKE 'a-%';";
    let trigger = "CREATE TRIGGER act AFTER UPDATE ON workspaces";
    if engine == Engine::Postgres {
        let function = "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql";
        fixture.execute(&format!("{function} AS $$ BEGIN {body} RETURN NULL; END $$")).await?;
        fixture.execute(&format!("{trigger} FOR EACH ROW EXECUTE FUNCTION act()")).await?;
    } else {
        fixture.execute(&format!("{trigger} BEGIN {body} END")).await?;
    }
    let mut transaction = Begun::on(&fixture).await?;
    let issued = text(transaction.issue(&cache, &id("w")).await?);
    assert!(issued.starts_with("a-"), "{issued}");
    transaction.commit().await?;
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(issued.clone()), Some(issued)));
    Ok(())
}

async fn a_transaction_without_an_issue_is_one_like_any_other(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.execute("UPDATE workspaces SET auth_token_hash = 'h' WHERE id = 'w'").await?;
    transaction.commit().await?;
    let hash = fixture.text("SELECT auth_token_hash FROM workspaces WHERE id = 'w'").await?;
    assert_eq!(hash.as_deref(), Some("h"));
    is_at_rest(&fixture, &cache).await
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
    assert_eq!((cached(&cache).as_deref(), stored(&fixture).await?.as_deref()), (Some("old"), Some("old")));
    is_at_rest(&fixture, &cache).await
}

/// A constraint that is looked at when the transaction is committed, and what its function does then.
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
    assert_eq!((cached(&cache).as_deref(), stored(&fixture).await?.as_deref()), (Some("old"), Some("old")));
    Ok(())
}

#[tokio::test]
async fn a_commit_that_is_late_is_in_doubt_until_it_has_ended() -> Result<()> {
    let fixture = Engine::Postgres.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    at_commit(&fixture, "PERFORM pg_advisory_xact_lock(1);").await?;
    let builder = SecretCache::builder().database(fixture.secrets().await?);
    let cache = builder.database_timeout(Duration::from_millis(300)).build().await?;
    let Fixture::Postgres(database) = &fixture else { bail!("it is another engine") };
    let mut blocker = database.pool().begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(1)").execute(&mut *blocker).await?;
    cache.read(&id("w")).await?;
    let mut transaction = Begun::on(&fixture).await?;
    let issued = text(transaction.issue(&cache, &id("w")).await?);
    assert!(matches!(transaction.commit().await, Err(Error::OutcomeUnknown(_))));
    // It may be committed at any moment from now on, so that nothing is cached.
    for _ in 0..3 {
        assert_eq!(text(cache.read(&id("w")).await?.secret), "old");
        assert_eq!(cached(&cache), None);
    }
    blocker.rollback().await?;
    while cache.stats().under_way > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((cached(&cache), stored(&fixture).await?), (Some(issued.clone()), Some(issued)));
    Ok(())
}

#[tokio::test]
async fn a_commit_whose_server_goes_away_is_in_doubt() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    at_commit(&fixture, "PERFORM pg_terminate_backend(pg_backend_pid());").await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    assert!(matches!(transaction.commit().await, Err(Error::OutcomeUnknown(_))));
    assert_eq!(cached(&cache), None);
    assert_eq!(Some(text(cache.read(&id("w")).await?.secret)), stored(&fixture).await?);
    Ok(())
}

#[tokio::test]
async fn the_settings_of_the_transaction_are_left_alone() -> Result<()> {
    let (fixture, cache) = bench(Engine::Postgres).await?;
    let Fixture::Postgres(database) = &fixture else { bail!("it is another engine") };
    let mut transaction = Transaction::from(database.pool().begin().await?);
    cache.issue_in(&mut transaction, &id("w")).await?;
    let lock_timeout: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut *transaction).await?;
    assert_eq!(lock_timeout, "0");
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
    let own = super::cache(leasehold::testing::InMemory::new()).await;
    let error = Begun::on(&theirs).await?.issue(&own, &id("w")).await.expect_err("it has none");
    assert!(error.to_string().contains("takes no part"), "{error}");
    Ok(())
}
