//! Secrets that are issued in a transaction of the program's own: they are not seen before it is committed,
//! and the old ones are not seen after.

mod alone;
mod begun;

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use leasehold::{Error, Secret, SecretCache, WorkspaceId};
use leasehold_tests::{Engine, Fixture};

use self::begun::Begun;
use super::{cache, id};

macro_rules! on_both {
    ($($name:ident,)*) => {
        mod postgres {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::Engine::Postgres).await
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::Engine::Sqlite).await
            })*
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
    an_issue_of_an_unknown_workspace_leaves_the_transaction_as_it_is,
    an_issue_that_was_given_up_is_not_committed,
    a_commit_goes_on_without_its_caller,
    a_savepoint_that_is_rolled_back_leaves_the_old_secret,
    what_a_trigger_makes_of_it_is_what_is_answered,
    a_transaction_without_an_issue_is_one_like_any_other,
    a_transaction_that_was_ended_by_a_statement_is_not_taken_for_committed,
    an_issue_outside_of_its_transaction_is_no_secret_of_nobody,
}

/// Returns a database with the workspace `w`, whose secret is `old`, and a cache that has read it.
async fn bench(engine: Engine) -> Result<(Fixture, SecretCache)> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let cache = cache(fixture.secrets().await?).await;
    assert_eq!(cache.read(&id("w")).await?.secret.expose_str(), Some("old"));
    Ok((fixture, cache))
}

/// Returns what the cache answers without the database.
fn cached(cache: &SecretCache) -> Option<String> {
    cache.get(&id("w")).map(text)
}

fn text(secret: Secret) -> String {
    secret.expose_str().expect("a secret of the tests is text").to_owned()
}

/// Returns what the cache answers.
async fn read(cache: &SecretCache) -> Result<String, Error> {
    Ok(text(cache.read(&id("w")).await?.secret))
}

async fn stored(fixture: &Fixture) -> Result<Option<String>> {
    fixture.text("SELECT platform_inbound_secret FROM workspaces WHERE id = 'w'").await
}

/// Checks that the cache and the database agree, and that no issue blocks another.
async fn is_at_rest(fixture: &Fixture, cache: &SecretCache) -> Result<()> {
    assert_eq!(Some(text(cache.read(&id("w")).await?.secret)), stored(fixture).await?);
    let issued = text(cache.issue(&id("w")).await?);
    assert_eq!((cached(cache), stored(fixture).await?), (Some(issued.clone()), Some(issued)));
    assert_eq!(cache.stats().in_flight, 0);
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
    assert_eq!(read(&cache).await?, "old");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
    is_at_rest(&fixture, &cache).await
}

async fn a_transaction_that_is_dropped_is_rolled_back(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.issue(&cache, &id("w")).await?;
    drop(transaction);
    assert_eq!(read(&cache).await?, "old");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
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
    // Nor does it wait for another transaction, which has not touched the row.
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

async fn an_issue_of_an_unknown_workspace_leaves_the_transaction_as_it_is(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    let mut transaction = Begun::on(&fixture).await?;
    transaction.execute("UPDATE workspaces SET platform_inbound_secret = 'by hand' WHERE id = 'w'").await?;
    assert_eq!(transaction.issue(&cache, &id("new")).await.err(), Some(Error::UnknownWorkspace));
    transaction.commit().await?;
    assert_eq!(stored(&fixture).await?.as_deref(), Some("by hand"));
    cache.remove(&id("w"));
    assert_eq!(read(&cache).await?, "by hand");
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
        // The commit is begun, and dropped before its answer. SQLite is a thread, which may have answered by
        // then.
        if !has_ended {
            break transaction;
        }
        transaction.rollback().await?;
    };
    assert!(matches!(transaction.issue(&cache, &id("w")).await, Err(Error::Refused(_))));
    assert!(matches!(transaction.commit().await, Err(Error::Refused(_))));
    assert_eq!(read(&cache).await?, "old");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
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
    while cache.stats().in_flight > 0 {
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
    assert_eq!(read(&cache).await?, "old");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
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

async fn a_transaction_that_was_ended_by_a_statement_is_not_taken_for_committed(
    engine: Engine,
) -> Result<()> {
    for end in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN"] {
        // The driver does not know, and takes the next transaction of that connection for a savepoint.
        let (fixture, cache) = bench(engine).await?;
        let mut transaction = Begun::on(&fixture).await?;
        transaction.issue(&cache, &id("w")).await?;
        transaction.execute(end).await?;
        let ended = transaction.commit().await;
        // SQLite does not number its transactions, so that another transaction that was begun is committed in
        // its place.
        if engine == Engine::Postgres || !end.ends_with("BEGIN") {
            assert!(matches!(ended, Err(Error::OutcomeUnknown(_))), "{end}: {ended:?}");
        }
        assert_eq!(Some(read(&cache).await?), stored(&fixture).await?, "{end}");
    }
    Ok(())
}

async fn an_issue_outside_of_its_transaction_is_no_secret_of_nobody(engine: Engine) -> Result<()> {
    let (fixture, cache) = bench(engine).await?;
    // The transaction has ended, and what is issued is committed at once; in the opposite order it is lost.
    let mut transaction = Begun::on(&fixture).await?;
    transaction.give_up_a_savepoint().await;
    let issued = transaction.issue(&cache, &id("w")).await;
    drop(transaction);
    assert_eq!(Some(read(&cache).await?), stored(&fixture).await?, "{issued:?}");
    let mut transaction = Begun::on(&fixture).await?;
    let issued = transaction.issue(&cache, &id("w")).await.map(text);
    transaction.give_up_a_savepoint().await;
    if transaction.commit().await.is_ok() {
        assert_eq!(Some(issued?), stored(&fixture).await?, "it was said to be committed");
    }
    assert_eq!(Some(read(&cache).await?), stored(&fixture).await?);
    is_at_rest(&fixture, &cache).await
}
