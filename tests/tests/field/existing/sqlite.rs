//! The same on SQLite: a number as the key, a trigger, views.

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{Launch, no_body};
use leasehold_tests::{Engine, Fixture};

use super::{HASH, TOKEN, URL_FILE, command, done, keeps_its_rows};

const COLUMNS: [&str; 6] = ["--key", "nr", "--column", "secret", "--token-column", "hash"];

async fn shop() -> Result<Fixture> {
    let fixture = Engine::Sqlite.empty().await?;
    fixture
        .execute(&format!(
            "CREATE TABLE customers
                 (nr INTEGER PRIMARY KEY, name TEXT NOT NULL, secret TEXT, hash TEXT NOT NULL);
             INSERT INTO customers VALUES (42, 'Ann', NULL, '{HASH}'), (43, 'Bob', 'old', '{HASH}');
             CREATE TRIGGER changed AFTER UPDATE OF secret ON customers WHEN NEW.secret NOT LIKE 'shop-%'
             BEGIN UPDATE customers SET secret = 'shop-' || NEW.secret WHERE nr = NEW.nr; END;
             CREATE VIEW fixed AS SELECT nr, secret, hash FROM customers;
             CREATE VIEW by_trigger AS SELECT nr, secret, hash FROM customers;
             CREATE TRIGGER instead INSTEAD OF UPDATE ON by_trigger
             BEGIN UPDATE customers SET secret = NEW.secret WHERE nr = OLD.nr; END"
        ))
        .await?;
    Ok(fixture)
}

fn serve(fixture: &Fixture, table: &str) -> Result<Launch> {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-file", URL_FILE, "--table", table];
    command(fixture.url(), serve.into_iter().chain(COLUMNS))
}

#[tokio::test]
async fn a_table_and_a_view_of_a_sqlite_file_are_served_and_nothing_is_made_there() -> Result<()> {
    let fixture = shop().await?;
    for table in ["customers", "by_trigger"] {
        let server = serve(&fixture, table)?.server()?;
        let healed = server.delivered("42", TOKEN).context(table)?;
        let rotated = server.rotate("42")?;
        ensure!(healed.starts_with("shop-") && rotated.starts_with("shop-"), "{table}: {healed} {rotated}");
        ensure!(server.delivered("42", TOKEN)? == rotated, "{table}: what was rotated is delivered");
        let stored = fixture.text("SELECT secret FROM customers WHERE nr = 42").await?;
        ensure!(stored.as_deref() == Some(rotated.as_str()), "{table}: and stored");
        keeps_its_rows(&server, "42")?;
        server.heartbeat("042", TOKEN)?.refusal(401, "unauthorized")?;
        server.stop()?;
    }
    let server = serve(&fixture, "fixed")?.server()?;
    ensure!(server.delivered("43", TOKEN)? == "old", "it is read");
    let rotated = server.admin("POST", "/workspaces/43/secret", no_body())?;
    rotated.refusal(403, "secrets_are_read_only")?;
    ensure!(server.log()?.contains("the view cannot be updated"), "{}", server.log()?);
    server.stop()?;
    let tables = "SELECT group_concat(name) FROM sqlite_schema WHERE type = 'table'";
    assert_eq!(fixture.text(tables).await?.as_deref(), Some("customers"), "a table was made");
    Ok(())
}

#[tokio::test]
async fn the_commands_say_what_is_there_and_what_is_wrong() -> Result<()> {
    let fixture = shop().await?;
    let run = |words: &[&str], more: &[&str]| {
        let all = words.iter().chain(&["--database-file", URL_FILE]).chain(more).copied();
        command(fixture.url(), all)?.run_to_completion()
    };
    let right = ["--table", "fixed", "--key", "nr", "--column", "secret", "--token-column", "hash"];
    let said = run(&["database", "check"], &right)?;
    ensure!(done(&said)?.contains("secret, read, and never written"), "{said:?}");
    ensure!(done(&run(&["migrate"], &right)?)?.contains("nothing was changed"), "it says what it did");
    for (arguments, words) in [
        (&["--table", "nowhere"][..], "no table \"nowhere\""),
        (&["--table", "customers", "--key", "number"], "no key column \"number\""),
        (&["--table", "customers", "--key", "nr"], "no secret column \"platform_inbound_secret\""),
        (&["--table", "customers", "--key", "name", "--column", "secret"], "no unique index"),
    ] {
        for command in [&["database", "check"][..], &["migrate"], &["serve", "--listen", "127.0.0.1:0"]] {
            let ended = run(command, arguments)?;
            ensure!(ended.code == Some(1) && ended.log.contains(words), "{arguments:?}: {ended:?}");
        }
    }
    Ok(())
}
