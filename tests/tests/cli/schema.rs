//! The schema: looked at first, made in one transaction, by a user that may; and a start that hangs ends when
//! it is asked to.

use std::net::TcpListener;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{Ended, Launch, no_body};
use leasehold_tests::{Engine, Fixture, MAX_WAIT};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

const README: &str = include_str!("../../../README.md");
/// The advisory lock of a process that changes the schema.
const LOCK: u64 = 0x6c65_6173_6568_6f6c;

#[track_caller]
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.log);
    for word in words {
        assert!(ended.log.contains(word), "no {word:?} in {}", ended.log);
    }
}

/// Takes a server once through its whole purpose.
fn assert_serves(launch: &Launch) -> Result<()> {
    let server = launch.server()?;
    let token = server.create("w")?;
    server.delivered("w", &token)?;
    server.rotate("w")?;
    assert_eq!(server.get("/readyz")?.json(200)?["status"], "ok");
    assert_eq!(server.admin("DELETE", "/workspaces/w", no_body())?.status, 204);
    server.stop()?;
    Ok(())
}

/// Runs `leasehold migrate`.
fn migrate(url: &str) -> Result<Ended> {
    Launch::alone(["migrate", "--database", url])?.run_to_completion()
}

/// Returns the statements of the README for a user that may do no more than a server needs.
fn grants(user: &str) -> Result<String> {
    let block =
        README.split("```sql\n").find(|block| block.contains("GRANT USAGE")).context("no GRANT in README")?;
    let block = block.split("```").next().unwrap_or_default();
    Ok(block.replace("leasehold_app", user).replace("'...'", "'hunter2'"))
}

#[tokio::test]
async fn a_user_who_may_create_nothing_serves_what_another_one_has_made() -> Result<()> {
    let database = TestDatabase::create().await?;
    let name = database.options().get_database().context("no name")?.to_owned();
    let user = format!("app_{name}");
    let execute = |sql: String| async { sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.pool()).await };
    execute(format!(
        "CREATE ROLE {user} LOGIN PASSWORD 'hunter2'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    ))
    .await?;
    let url = database.options().username(&user).password("hunter2").to_url_lossy().to_string();
    assert_refused(
        &Launch::new(&url)?.run_to_completion()?,
        &["may create no tables", "leasehold migrate", &user],
    );
    let waits = Launch::new(&url)?.arguments(["--no-migrate"]);
    assert_refused(&waits.run_to_completion()?, &["has no table workspaces", "leasehold migrate"]);
    let made = migrate(database.url())?;
    assert!(made.code == Some(0) && made.stdout.contains("was made"), "{made:?}");
    let again = migrate(database.url())?;
    assert!(again.code == Some(0) && again.stdout.contains("nothing was changed"), "{again:?}");
    execute(format!("DROP ROLE {user}")).await?;
    execute(grants(&user)?).await?;
    assert_serves(&Launch::new(&url)?)?;
    assert_serves(&Launch::new(&url)?.arguments(["--no-migrate"]))?;
    execute(format!("REVOKE DELETE, INSERT ON workspaces FROM {user}")).await?;
    let server = Launch::new(&url)?.server()?;
    assert!(
        server.log()?.contains("may not INSERT on workspaces, DELETE on workspaces:"),
        "{}",
        server.log()?
    );
    Ok(())
}

#[tokio::test]
async fn another_programs_migrations_are_no_obstacle() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = engine.empty().await?;
        database.execute("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, theirs TEXT)").await?;
        database.execute("INSERT INTO _sqlx_migrations VALUES (20260101000000, 'theirs')").await?;
        assert_serves(&Launch::new(database.url())?)?;
        let theirs = database.text("SELECT theirs FROM _sqlx_migrations").await?;
        assert_eq!(theirs.as_deref(), Some("theirs"));
        assert_serves(&Launch::new(database.url())?.arguments(["--no-migrate"]))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_schema_of_a_newer_server_is_refused_in_words_and_left_as_it_is() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = engine.empty().await?;
        assert_serves(&Launch::new(database.url())?)?;
        database.execute("INSERT INTO leasehold_schema (version) VALUES (3)").await?;
        for launch in [Launch::new(database.url())?, Launch::new(database.url())?.arguments(["--no-migrate"])]
        {
            assert_refused(
                &launch.run_to_completion()?,
                &["has version 3", "knows 2 at most", "newer server"],
            );
        }
        assert_refused(&migrate(database.url())?, &["has version 3"]);
    }
    Ok(())
}

#[tokio::test]
async fn no_migration_is_made_where_none_may_be() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = engine.empty().await?;
        let launch = Launch::new(database.url())?.arguments(["--no-migrate"]);
        assert_refused(&launch.run_to_completion()?, &["has no table workspaces", "leasehold migrate"]);
    }
    let launch = Launch::new("sqlite://test.db?mode=rwc")?.arguments(["--no-migrate"]);
    assert_refused(&launch.run_to_completion()?, &["test.db"]);
    assert!(!launch.folder().join("test.db").exists(), "not even a file is made");
    Ok(())
}

#[tokio::test]
async fn servers_that_start_together_all_come_up() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = engine.empty().await?;
        let launches = (0..4).map(|_| Launch::new(database.url())).collect::<Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let started: Vec<_> =
                launches.iter().map(|launch| scope.spawn(|| launch.server()?.stop())).collect();
            started.into_iter().try_for_each(|thread| match thread.join() {
                Ok(stopped) => stopped.map(drop),
                Err(_) => anyhow::bail!("a thread panicked"),
            })
        })?;
        if let Fixture::Postgres(database) = &database {
            let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                         (SELECT oid FROM pg_database WHERE datname = current_database())";
            let locks: i64 = sqlx::query_scalar(locks).fetch_one(database.pool()).await?;
            assert_eq!(locks, 0, "a lock outlives the start");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_lock_that_stays_is_waited_for_and_then_named_and_sigterm_ends_the_wait() -> Result<()> {
    let database = TestDatabase::create().await?;
    let mut other = PgConnection::connect_with(&database.options().application_name("stranded")).await?;
    let lock = format!("SELECT pg_advisory_lock({LOCK})");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut other).await?;
    let holder: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut other).await?;
    let (waits, ends) = (Launch::new(database.url())?, Launch::new(database.url())?);
    let (first, second) = (waits.begin()?, ends.begin()?);
    let started = tokio::time::Instant::now();
    while !first.log()?.contains("waiting for") {
        ensure!(started.elapsed() < MAX_WAIT, "it does not say that it waits: {}", first.log()?);
    }
    let ended = first.terminated()?;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.log);
    assert!(ended.log.contains("stopped before the server was ready"), "{}", ended.log);
    let (ended, pid) = (second.wait()?, format!("process {holder} of the server (\"stranded\""));
    assert_refused(&ended, &["cannot bring the schema of", &pid, "wait until that is over, or end it"]);
    other.close().await?;
    assert_serves(&ends)
}

#[test]
fn sigterm_ends_a_start_that_hangs_in_a_database_which_never_answers() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("postgres://u@{}/d?sslmode=disable", silent.local_addr()?);
    let starting = Launch::new(&url)?.begin()?;
    let _connection = silent.accept()?;
    let ended = starting.terminated()?;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.log);
    assert!(ended.log.contains("stopped before the server was ready"), "{}", ended.log);
    Ok(())
}

/// A client of a server that is not ready is refused, and does not wait.
#[test]
fn nobody_can_connect_before_the_server_is_ready() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("postgres://u@{}/d?sslmode=disable", silent.local_addr()?);
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let launch = Launch::alone(["serve", "--database", &url, "--listen", &free.to_string()])?;
    let starting = launch.variable("LEASEHOLD_ADMIN_TOKEN", "correct-horse-battery").begin()?;
    let _connection = silent.accept()?;
    assert!(std::net::TcpStream::connect(free).is_err(), "somebody was let in");
    starting.terminated()?;
    Ok(())
}

/// A file that is read-only is refused in words.
#[tokio::test]
async fn a_file_that_is_opened_for_reading_is_served_and_refuses_changes_in_words() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    server.stop()?;
    let reads = launch.beside(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite://test.db?mode=ro"]);
    let server = reads.variable("LEASEHOLD_ADMIN_TOKEN", leasehold_tests::server::ADMIN_TOKEN).server()?;
    assert_eq!(server.get("/readyz")?.json(200)?["status"], "read-only");
    assert_eq!(server.delivered("w", &token)?, secret);
    server.admin("POST", "/workspaces/w/secret", no_body())?.refusal(503, "read_only")?;
    server.admin("POST", "/workspaces", no_body())?.refusal(503, "read_only")?;
    server.admin("DELETE", "/workspaces/w", no_body())?.refusal(503, "read_only")?;
    assert_eq!(server.delivered("w", &token)?, secret, "a deletion that was refused takes nothing away");
    Ok(())
}
