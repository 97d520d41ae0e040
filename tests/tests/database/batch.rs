//! Many workspaces in one statement: each is answered as it would be alone.

use anyhow::Result;
use leasehold::DatabaseError;
use leasehold_tests::Engine;

use super::{assert_refused, column, on_both, select, select_batch};

on_both! {
    each_workspace_is_answered_in_its_place_as_it_would_be_alone,
    as_many_as_a_batch_holds_take_one_statement,
    what_is_wrong_with_one_workspace_is_no_error_of_another,
    a_database_that_fails_fails_all_of_them,
}

async fn each_workspace_is_answered_in_its_place_as_it_would_be_alone(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("null", None).await?;
    fixture.insert("empty", Some("")).await?;
    let hostile =
        ["' OR '1'='1", "'; DROP TABLE workspaces; --", "%", "_", "\\", "$1", "?1", "\"id\"", "{a,b}"];
    for id in hostile.iter().chain(&["a", "b", "Zürich", "NULL"]) {
        fixture.insert(id, Some(&format!("of {id}"))).await?;
    }
    let database = fixture.secrets().await?;
    let mut asked =
        vec!["b", "missing", "null", "a", "empty", "zürich", "Zürich", "a ", "A", "NULL", "null,", "b"];
    asked.extend(hostile);
    for length in 0..=asked.len() {
        let answers = select_batch(&*database, &asked[..length]).await;
        assert_eq!(answers.len(), length);
        for (id, answer) in asked.iter().zip(answers) {
            assert_eq!(answer, select(&*database, id).await, "{id:?} among {length}");
        }
    }
    assert_eq!(select_batch(&*database, &["missing", "b"]).await, [Ok(None), Ok(Some("of b".to_owned()))]);
    Ok(())
}

async fn as_many_as_a_batch_holds_take_one_statement(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let database = fixture.secrets().await?;
    let ids: Vec<String> = (0..database.batch_size()).map(|number| format!("w{number}")).collect();
    for id in &ids {
        fixture.insert(id, Some(&format!("of {id}"))).await?;
    }
    let asked: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    let answers = select_batch(&*database, &asked).await;
    let expected: Vec<_> = asked.iter().map(|id| Ok(Some(format!("of {id}")))).collect();
    assert_eq!(answers, expected);
    assert_eq!(database.statements(), 1);
    Ok(())
}

async fn what_is_wrong_with_one_workspace_is_no_error_of_another(engine: Engine) -> Result<()> {
    let fixture = engine.empty().await?;
    fixture.execute("CREATE TABLE workspaces (id TEXT, platform_inbound_secret TEXT)").await?;
    for id in ["a", "b", "c", "d", "e"] {
        fixture.insert(id, Some(&format!("of {id}"))).await?;
    }
    let database = fixture.patiently(column().assume_unique()).await?;
    // Two rows first, no more of them than workspaces are asked for; and then many.
    for secret in ["of-twice-1", "of-twice-2"] {
        fixture.insert("twice", Some(secret)).await?;
    }
    let mut answers = select_batch(&*database, &["twice", "missing", "a"]).await;
    assert_eq!(answers.split_off(1), [Ok(None), Ok(Some("of a".to_owned()))]);
    assert_refused(answers.remove(0), "unique", "of-twice");
    for _ in 0..20 {
        fixture.insert("twice", Some("of-twice")).await?;
    }
    let before = database.statements();
    let answers = select_batch(&*database, &["a", "b", "twice", "missing", "c", "d", "e"]).await;
    for (id, answer) in ["a", "b", "twice", "missing", "c", "d", "e"].iter().zip(answers) {
        match *id {
            "twice" => assert_refused(answer, "unique", "of-twice"),
            "missing" => assert_eq!(answer, Ok(None)),
            id => assert_eq!(answer, Ok(Some(format!("of {id}")))),
        }
    }
    assert!(database.statements() - before < 8, "in halves, and not one by one");
    Ok(())
}

async fn a_database_that_fails_fails_all_of_them(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let database = fixture.secrets().await?;
    assert_eq!(select_batch(&*database, &["v", "w"]).await, [Ok(None), Ok(None)]);
    fixture.execute("ALTER TABLE workspaces RENAME TO elsewhere").await?;
    for answer in select_batch(&*database, &["v", "w"]).await {
        assert!(matches!(answer, Err(DatabaseError::Refused(_))), "{answer:?}");
    }
    fixture.execute("ALTER TABLE elsewhere RENAME TO workspaces").await?;
    assert_eq!(select_batch(&*database, &["v", "w"]).await, [Ok(None), Ok(None)]);
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_not_text_is_an_error_of_its_own_workspace() -> Result<()> {
    let fixture = Engine::Sqlite.workspaces().await?;
    fixture.insert("a", Some("of a")).await?;
    fixture
        .execute("INSERT INTO workspaces (id, platform_inbound_secret) VALUES ('blob', x'73336372')")
        .await?;
    let database = fixture.secrets().await?;
    let mut answers = select_batch(&*database, &["blob", "a", "missing"]).await;
    assert_eq!(answers.split_off(1), [Ok(Some("of a".to_owned())), Ok(None)]);
    assert_refused(answers.remove(0), "not UTF-8 text", "733");
    Ok(())
}

#[tokio::test]
async fn a_row_that_cannot_be_computed_is_an_error_of_its_own_workspace() -> Result<()> {
    for (engine, compute) in [
        (Engine::Postgres, "CAST(1 / (length(id) - 3) AS text)"),
        (Engine::Sqlite, "CASE WHEN length(id) = 3 THEN json_extract('{', '$') ELSE id END"),
    ] {
        let fixture = engine.empty().await?;
        fixture.execute("CREATE TABLE ids (id TEXT PRIMARY KEY)").await?;
        let view =
            format!("CREATE VIEW workspaces AS SELECT id, {compute} AS platform_inbound_secret FROM ids");
        fixture.execute(&view).await?;
        fixture.execute("INSERT INTO ids VALUES ('a'), ('bad'), ('c'), ('d'), ('e')").await?;
        let database = fixture.patiently(column().read_only()).await?;
        for (id, answer) in ["a", "bad", "c", "d", "e"]
            .iter()
            .zip(select_batch(&*database, &["a", "bad", "c", "d", "e"]).await)
        {
            assert_eq!(answer.is_err(), *id == "bad", "{engine:?} {id}: {answer:?}");
        }
    }
    Ok(())
}
