//! The cache as its user sees it, with the default policy as a component: the same list on SQLite, on
//! PostgreSQL, on the scripted database that other tests steer, and on the one that comes with the library
//! for the tests of programs.

mod bench;

use std::time::Duration;

use anyhow::Result;
use leasehold::{Error, InvalidWorkspace, Status, WorkspaceId};

use self::bench::{TestBed, text, workspace};

const W: &str = "8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55";

/// Makes a test for each kind of database.
macro_rules! everywhere {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::TestBed::real(leasehold_tests::Engine::Sqlite).await?).await
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::TestBed::real(leasehold_tests::Engine::Postgres).await?).await
            })*
        }
        mod on_the_scripted_database {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::TestBed::scripted().await?).await
            })*
        }
        mod on_the_database_in_memory {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::TestBed::in_memory().await?).await
            })*
        }
    };
}

everywhere!(
    issue_stores_43_characters_and_returns_them_and_the_next_one_differs,
    bad_ids_are_refused_before_any_statement,
    read_returns_what_is_stored_and_absence_is_an_error_of_its_own,
    two_reads_within_the_ttl_execute_one_select,
    a_value_is_served_until_the_ttl_and_read_again_after_it,
    a_read_after_an_issue_executes_no_select,
    absence_is_not_stored,
    reset_clears_every_entry,
    read_or_issue_heals_once_for_a_hundred_callers_together,
    read_or_issue_leaves_a_stored_secret_alone,
    issue_without_a_row_is_unknown_workspace_and_leaves_nothing,
    remove_drops_the_entry_and_only_that_one,
    a_database_error_is_an_error_and_is_not_stored,
    a_hit_executes_no_policy_call_and_no_statement,
    verify_compares_with_the_stored_secret,
    read_with_lends_what_read_returns,
    an_answer_says_how_old_it_is,
    an_entry_leaves_the_table_once_its_lease_has_run_out,
    a_swap_takes_effect_for_the_next_read_and_keeps_what_is_young_enough,
);

fn is_minted(secret: &str) -> bool {
    secret.len() == 43 && secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

async fn issue_stores_43_characters_and_returns_them_and_the_next_one_differs(bench: TestBed) -> Result<()> {
    bench.row(W, None).await?;
    let first = bench.issue(W).await?;
    assert!(is_minted(&first), "{first}");
    assert_eq!(bench.stored(W).await?.as_ref(), Some(&first));
    let second = bench.issue(W).await?;
    assert!(is_minted(&second) && second != first, "{second}");
    assert_eq!(bench.stored(W).await?, Some(second));
    Ok(())
}

async fn bad_ids_are_refused_before_any_statement(bench: TestBed) -> Result<()> {
    assert_eq!(WorkspaceId::new(""), Err(InvalidWorkspace::Empty));
    assert_eq!(WorkspaceId::new("é".repeat(129)), Err(InvalidWorkspace::TooLong { bytes: 258 }));
    assert_eq!(WorkspaceId::new("a\r\nb"), Err(InvalidWorkspace::ControlCharacter { offset: 1 }));
    assert_eq!(bench.cache.stats().statements, 0);
    // An id that looks like SQL is an id like any other, and finds nothing.
    assert_eq!(bench.read("'; DROP TABLE workspaces; --").await, Err(Error::Absent));
    bench.row(W, Some("still here")).await?;
    assert_eq!(bench.read(W).await?.0, "still here");
    Ok(())
}

async fn read_returns_what_is_stored_and_absence_is_an_error_of_its_own(bench: TestBed) -> Result<()> {
    bench.row(W, Some("s3cret \"quoted\" ✓")).await?;
    assert_eq!(bench.read(W).await?, ("s3cret \"quoted\" ✓".into(), Status::Miss));
    bench.row("null", None).await?;
    bench.row("empty", Some("")).await?;
    for id in ["null", "empty", "no row"] {
        assert_eq!(bench.read(id).await, Err(Error::Absent), "{id}");
        assert!(bench.cache.get(&workspace(id)).is_none(), "{id}");
    }
    Ok(())
}

async fn two_reads_within_the_ttl_execute_one_select(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    assert_eq!(bench.read(W).await?, ("a".into(), Status::Miss));
    assert_eq!(bench.read(W).await?, ("a".into(), Status::Hit));
    assert_eq!(bench.cache.stats().statements, 1);
    Ok(())
}

async fn a_value_is_served_until_the_ttl_and_read_again_after_it(bench: TestBed) -> Result<()> {
    bench.row(W, Some("old")).await?;
    bench.read(W).await?;
    bench.row(W, Some("new")).await?;
    bench.clock.advance(Duration::from_millis(299_999));
    assert_eq!(bench.read(W).await?, ("old".into(), Status::Hit));
    bench.clock.advance(Duration::from_millis(1_001));
    assert_eq!(bench.read(W).await?, ("new".into(), Status::Miss));
    assert_eq!(bench.selects(), 2);
    Ok(())
}

async fn a_read_after_an_issue_executes_no_select(bench: TestBed) -> Result<()> {
    bench.row(W, Some("old")).await?;
    bench.read(W).await?;
    let issued = bench.issue(W).await?;
    assert_eq!(bench.read(W).await?, (issued, Status::Hit));
    assert_eq!(bench.selects(), 1, "the one before the issue");
    Ok(())
}

async fn absence_is_not_stored(bench: TestBed) -> Result<()> {
    bench.row(W, None).await?;
    assert_eq!(bench.read(W).await, Err(Error::Absent));
    assert_eq!(bench.cache.stats().entries, 0);
    bench.row(W, Some("backfilled")).await?;
    assert_eq!(bench.read(W).await?, ("backfilled".into(), Status::Miss));
    Ok(())
}

async fn reset_clears_every_entry(bench: TestBed) -> Result<()> {
    for n in 0..10 {
        bench.row(&format!("w{n}"), Some("a")).await?;
        bench.read(&format!("w{n}")).await?;
    }
    bench.cache.reset();
    assert_eq!(bench.cache.stats().entries, 0);
    for n in 0..10 {
        assert_eq!(bench.read(&format!("w{n}")).await?.1, Status::Miss);
    }
    Ok(())
}

async fn read_or_issue_heals_once_for_a_hundred_callers_together(bench: TestBed) -> Result<()> {
    bench.row(W, None).await?;
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let cache = bench.cache.clone();
            tokio::spawn(async move {
                cache.read_or_issue(&workspace(W)).await.map(|lookup| text(&lookup.secret))
            })
        })
        .collect();
    let mut secrets = Vec::new();
    for caller in callers {
        secrets.push(caller.await??);
    }
    assert!(is_minted(&secrets[0]), "{}", secrets[0]);
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    assert_eq!(bench.stored(W).await?.as_ref(), Some(&secrets[0]));
    assert_eq!(bench.cache.stats().issues, 1);
    assert_eq!(bench.selects(), 1);
    Ok(())
}

async fn read_or_issue_leaves_a_stored_secret_alone(bench: TestBed) -> Result<()> {
    bench.row(W, Some("stored")).await?;
    let lookup = bench.cache.read_or_issue(&workspace(W)).await?;
    assert_eq!((text(&lookup.secret), lookup.status), ("stored".into(), Status::Miss));
    assert_eq!(bench.stored(W).await?, Some("stored".into()));
    assert_eq!(bench.cache.stats().issues, 0);
    bench.row("empty", Some("")).await?;
    let lookup = bench.cache.read_or_issue(&workspace("empty")).await?;
    assert_eq!(lookup.status, Status::Healed);
    assert_eq!(bench.stored("empty").await?, Some(text(&lookup.secret)));
    Ok(())
}

async fn issue_without_a_row_is_unknown_workspace_and_leaves_nothing(bench: TestBed) -> Result<()> {
    assert_eq!(bench.issue("no row").await, Err(Error::UnknownWorkspace));
    let healed = bench.cache.read_or_issue(&workspace("no row")).await;
    assert_eq!(healed.map(|lookup| lookup.status), Err(Error::UnknownWorkspace));
    assert_eq!(bench.cache.stats().entries, 0);
    assert_eq!(bench.read("no row").await, Err(Error::Absent));
    Ok(())
}

async fn remove_drops_the_entry_and_only_that_one(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    bench.row("other", Some("b")).await?;
    bench.read(W).await?;
    bench.read("other").await?;
    bench.delete(W).await?;
    bench.cache.remove(&workspace(W));
    assert_eq!(bench.read(W).await, Err(Error::Absent));
    assert_eq!(bench.read("other").await?, ("b".into(), Status::Hit));
    Ok(())
}

async fn a_database_error_is_an_error_and_is_not_stored(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    bench.break_database(true).await?;
    for _ in 0..2 {
        let error = bench.read(W).await.expect_err("the table is away");
        assert!(bench.says_it_is_broken(&error), "{error}");
        let error = bench.issue(W).await.expect_err("the table is away");
        assert!(bench.says_it_is_broken(&error), "{error}");
        let error =
            bench.cache.read_or_issue(&workspace(W)).await.map(|_| ()).expect_err("the table is away");
        assert!(bench.says_it_is_broken(&error), "an unreadable secret must not be healed: {error}");
    }
    assert_eq!(bench.cache.stats().entries, 0);
    bench.break_database(false).await?;
    assert_eq!(bench.read(W).await?, ("a".into(), Status::Miss));
    Ok(())
}

async fn a_hit_executes_no_policy_call_and_no_statement(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    bench.read(W).await?;
    let before = bench.cache.stats();
    for _ in 0..100 {
        assert_eq!(bench.read(W).await?, ("a".into(), Status::Hit));
        assert_eq!(bench.cache.with(&workspace(W), text), Some("a".into()));
        assert_eq!(bench.cache.get(&workspace(W)).as_ref().map(text), Some("a".into()));
    }
    let after = bench.cache.stats();
    assert_eq!(after.hits - before.hits, 300);
    assert_eq!((after.policy_calls, after.statements), (before.policy_calls, before.statements));
    assert_eq!((before.policy_calls, before.statements), (1, 1), "the counters do count");
    Ok(())
}

async fn verify_compares_with_the_stored_secret(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    for _ in 0..2 {
        assert!(bench.cache.verify(&workspace(W), b"a").await?);
        assert!(!bench.cache.verify(&workspace(W), b"b").await?);
        assert!(!bench.cache.verify(&workspace(W), b"").await?);
    }
    bench.row("null", None).await?;
    bench.row("empty", Some("")).await?;
    for id in ["no row", "null", "empty"] {
        for presented in ["a", ""] {
            assert_eq!(bench.cache.verify(&workspace(id), presented.as_bytes()).await, Ok(false), "{id}");
        }
    }
    Ok(())
}

async fn read_with_lends_what_read_returns(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    for _ in 0..2 {
        assert_eq!(bench.cache.read_with(&workspace(W), text).await?, "a");
    }
    let stats = bench.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.statements), (1, 1, 1));
    let mut lent = false;
    let absent = bench.cache.read_with(&workspace("no row"), |_| lent = true).await;
    assert_eq!((absent, lent), (Err(Error::Absent), false));
    Ok(())
}

async fn an_answer_says_how_old_it_is(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    let age = async || Ok::<_, Error>(bench.cache.read(&workspace(W)).await?.age());
    assert_eq!(age().await?, Duration::ZERO);
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(age().await?, Duration::from_secs(200));
    bench.cache.swap(bench.cache.active().setting("ttl", "4m")).await?;
    assert_eq!(age().await?, Duration::from_secs(200), "a new lease makes it no younger");
    bench.issue(W).await?;
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(age().await?, Duration::from_secs(3));
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(age().await?, Duration::ZERO);
    Ok(())
}

async fn an_entry_leaves_the_table_once_its_lease_has_run_out(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    bench.read(W).await?;
    bench.delete(W).await?;
    bench.clock.advance(Duration::from_secs(299));
    bench.cache.sweep();
    assert_eq!(bench.cache.stats().entries, 1);
    bench.clock.advance(Duration::from_secs(1));
    bench.cache.sweep();
    assert_eq!((bench.cache.stats().entries, bench.cache.stats().swept), (0, 1));
    Ok(())
}

async fn a_swap_takes_effect_for_the_next_read_and_keeps_what_is_young_enough(bench: TestBed) -> Result<()> {
    bench.row(W, Some("a")).await?;
    bench.read(W).await?;
    bench.row(W, Some("b")).await?;
    bench.clock.advance(Duration::from_secs(9));
    let report = bench.cache.swap(bench.cache.active().setting("ttl", "10s")).await?;
    assert_eq!((report.replaced, report.generation, report.entries), (1, 2, 1));
    assert_eq!(bench.read(W).await?, ("a".into(), Status::Renewed));
    assert_eq!(bench.read(W).await?, ("a".into(), Status::Hit));
    assert_eq!(bench.selects(), 1);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.read(W).await?, ("b".into(), Status::Miss));
    bench.cache.rollback().await?;
    assert_eq!(bench.cache.policy().settings, [("ttl".into(), "5m".into()), ("jitter".into(), "0s".into())]);
    bench.row(W, Some("c")).await?;
    bench.clock.advance(Duration::from_secs(9));
    assert_eq!(bench.read(W).await?, ("b".into(), Status::Renewed), "the old policy leases it as well");
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(bench.read(W).await?, ("b".into(), Status::Hit), "for its own ttl");
    Ok(())
}
