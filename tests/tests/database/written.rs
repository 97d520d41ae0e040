//! The result of a write: the answer is what the row holds, and a write that has changed nothing says so.

use anyhow::{Context as _, Result};
use leasehold::{Column, ConnectError, DatabaseError, IssueMode};
use leasehold_tests::{Engine, Fixture};

use super::{assert_refused, column, issue, on_both, select};

on_both! {
    what_a_trigger_makes_of_a_secret_is_what_is_answered,
    a_write_that_the_database_swallows_is_an_error_of_its_own,
    a_secret_that_a_trigger_takes_away_again_is_no_secret,
    a_workspace_without_a_row_is_unknown_with_triggers_too,
    a_key_column_that_is_not_unique_is_refused_with_what_to_do,
    a_key_of_several_rows_is_written_in_none,
    a_column_that_is_only_read_is_never_written,
}

/// Makes a trigger that runs `body` at `when`, which names the row's new state `NEW`.
async fn trigger(fixture: &Fixture, when: &str, body: &str) -> Result<()> {
    match fixture.engine() {
        Engine::Postgres => {
            let function = format!(
                "CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
            );
            fixture.execute(&function).await?;
            fixture.execute("DROP TRIGGER IF EXISTS act ON workspaces").await?;
            let made =
                format!("CREATE TRIGGER act {when} UPDATE ON workspaces FOR EACH ROW EXECUTE FUNCTION act()");
            fixture.execute(&made).await
        }
        Engine::Sqlite => {
            fixture.execute("DROP TRIGGER IF EXISTS act").await?;
            let made = format!("CREATE TRIGGER act {when} UPDATE ON workspaces BEGIN {body} END");
            fixture.execute(&made).await
        }
    }
}

async fn stored(fixture: &Fixture) -> Result<Option<String>> {
    fixture.text("SELECT platform_inbound_secret FROM workspaces WHERE id = 'w'").await
}

async fn what_a_trigger_makes_of_a_secret_is_what_is_answered(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", None).await?;
    let database = fixture.secrets().await?;
    let after = "UPDATE workspaces SET platform_inbound_secret = 'a-' || NEW.platform_inbound_secret \
                 WHERE id = NEW.id AND platform_inbound_secret NOT LIKE 'a-%';";
    let triggers: &[(&str, String)] = match engine {
        Engine::Postgres => &[
            (
                "BEFORE",
                "NEW.platform_inbound_secret := upper(NEW.platform_inbound_secret); RETURN NEW;".to_owned(),
            ),
            ("AFTER", format!("{after} RETURN NULL;")),
        ],
        // Without recursive triggers, which are off by default, its own change does not start it again.
        Engine::Sqlite => &[("AFTER", after.to_owned())],
    };
    for (when, body) in triggers {
        // The trigger is made after the connection: nothing that was seen then may be relied on.
        trigger(&fixture, when, body).await?;
        for mode in [IssueMode::Rotate, IssueMode::Heal] {
            fixture.execute("UPDATE workspaces SET auth_token_hash = NULL").await?;
            if mode == IssueMode::Heal && engine == Engine::Sqlite {
                fixture.execute("DELETE FROM workspaces").await?;
                fixture.insert("w", None).await?;
            }
            let answered = issue(&*database, "w", mode, "minted").await?;
            assert_eq!(Some(&answered), stored(&fixture).await?.as_ref(), "{when} {mode:?}");
            assert_ne!(answered, "minted", "{when} {mode:?}: the trigger has done nothing");
            assert_eq!(select(&*database, "w").await?, Some(answered), "{when} {mode:?}");
        }
    }
    Ok(())
}

async fn a_write_that_the_database_swallows_is_an_error_of_its_own(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let database = fixture.secrets().await?;
    let body = if engine == Engine::Postgres { "RETURN NULL;" } else { "SELECT RAISE(IGNORE);" };
    trigger(&fixture, "BEFORE", body).await?;
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        assert_refused(issue(&*database, "w", mode, "minted").await, "swallowed the write", "minted");
        let unknown = issue(&*database, "missing", mode, "minted").await;
        assert_eq!(unknown, Err(DatabaseError::UnknownWorkspace), "{mode:?}");
    }
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
    Ok(())
}

async fn a_secret_that_a_trigger_takes_away_again_is_no_secret(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    let database = fixture.secrets().await?;
    let body =
        "UPDATE workspaces SET platform_inbound_secret = NULL WHERE platform_inbound_secret IS NOT NULL;";
    let body = if engine == Engine::Postgres { format!("{body} RETURN NULL;") } else { body.to_owned() };
    trigger(&fixture, "AFTER", &body).await?;
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        // The row holds something else than before: an answer that the write has changed nothing would be
        // untrue.
        let lost = issue(&*database, "w", mode, "minted").await;
        assert!(
            matches!(&lost, Err(DatabaseError::Lost(words)) if words.contains("stays empty")),
            "{lost:?}"
        );
    }
    Ok(())
}

async fn a_workspace_without_a_row_is_unknown_with_triggers_too(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let database = fixture.secrets().await?;
    let body = if engine == Engine::Postgres { "RETURN NULL;" } else { "SELECT 1;" };
    trigger(&fixture, "AFTER", body).await?;
    let unknown = issue(&*database, "w", IssueMode::Rotate, "minted").await;
    assert_eq!(unknown, Err(DatabaseError::UnknownWorkspace));
    fixture.insert("w", None).await?;
    assert_eq!(issue(&*database, "w", IssueMode::Rotate, "minted").await?, "minted");
    Ok(())
}

/// Creates a table of several rows for each tenant, and returns the column of one of them.
async fn tenants(engine: Engine) -> Result<(Fixture, Column)> {
    let fixture = engine.empty().await?;
    fixture
        .execute("CREATE TABLE keys (tenant TEXT, name TEXT, secret TEXT, PRIMARY KEY (tenant, name))")
        .await?;
    fixture
        .execute("INSERT INTO keys VALUES ('t', 'a', 'of-a'), ('t', 'b', 'of-b'), ('u', 'a', 'of-u')")
        .await?;
    Ok((fixture, Column::new("keys", "tenant", "secret")?))
}

async fn a_key_column_that_is_not_unique_is_refused_with_what_to_do(engine: Engine) -> Result<()> {
    let (fixture, column) = tenants(engine).await?;
    let refused = fixture.connect(column.clone()).await.err().context("connected")?;
    let ConnectError::Schema(words) = refused else { panic!("{refused:?}") };
    assert!(
        words.contains("\"tenant\"")
            && words.contains("no unique index")
            && words.contains("CREATE UNIQUE INDEX"),
        "{words}"
    );
    // An index over a part of the rows, or over more columns, says nothing of the key alone.
    fixture.execute("CREATE UNIQUE INDEX of_a ON keys (tenant) WHERE name = 'a'").await?;
    fixture.execute("CREATE UNIQUE INDEX of_both ON keys (tenant, secret)").await?;
    fixture.execute("CREATE INDEX of_all ON keys (tenant)").await?;
    assert!(fixture.connect(column.clone()).await.is_err());
    fixture.execute("DELETE FROM keys WHERE name = 'b'").await?;
    fixture.execute("CREATE UNIQUE INDEX really ON keys (tenant)").await?;
    let database = fixture.connect(column).await?;
    assert_eq!(issue(&*database, "t", IssueMode::Rotate, "new").await?, "new");
    Ok(())
}

async fn a_key_of_several_rows_is_written_in_none(engine: Engine) -> Result<()> {
    let (fixture, column) = tenants(engine).await?;
    let database = fixture.connect(column.assume_unique()).await?;
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        assert_refused(issue(&*database, "t", mode, "minted").await, "has to be unique", "minted");
        assert_eq!(issue(&*database, "u", mode, "of-u").await?, "of-u");
    }
    assert_refused(select(&*database, "t").await, "has to be unique", "of-a");
    let minted = fixture.text("SELECT name FROM keys WHERE secret = 'minted'").await?;
    assert_eq!(minted, None, "nothing was changed");
    Ok(())
}

async fn a_column_that_is_only_read_is_never_written(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    fixture.insert("w", Some("old")).await?;
    fixture.execute("CREATE VIEW one AS SELECT DISTINCT id, platform_inbound_secret FROM workspaces").await?;
    let view = Column::new("one", "id", "platform_inbound_secret")?;
    let Some(ConnectError::Schema(words)) = fixture.connect(view.clone()).await.err() else {
        panic!("connected")
    };
    assert!(words.contains("cannot be written"), "{words}");
    let database = fixture.connect(view.read_only()).await?;
    assert_eq!(select(&*database, "w").await?.as_deref(), Some("old"));
    assert_refused(issue(&*database, "w", IssueMode::Rotate, "minted").await, "only read", "minted");
    let database = fixture.connect(column().read_only()).await?;
    assert_refused(issue(&*database, "w", IssueMode::Heal, "minted").await, "only read", "minted");
    assert_eq!(stored(&fixture).await?.as_deref(), Some("old"));
    Ok(())
}
