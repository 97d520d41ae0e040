//! The peculiarities of SQLite: values of any type, files that are locked, read-only or missing.

use std::time::Duration;

use anyhow::Result;
use leasehold::{Column, ConnectError, DatabaseError, IssueMode, Sqlite};
use leasehold_tests::Engine;
use leasehold_tests::sqlite::TestDatabase;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqlitePoolOptions;

use super::{assert_refused, assert_unavailable, column, issue, select, select_batch};

async fn workspaces() -> Result<TestDatabase> {
    let fixture = TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(fixture.pool()).await?;
    Ok(fixture)
}

#[tokio::test]
async fn a_value_that_is_not_text_is_an_error_and_not_absence() -> Result<()> {
    let fixture = Engine::Sqlite.empty().await?;
    fixture.execute("CREATE TABLE workspaces (id TEXT PRIMARY KEY, platform_inbound_secret)").await?;
    let database = fixture.secrets().await?;
    // The values are bytes, a number, no bytes at all, and text that is not UTF-8.
    for (number, value) in ["x'73336372'", "33734", "x''", "CAST(x'7333ff72' AS TEXT)"].iter().enumerate() {
        let insert = format!("INSERT INTO workspaces VALUES ('{number}', {value})");
        fixture.execute(&insert).await?;
        let read = select(&*database, &number.to_string()).await;
        assert_refused(
            read,
            "workspaces.platform_inbound_secret holds a value that is not UTF-8 text",
            "337",
        );
        if *value == "x''" {
            continue;
        }
        let healed = issue(&*database, &number.to_string(), IssueMode::Heal, "minted").await;
        assert_refused(healed, "not UTF-8 text", "337");
    }
    let stored = fixture.text("SELECT hex(platform_inbound_secret) FROM workspaces WHERE id = '0'").await?;
    assert_eq!(stored.as_deref(), Some("73336372"), "a heal keeps what is stored");
    Ok(())
}

#[tokio::test]
async fn a_column_that_turns_text_into_numbers_is_refused() -> Result<()> {
    for declared in ["INTEGER", "REAL", "NUMERIC", "STRING", "POINT"] {
        let fixture = Engine::Sqlite.empty().await?;
        let table =
            format!("CREATE TABLE workspaces (id TEXT PRIMARY KEY, platform_inbound_secret {declared})");
        fixture.execute(&table).await?;
        let Some(ConnectError::Schema(words)) = fixture.connect(column()).await.err() else {
            panic!("{declared} was accepted");
        };
        assert!(words.contains(declared) && words.contains("expected TEXT"), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_numbers_or_without_case_is_found_by_its_own_spelling_only() -> Result<()> {
    for (declared, stored, others) in [
        ("INTEGER", "42", ["042", "42.0", " 42", "+42", "forty-two", "99999999999999999999"]),
        ("TEXT COLLATE NOCASE", "abc", ["ABC", "Abc", "abC", "abc ", "ab", "abcd"]),
    ] {
        let fixture = Engine::Sqlite.empty().await?;
        fixture
            .execute(&format!(
                "CREATE TABLE workspaces (id {declared} PRIMARY KEY, platform_inbound_secret TEXT)"
            ))
            .await?;
        fixture.insert(stored, Some("s3cret")).await?;
        let database = fixture.secrets().await?;
        assert_eq!(select(&*database, stored).await?.as_deref(), Some("s3cret"));
        assert_eq!(issue(&*database, stored, IssueMode::Rotate, "rotated").await?, "rotated");
        for other in others {
            assert_eq!(select(&*database, other).await?, None, "{other:?}");
        }
        let all: Vec<&str> = others.into_iter().chain([stored]).collect();
        let (found, absent) = (Ok(Some("rotated".to_owned())), Ok(None));
        let expected = [&absent, &absent, &absent, &absent, &absent, &absent, &found].map(Clone::clone);
        assert_eq!(select_batch(&*database, &all).await, expected, "{declared}");
    }
    Ok(())
}

#[tokio::test]
async fn the_key_is_looked_up_in_its_index() -> Result<()> {
    for declared in ["TEXT", "INTEGER", "TEXT COLLATE NOCASE"] {
        let fixture = TestDatabase::create().await?;
        let table =
            format!("CREATE TABLE workspaces (id {declared} PRIMARY KEY, platform_inbound_secret TEXT)");
        sqlx::raw_sql(AssertSqlSafe(table)).execute(fixture.pool()).await?;
        let (key, list) = ("\"workspaces\".\"id\"", "(?1, ?2)");
        for (is_one, id) in [("=", "?1"), ("IN", list)] {
            let plan = format!(
                "EXPLAIN QUERY PLAN SELECT \"workspaces\".\"platform_inbound_secret\" FROM \"workspaces\" \
                 WHERE {key} {is_one} {id} AND CAST({key} AS text) COLLATE BINARY {is_one} {id} LIMIT 2"
            );
            let steps: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(plan)).bind("v").bind("w").fetch_all(fixture.pool()).await?;
            let first = &steps[0].3;
            assert!(first.starts_with("SEARCH workspaces"), "{declared} {is_one}: {steps:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_issue_through_a_view_with_a_trigger_is_seen_to_have_happened() -> Result<()> {
    let fixture = Engine::Sqlite.workspaces().await?;
    fixture.insert("w", None).await?;
    fixture.execute("CREATE VIEW served AS SELECT id, platform_inbound_secret AS s FROM workspaces").await?;
    fixture
        .execute(
            "CREATE TRIGGER written INSTEAD OF UPDATE ON served BEGIN \
             UPDATE workspaces SET platform_inbound_secret = NEW.s WHERE id = NEW.id; END",
        )
        .await?;
    let database = fixture.connect(Column::new("served", "id", "s")?).await?;
    assert_eq!(issue(&*database, "w", IssueMode::Heal, "healed").await?, "healed");
    assert_eq!(issue(&*database, "w", IssueMode::Rotate, "rotated").await?, "rotated");
    assert_eq!(select(&*database, "w").await?.as_deref(), Some("rotated"));
    Ok(())
}

#[tokio::test]
async fn a_file_locked_by_another_writer_can_be_read_and_refuses_an_issue_within_its_timeout() -> Result<()> {
    let fixture = workspaces().await?;
    sqlx::raw_sql("INSERT INTO workspaces (id, platform_inbound_secret) VALUES ('w', 'old')")
        .execute(fixture.pool())
        .await?;
    let mut writer = fixture.pool().acquire().await?;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *writer).await?;

    let impatient = fixture.options().busy_timeout(Duration::from_millis(20));
    let database =
        Sqlite::from_pool(SqlitePoolOptions::new().connect_with(impatient).await?, column()).await?;
    assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    let refused =
        tokio::time::timeout(Duration::from_secs(10), issue(&database, "w", IssueMode::Rotate, "minted"));
    assert_unavailable(refused.await?, "locked", "minted");

    sqlx::raw_sql("COMMIT").execute(&mut *writer).await?;
    assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    assert_eq!(issue(&database, "w", IssueMode::Rotate, "new").await?, "new");
    Ok(())
}

#[tokio::test]
async fn a_read_only_file_can_be_read_and_refuses_an_issue() -> Result<()> {
    let fixture = Engine::Sqlite.workspaces().await?;
    fixture.insert("w", Some("stored")).await?;
    let database = Sqlite::connect(&format!("{}?mode=ro", fixture.url()), column()).await?;
    assert_eq!(select(&database, "w").await?.as_deref(), Some("stored"));
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        assert_eq!(issue(&database, "w", mode, "minted").await, Err(DatabaseError::ReadOnly));
    }
    Ok(())
}

#[tokio::test]
async fn a_file_is_created_only_if_the_url_says_so() -> Result<()> {
    let fixture = TestDatabase::create().await?;
    let missing = fixture.missing_url();
    let error = Sqlite::connect(&missing, column()).await.expect_err("no file, no database");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("missing.db: the file does not exist"), "{error}");
    // The file is created, and so empty.
    let error = Sqlite::connect(&format!("{missing}?mode=rwc"), column()).await.expect_err("no table");
    assert!(matches!(error, ConnectError::Schema(_)), "{error}");
    let error = Sqlite::connect(&format!("{missing}?mode=wr"), column()).await.expect_err("no such mode");
    assert!(matches!(error, ConnectError::Url { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_connected_file_is_in_wal_mode_and_synced_at_each_commit() -> Result<()> {
    let fixture = workspaces().await?;
    let database = Sqlite::connect(fixture.url(), column()).await?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(database.pool()).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(database.pool()).await?;
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
    Ok(())
}
