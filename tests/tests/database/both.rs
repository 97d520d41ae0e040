//! The duties of every database: absence, issues, ids that look like SQL, values that are not text.

use anyhow::Result;
use leasehold::{Database, DatabaseError, IssueMode};
use leasehold_tests::Engine;

use super::{assert_refused, column, issue, on_both, select, spawn_issue};

on_both! {
    null_the_empty_string_and_a_missing_row_are_absence,
    a_rotation_replaces_what_is_stored,
    a_heal_stores_a_secret_only_where_none_is,
    twenty_heals_at_once_over_two_pools_return_the_same_secret,
    an_issue_for_a_workspace_without_a_row_changes_nothing,
    an_id_is_never_read_as_sql_or_as_a_pattern,
    an_id_finds_no_row_whose_id_differs_in_a_single_byte,
    any_text_comes_back_as_it_was_stored,
    an_issue_that_fails_at_its_commit_is_an_error,
    a_refused_issue_does_not_quote_the_secret,
    every_statement_is_counted_and_nothing_else,
    a_key_column_that_is_not_unique_serves_nobody,
    a_dropped_table_is_an_error_and_not_absence,
}

async fn null_the_empty_string_and_a_missing_row_are_absence(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("null", None).await?;
    fixture.insert("empty", Some("")).await?;
    fixture.insert("present", Some("s3cret")).await?;
    let database = fixture.secrets().await?;
    for absent in ["null", "empty", "missing"] {
        assert_eq!(select(&*database, absent).await?, None, "{absent}");
    }
    assert_eq!(select(&*database, "present").await?.as_deref(), Some("s3cret"));
    Ok(())
}

async fn a_rotation_replaces_what_is_stored(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    fixture.insert("other", Some("untouched")).await?;
    let database = fixture.secrets().await?;
    assert_eq!(issue(&*database, "w", IssueMode::Rotate, "new").await?, "new");
    assert_eq!(select(&*database, "w").await?.as_deref(), Some("new"));
    assert_eq!(select(&*database, "other").await?.as_deref(), Some("untouched"));
    Ok(())
}

async fn a_heal_stores_a_secret_only_where_none_is(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("null", None).await?;
    fixture.insert("empty", Some("")).await?;
    fixture.insert("present", Some("stored")).await?;
    let database = fixture.secrets().await?;
    for (workspace, expected) in [("null", "minted"), ("empty", "minted"), ("present", "stored")] {
        assert_eq!(issue(&*database, workspace, IssueMode::Heal, "minted").await?, expected);
        assert_eq!(select(&*database, workspace).await?.as_deref(), Some(expected));
    }
    Ok(())
}

async fn twenty_heals_at_once_over_two_pools_return_the_same_secret(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", None).await?;
    let replicas = [fixture.secrets().await?, fixture.secrets().await?];
    let heals: Vec<_> = (0..20)
        .map(|number| spawn_issue(&replicas[number % 2], IssueMode::Heal, format!("minted-{number}")))
        .collect();
    let stored = {
        let mut returned = Vec::new();
        for heal in heals {
            returned.push(heal.await??);
        }
        returned.dedup();
        assert_eq!(returned.len(), 1, "{returned:?}");
        returned.remove(0)
    };
    assert_eq!(select(&*replicas[0], "w").await?, Some(stored));
    Ok(())
}

async fn an_issue_for_a_workspace_without_a_row_changes_nothing(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let database = fixture.secrets().await?;
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        assert_eq!(issue(&*database, "w", mode, "minted").await, Err(DatabaseError::UnknownWorkspace));
    }
    assert_eq!(fixture.text("SELECT id FROM workspaces").await?, None);
    Ok(())
}

async fn an_id_is_never_read_as_sql_or_as_a_pattern(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("victim", Some("victim's")).await?;
    let database = fixture.secrets().await?;
    let hostile =
        ["' OR '1'='1", "'; DROP TABLE workspaces; --", "%", "_", "\\", "$1", "?1", "\"id\"", "NULL"];
    for id in hostile {
        assert_eq!(select(&*database, id).await?, None, "{id}");
        let refused = issue(&*database, id, IssueMode::Rotate, "minted").await;
        assert_eq!(refused, Err(DatabaseError::UnknownWorkspace), "{id}");
        fixture.insert(id, Some(id)).await?;
        assert_eq!(select(&*database, id).await?.as_deref(), Some(id));
    }
    assert_eq!(select(&*database, "victim").await?.as_deref(), Some("victim's"));
    Ok(())
}

async fn an_id_finds_no_row_whose_id_differs_in_a_single_byte(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("Zürich", Some("zurich's")).await?;
    let database = fixture.secrets().await?;
    // The last one is the same text to a reader: its ü is a u and a combining diaeresis.
    for other in ["zürich", "Zürich ", " Zürich", "Zurich", "ZÜRICH", "Zu\u{308}rich"] {
        assert_eq!(select(&*database, other).await?, None, "{other:?}");
        let refused = issue(&*database, other, IssueMode::Heal, "minted").await;
        assert_eq!(refused, Err(DatabaseError::UnknownWorkspace), "{other:?}");
    }
    assert_eq!(select(&*database, "Zürich").await?.as_deref(), Some("zurich's"));
    Ok(())
}

async fn any_text_comes_back_as_it_was_stored(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", None).await?;
    let database = fixture.secrets().await?;
    let long = "x".repeat(100_000);
    for text in [" ", "0042", "1e3", "line\nbreak", "schlüssel 🔑", "'\"\\$1", &long] {
        assert_eq!(issue(&*database, "w", IssueMode::Rotate, text).await?, text);
        assert_eq!(select(&*database, "w").await?.as_deref(), Some(text));
        assert_eq!(issue(&*database, "w", IssueMode::Heal, "other").await?, text);
    }
    Ok(())
}

async fn an_issue_that_fails_at_its_commit_is_an_error(engine: Engine) -> Result<()> {
    let fixture = engine.empty().await?;
    fixture.execute("CREATE TABLE allowed (secret TEXT PRIMARY KEY)").await?;
    // The constraint is checked at the commit: the statement itself has answered with its row by then.
    let table = "CREATE TABLE workspaces (id TEXT PRIMARY KEY, platform_inbound_secret TEXT \
                 REFERENCES allowed (secret) DEFERRABLE INITIALLY DEFERRED)";
    fixture.execute(table).await?;
    fixture.insert("w", None).await?;
    let database = fixture.secrets().await?;
    for mode in [IssueMode::Heal, IssueMode::Rotate] {
        assert_refused(issue(&*database, "w", mode, "forbidden").await, "constraint", "forbidden");
        assert_eq!(select(&*database, "w").await?, None);
    }
    Ok(())
}

async fn a_refused_issue_does_not_quote_the_secret(engine: Engine) -> Result<()> {
    let fixture = engine.empty().await?;
    let table = "CREATE TABLE workspaces (id TEXT PRIMARY KEY, platform_inbound_secret TEXT \
                 CHECK (length(platform_inbound_secret) < 10))";
    fixture.execute(table).await?;
    fixture.insert("w", None).await?;
    let database = fixture.secrets().await?;
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        let refused = issue(&*database, "w", mode, "longer-than-10").await;
        assert_refused(refused, "constraint", "longer-than-10");
    }
    assert_eq!(select(&*database, "w").await?, None);
    Ok(())
}

async fn every_statement_is_counted_and_nothing_else(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", None).await?;
    let database = fixture.connect(column()).await?;
    assert_eq!(database.statements(), 0, "the look at the table is not one of ours");
    select(&*database, "w").await?;
    select(&*database, "missing").await?;
    issue(&*database, "w", IssueMode::Heal, "a").await?;
    issue(&*database, "w", IssueMode::Rotate, "b").await?;
    let refused = issue(&*database, "missing", IssueMode::Rotate, "c").await;
    assert_eq!(refused, Err(DatabaseError::UnknownWorkspace));
    // SQLite does not say why a write has changed nothing: that takes one more.
    assert_eq!(database.statements(), if engine == Engine::Sqlite { 6 } else { 5 });
    Ok(())
}

async fn a_key_column_that_is_not_unique_serves_nobody(engine: Engine) -> Result<()> {
    let fixture = engine.empty().await?;
    fixture.execute("CREATE TABLE workspaces (id TEXT, platform_inbound_secret TEXT)").await?;
    fixture.insert("w", Some("first-one")).await?;
    fixture.insert("w", Some("second-one")).await?;
    let database = fixture.patiently(column().assume_unique()).await?;
    assert_refused(select(&*database, "w").await, "unique", "-one");
    Ok(())
}

async fn a_dropped_table_is_an_error_and_not_absence(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let database = fixture.secrets().await?;
    assert_eq!(select(&*database, "w").await?, None);
    fixture.execute("DROP TABLE workspaces").await?;
    assert_refused(select(&*database, "w").await, "(SQL", "minted");
    assert_refused(issue(&*database, "w", IssueMode::Rotate, "minted").await, "(SQL", "minted");
    Ok(())
}

#[tokio::test]
async fn a_clone_shares_the_count_of_statements() -> Result<()> {
    let fixture = Engine::Sqlite.workspaces().await?;
    let database = leasehold::Sqlite::connect(fixture.url(), column()).await?;
    let clone = database.clone();
    select(&clone, "w").await?;
    assert_eq!(database.statements(), 1);
    Ok(())
}
