//! A table or a view that is there already: the commands and the grants of README.md, as they are written,
//! and words for what is missing.
//!
//! The table is one that this server would never make: a uuid key, columns that have to be given, a trigger
//! that changes the secret on its way. The role may do no more than README.md grants.

mod forms;
mod sqlite;
mod wrong;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{ADMIN_TOKEN, Ended, Launch, Server, no_body};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

const README: &str = include_str!("../../../README.md");
/// A workspace without a secret, and one with a secret.
const BARE: &str = "8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55";
const OLD: &str = "00000000-0000-4000-8000-00000000000a";
/// The token of every workspace, and its hash.
const TOKEN: &str = "abc";
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const URL_FILE: &str = "database.url";

/// Another program's table, with its rows.
const CUSTOMERS: &str = "
    CREATE SCHEMA shop;
    CREATE TABLE shop.customers (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        seats integer NOT NULL CHECK (seats > 0),
        inbound_secret text,
        token_hash text NOT NULL,
        changes integer NOT NULL DEFAULT 0
    );
    CREATE FUNCTION shop.changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.inbound_secret := 'shop-' || NEW.inbound_secret;
        NEW.changes := OLD.changes + 1;
        RETURN NEW;
    END $$;
    CREATE TRIGGER changed BEFORE UPDATE ON shop.customers
        FOR EACH ROW EXECUTE FUNCTION shop.changed();
    INSERT INTO shop.customers (id, name, seats, inbound_secret, token_hash) VALUES
        ('8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55', 'Ann', 3, NULL, 'HASH'),
        ('00000000-0000-4000-8000-00000000000a', 'Bob', 1, 'old', 'HASH');";

/// A database with the other program's table.
struct Shop {
    database: TestDatabase,
    /// The role of the server, which no other test uses.
    role: String,
}

impl Shop {
    async fn open() -> Result<Self> {
        let database = TestDatabase::create().await?;
        let role = format!("app_{}", database.options().get_database().context("no name")?);
        let shop = Self { database, role };
        shop.execute(&CUSTOMERS.replace("HASH", HASH)).await?;
        Ok(shop)
    }

    /// Opens one with the role of README.md.
    async fn granted() -> Result<Self> {
        let shop = Self::open().await?;
        let block = block("sql", "GRANT SELECT (id, inbound_secret")?;
        shop.execute(&block.replace("leasehold_app", &shop.role).replace("'...'", "'hunter2'")).await?;
        Ok(shop)
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.database.pool()).await?;
        Ok(())
    }

    async fn text(&self, sql: &str) -> Result<Option<String>> {
        let text = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_optional(self.database.pool());
        Ok(text.await?.flatten())
    }

    async fn secret(&self, id: &str) -> Result<Option<String>> {
        self.text(&format!("SELECT inbound_secret FROM shop.customers WHERE id::text = '{id}'")).await
    }

    /// Describes a command as the role of the server, whose URL is in the file.
    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Launch> {
        let url = self.database.options().username(&self.role).password("hunter2").to_url_lossy();
        command(url.as_str(), arguments)
    }

    fn serve<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Launch> {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--database-file", URL_FILE];
        self.command(serve.into_iter().chain(arguments))
    }
}

fn command<'a>(url: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<Launch> {
    let launch = Launch::alone(arguments)?.variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN);
    let file = launch.folder().join(URL_FILE);
    fs::write(&file, url)?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    Ok(launch)
}

/// Returns the block of README.md in this language that has these words.
fn block(language: &str, words: &str) -> Result<&'static str> {
    let opened = format!("```{language}\n");
    let mut blocks = README.split(&opened).skip(1).filter_map(|block| block.split("```").next());
    blocks.find(|block| block.contains(words)).with_context(|| format!("no {words:?} in README"))
}

/// Returns the arguments of each command of README.md about the table, as they are written.
fn commands() -> Result<Vec<Vec<&'static str>>> {
    let lines = block("sh", "--table shop.customers")?.lines();
    let commands: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().skip(1).collect()).collect();
    ensure!(commands.iter().all(|command| command.contains(&"shop.customers")), "{commands:?}");
    Ok(commands)
}

fn done(ended: &Ended) -> Result<&str> {
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(&ended.stdout)
}

/// Checks that rows are neither made nor removed.
fn keeps_its_rows(server: &Server, id: &str) -> Result<()> {
    for (method, path) in [("POST", "/workspaces".to_owned()), ("DELETE", format!("/workspaces/{id}"))] {
        let refused = server.admin(method, &path, no_body())?.refusal(403, "workspaces_are_external")?;
        ensure!(refused["message"].to_string().contains("list, make and remove them there"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn the_documented_commands_serve_a_table_that_is_there_with_no_more_than_the_documented_grants()
-> Result<()> {
    let shop = Shop::granted().await?;
    let commands = commands()?;
    ensure!(commands.len() == 2, "{commands:?}");
    for command in &commands {
        match command.first() {
            Some(&"serve") => {
                let listen = ["--listen", "127.0.0.1:0"];
                serves(&shop, &shop.command(command.iter().copied())?.arguments(listen)).await?;
            }
            _ => {
                let said = shop.command(command.iter().copied())?.run_to_completion()?;
                for words in [
                    "shop.customers, of another program",
                    "id, of type uuid",
                    "inbound_secret, read and written",
                    "token_hash of shop.customers by id",
                    "may do all that is needed",
                ] {
                    ensure!(done(&said)?.contains(words), "no {words:?} in {}", said.stdout);
                }
            }
        }
    }
    let tables = "SELECT string_agg(tablename::text, ',') FROM pg_tables \
                  WHERE schemaname IN ('shop', 'public')";
    assert_eq!(shop.text(tables).await?.as_deref(), Some("customers"), "a table was made");
    let rest = "SELECT string_agg(name || seats::text, ',' ORDER BY name) FROM shop.customers";
    assert_eq!(shop.text(rest).await?.as_deref(), Some("Ann3,Bob1"), "another column was changed");
    Ok(())
}

/// Takes a server once through all of its routes.
async fn serves(shop: &Shop, launch: &Launch) -> Result<()> {
    let server = launch.server()?;
    ensure!(server.delivered(OLD, TOKEN)? == "old", "what the row holds is delivered");
    let healed = server.delivered(BARE, TOKEN)?;
    ensure!(healed.starts_with("shop-"), "{healed} is not what the trigger has stored");
    ensure!(shop.secret(BARE).await?.as_deref() == Some(healed.as_str()), "the row holds another secret");
    for _ in 0..2 {
        let rotated = server.rotate(OLD)?;
        ensure!(server.delivered(OLD, TOKEN)? == rotated, "what was rotated is delivered");
        ensure!(server.secret(OLD)?.0 == rotated, "and read");
        ensure!(shop.secret(OLD).await?.as_deref() == Some(rotated.as_str()), "and stored");
    }
    assert_eq!(server.get("/readyz")?.json(200)?["status"], "ok");
    keeps_its_rows(&server, OLD)?;
    server.heartbeat(OLD, "wrong")?.refusal(401, "unauthorized")?;
    server.heartbeat("11111111-2222-4333-8444-555555555555", TOKEN)?.refusal(401, "unauthorized")?;
    ensure!(!server.log()?.contains("hunter2"), "{}", server.log()?);
    server.stop()?;
    Ok(())
}
