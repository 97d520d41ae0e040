//! The checks when a database is connected, and the words in which a mistake is reported.

use anyhow::Result;
use leasehold::{Column, ConnectError, IssueMode};
use leasehold_tests::{Engine, Fixture};

use super::{column, issue, on_both, select};

on_both! {
    a_missing_table_is_named,
    a_missing_column_is_named_and_never_read_as_a_literal,
    a_table_may_be_named_with_its_schema,
    words_of_sql_and_capitals_are_names_like_any_other,
    a_view_can_be_read,
    another_scheme_is_refused_without_a_word_of_the_url,
}

async fn refusal(fixture: &Fixture, column: Column) -> String {
    match fixture.connect(column).await {
        Ok(_) => panic!("connected"),
        Err(ConnectError::Schema(words)) => words,
        Err(other) => panic!("{other}"),
    }
}

async fn a_missing_table_is_named(engine: Engine) -> Result<()> {
    let words = refusal(&engine.empty().await?, column()).await;
    assert!(words.contains("no table \"workspaces\""), "{words}");
    Ok(())
}

async fn a_missing_column_is_named_and_never_read_as_a_literal(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let words = refusal(&fixture, Column::new("workspaces", "id", "secret")?).await;
    assert!(words.contains("no secret column \"secret\""), "{words}");
    let words = refusal(&fixture, Column::new("workspaces", "uid", "platform_inbound_secret")?).await;
    assert!(words.contains("no key column \"uid\""), "{words}");
    // A column that is dropped later is an error as well; SQLite would answer a bare name with itself.
    fixture.insert("w", Some("s")).await?;
    let database = fixture.secrets().await?;
    fixture.execute("ALTER TABLE workspaces DROP COLUMN platform_inbound_secret").await?;
    assert!(select(&*database, "w").await.is_err());
    assert!(issue(&*database, "w", IssueMode::Heal, "minted").await.is_err());
    Ok(())
}

async fn a_table_may_be_named_with_its_schema(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", None).await?;
    let schema = match engine {
        Engine::Postgres => "public",
        Engine::Sqlite => "main",
    };
    let column = Column::new(&format!("{schema}.workspaces"), "id", "platform_inbound_secret")?;
    let database = fixture.connect(column).await?;
    assert_eq!(issue(&*database, "w", IssueMode::Heal, "healed").await?, "healed");
    assert_eq!(issue(&*database, "w", IssueMode::Rotate, "rotated").await?, "rotated");
    assert_eq!(select(&*database, "w").await?.as_deref(), Some("rotated"));
    let words = refusal(&fixture, Column::new("nowhere.workspaces", "id", "platform_inbound_secret")?).await;
    assert!(words.contains("\"nowhere\".\"workspaces\""), "{words}");
    Ok(())
}

async fn words_of_sql_and_capitals_are_names_like_any_other(engine: Engine) -> Result<()> {
    let fixture = engine.empty().await?;
    fixture.execute("CREATE TABLE \"Order\" (\"Group\" TEXT PRIMARY KEY, \"select\" TEXT)").await?;
    fixture.execute("INSERT INTO \"Order\" VALUES ('w', NULL)").await?;
    let database = fixture.connect(Column::new("Order", "Group", "select")?).await?;
    assert_eq!(issue(&*database, "w", IssueMode::Heal, "healed").await?, "healed");
    assert_eq!(select(&*database, "w").await?.as_deref(), Some("healed"));
    Ok(())
}

async fn a_view_can_be_read(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("s3cret")).await?;
    fixture
        .execute("CREATE VIEW served AS SELECT id AS workspace, platform_inbound_secret AS s FROM workspaces")
        .await?;
    let database = fixture.connect(Column::new("served", "workspace", "s")?.read_only()).await?;
    assert_eq!(select(&*database, "w").await?.as_deref(), Some("s3cret"));
    Ok(())
}

async fn another_scheme_is_refused_without_a_word_of_the_url(engine: Engine) -> Result<()> {
    for url in ["mysql://u:hunter2@h/d", "hunter2", "", "u:hunter2@h/d"] {
        let error = match engine {
            Engine::Postgres => leasehold::Postgres::connect(url, column()).await.err(),
            Engine::Sqlite => leasehold::Sqlite::connect(url, column()).await.err(),
        };
        let Some(error @ ConnectError::Url { .. }) = error else { panic!("{error:?}") };
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    Ok(())
}
