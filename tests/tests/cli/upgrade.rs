//! A database of version 1, in which each workspace had one token: it is brought up to date by the first
//! server or by `leasehold migrate`, with its tokens, or refused in words.

use anyhow::{Context as _, Result};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{Ended, Launch, no_body};
use leasehold_tests::{Engine, Fixture};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

/// The tokens `abc` and `def`, as version 1 stored them.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const DEF: &str = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";

/// Makes the tables as version 1 made them.
async fn version_1(engine: Engine) -> Result<Fixture> {
    let database = engine.empty().await?;
    database.execute(tables(engine)).await?;
    Ok(database)
}

fn tables(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "create table workspaces (id text primary key, auth_token_hash text not null, \
             platform_inbound_secret text, created_at timestamptz not null default now()); \
             create table leasehold_schema (version integer primary key, \
             applied_at timestamptz not null default now()); \
             insert into leasehold_schema (version) values (1)"
        }
        Engine::Sqlite => {
            "create table workspaces (id text primary key not null, auth_token_hash text not null, \
             platform_inbound_secret text, \
             created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) strict; \
             create table leasehold_schema (version integer primary key not null, \
             applied_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) strict; \
             insert into leasehold_schema (version) values (1)"
        }
    }
}

async fn fill(database: &Fixture) -> Result<()> {
    let upper = DEF.to_ascii_uppercase();
    database
        .execute(&format!(
            "insert into workspaces (id, auth_token_hash, platform_inbound_secret, created_at) values \
             ('lower', '{ABC}', 'secret-of-lower', '2024-02-29T12:34:56.789Z'), \
             ('upper', '{upper}', null, '2024-02-29T12:34:56.789Z'), \
             ('none', 'secret', null, '2024-02-29T12:34:56.789Z')"
        ))
        .await
}

fn run(arguments: &[&str]) -> Result<Ended> {
    Launch::alone(arguments.iter().copied())?.run_to_completion()
}

#[track_caller]
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.log);
    for word in words {
        assert!(ended.log.contains(word), "no {word:?} in {}", ended.log);
    }
}

/// Serves the database, and checks what it holds.
fn assert_serves(launch: &Launch) -> Result<String> {
    let server = launch.server()?;
    assert_eq!(server.delivered("lower", "abc")?, "secret-of-lower");
    server.delivered("upper", "def")?;
    for (id, token) in [("lower", "def"), ("upper", "abc"), ("none", "secret"), ("none", "")] {
        server.heartbeat(id, token)?.refusal(401, "unauthorized")?;
    }
    let listed = server.admin("GET", "/workspaces/lower/tokens", no_body())?.json(200)?;
    let token = &listed["tokens"][0];
    assert_eq!(token["created_at"], "2024-02-29T12:34:56.789Z", "{listed}");
    assert!(token["prefix"].is_null() && token["id"].as_str().is_some_and(|id| id.len() == 12), "{listed}");
    let rotated = server.admin("POST", "/workspaces/none/tokens/rotate", no_body())?;
    server.delivered("none", &rotated.text_of(201, "auth_token")?)?;
    let log = server.log()?;
    server.stop()?;
    Ok(log)
}

#[tokio::test]
async fn a_database_that_an_older_server_filled_is_served_with_its_tokens_in_either_case() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = version_1(engine).await?;
        fill(&database).await?;
        let log = assert_serves(&Launch::new(database.url())?)?;
        assert!(log.contains("from version 1 to version 2"), "{log}");
        assert!(log.contains("no SHA-256") && log.contains("workspaces=1"), "case 28 without a word: {log}");
        for secret in ["secret-of-lower", ABC, DEF] {
            assert!(!log.contains(secret), "{log}");
        }
        let log = assert_serves(&Launch::new(database.url())?.arguments(["--no-migrate"]))?;
        assert!(!log.contains("version 2"), "it was made again: {log}");
        let old = database.text("select auth_token_hash from workspaces").await;
        assert!(old.is_err(), "an older server would let in what was revoked");
        let version = database.text("select cast(max(version) as text) from leasehold_schema").await?;
        assert_eq!(version.as_deref(), Some("2"));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_to_be_done_is_said_and_a_command_does_it() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = version_1(engine).await?;
        fill(&database).await?;
        let url = database.url();
        let waits = Launch::new(url)?.arguments(["--no-migrate"]).run_to_completion()?;
        assert_refused(&waits, &["has version 1", "needs version 2", "leasehold migrate"]);
        let looked = run(&["database", "check", "--database", url])?;
        assert_eq!(looked.code, Some(1), "{looked:?}");
        assert!(looked.log.contains("leasehold migrate"), "{looked:?}");
        let migrated = run(&["migrate", "--database", url])?;
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        assert!(migrated.stdout.contains("was brought up to date from version 1"), "{migrated:?}");
        let again = run(&["migrate", "--database", url])?;
        assert!(again.stdout.contains("nothing was changed"), "{again:?}");
        assert_eq!(run(&["database", "check", "--database", url])?.code, Some(0));
        assert_serves(&Launch::new(url)?.arguments(["--no-migrate"]))?;
    }
    Ok(())
}

#[tokio::test]
async fn tokens_that_open_several_workspaces_are_refused_by_name_and_nothing_is_changed() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = version_1(engine).await?;
        fill(&database).await?;
        let shared = format!(
            "insert into workspaces (id, auth_token_hash) values ('namesake', '{}')",
            ABC.to_ascii_uppercase()
        );
        database.execute(&shared).await?;
        let refused = Launch::new(database.url())?.run_to_completion()?;
        assert_refused(&refused, &["several workspaces have the same", "[\"lower\", \"namesake\"]"]);
        assert!(!refused.log.contains(ABC), "{}", refused.log);
        database.execute("delete from workspaces where id = 'namesake'").await?;
        assert_serves(&Launch::new(database.url())?)?;
    }
    Ok(())
}

#[tokio::test]
async fn servers_that_start_together_on_an_old_database_all_come_up() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = version_1(engine).await?;
        fill(&database).await?;
        let launches = (0..4).map(|_| Launch::new(database.url())).collect::<Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let started: Vec<_> =
                launches.iter().map(|launch| scope.spawn(|| launch.server()?.stop())).collect();
            started.into_iter().try_for_each(|thread| match thread.join() {
                Ok(stopped) => stopped.map(drop),
                Err(_) => anyhow::bail!("a thread panicked"),
            })
        })?;
        assert_serves(&launches[0])?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_who_may_change_no_table_is_told_who_has_to() -> Result<()> {
    let database = TestDatabase::create().await?;
    sqlx::raw_sql(tables(Engine::Postgres)).execute(database.pool()).await?;
    let user = format!("old_{}", database.options().get_database().context("no name")?);
    let role = format!(
        "CREATE ROLE {user} LOGIN PASSWORD 'x'; REVOKE CREATE ON SCHEMA public FROM public; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON workspaces TO {user}"
    );
    sqlx::raw_sql(AssertSqlSafe(role)).execute(database.pool()).await?;
    let url = database.options().username(&user).password("x").to_url_lossy().to_string();
    let refused = Launch::new(&url)?.run_to_completion()?;
    assert_refused(&refused, &["leasehold migrate", &user, "workspace_tokens"]);
    Ok(())
}

/// A backup of version 1 is made and put back by this version, and brought up to date when it is served.
#[tokio::test]
async fn a_backup_of_an_older_server_is_restored_and_served() -> Result<()> {
    let database = version_1(Engine::Sqlite).await?;
    fill(&database).await?;
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let path = launch.folder().join("backup.db");
    let to = path.to_str().context("no text")?;
    let backup = run(&["backup", to, "--database", database.url()])?;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    let restored = launch.beside(["restore", to, "--database", "sqlite://test.db?mode=rwc"]);
    let restored = restored.run_to_completion()?;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let reads = launch.beside(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite://test.db?mode=ro"]);
    let refused = reads.variable("LEASEHOLD_ADMIN_TOKEN", leasehold_tests::server::ADMIN_TOKEN);
    assert_refused(
        &refused.run_to_completion()?,
        &["version 1", "opened for reading only", "leasehold migrate"],
    );
    assert_serves(&launch)?;
    Ok(())
}
