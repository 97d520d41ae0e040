//! A database in which the server has few privileges: no table may be created, nothing may be written,
//! another program was there first. Each test begins with an empty database and goes by the commands that the
//! documentation gives to an operator.

use std::time::Duration;

use anyhow::{Result, ensure};
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{Ended, Launch, Server, no_body};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, query_scalar};

use super::ready::{Ready, becomes};

const W: &str = "8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55";
/// Time within which the server has to learn that a standby was promoted.
const PROMOTED: Duration = Duration::from_secs(2);

/// Runs `leasehold migrate`, which has to succeed.
fn migrate(url: &str) -> Result<Ended> {
    let ended = Launch::alone(["migrate", "--database", url])?.run_to_completion()?;
    ensure!(ended.code == Some(0), "migrate ended with {:?}: {}", ended.code, ended.log);
    Ok(ended)
}

/// Checks that a server can do all that it has to.
fn works(server: &Server) -> Result<()> {
    let token = server.create(W)?;
    let secret = server.delivered(W, &token)?;
    let rotated = server.rotate(W)?;
    ensure!(rotated != secret && server.delivered(W, &token)? == rotated, "it was not rotated");
    ensure!(Ready::of(server)? == Ready::Ok, "it is not ready");
    let deleted = server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?;
    ensure!(deleted.status == 204, "{}", deleted.text);
    Ok(())
}

/// Creates a role that may read and write rows of the existing tables, and nothing else; returns how it
/// connects.
async fn least_role(database: &TestDatabase) -> Result<PgConnectOptions> {
    let options = database.options();
    let role = format!("app_{}", options.get_database().unwrap_or_default());
    let sql = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'least'; REVOKE CREATE ON SCHEMA public FROM public; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.pool()).await?;
    Ok(options.username(&role).password("least"))
}

#[tokio::test]
async fn a_role_that_may_create_nothing_serves_a_schema_that_is_up_to_date() -> Result<()> {
    let database = TestDatabase::create().await?;
    migrate(database.url())?;
    let role = least_role(&database).await?;
    for arguments in [&[][..], &["--no-migrate"]] {
        let launch = Launch::new(role.to_url_lossy().as_str())?.arguments(arguments.iter().copied());
        let server = launch.server()?;
        works(&server)?;
        server.stop()?;
    }
    Ok(())
}

#[tokio::test]
async fn without_a_schema_and_without_leave_to_make_one_the_start_says_what_to_do() -> Result<()> {
    let database = TestDatabase::create().await?;
    let role = least_role(&database).await?;
    for (url, arguments) in
        [(database.url().to_owned(), &["--no-migrate"][..]), (role.to_url_lossy().to_string(), &[])]
    {
        let ended = Launch::new(&url)?.arguments(arguments.iter().copied()).run_to_completion()?;
        ensure!(ended.code == Some(1), "{arguments:?}: it ended with {:?}: {}", ended.code, ended.log);
        ensure!(ended.log.contains("leasehold migrate"), "{arguments:?}: {}", ended.log);
        let tables: i64 = query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(database.pool())
            .await?;
        assert_eq!(tables, 0, "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_migration_that_was_made_is_not_made_again() -> Result<()> {
    let database = TestDatabase::create().await?;
    migrate(database.url())?;
    let server = Server::start(database.url())?;
    server.create(W)?;
    migrate(database.url())?;
    assert_eq!(server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?.status, 204);
    Ok(())
}

#[tokio::test]
async fn another_programs_migrations_in_the_same_schema_are_left_alone() -> Result<()> {
    for by_command in [true, false] {
        let database = TestDatabase::create().await?;
        // The table is as the driver's own migrator makes it.
        sqlx::raw_sql(
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
                 installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, \
                 checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL); \
             INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (1, 'orders', true, '\\x0102', 7), (20240101000000, 'more', true, '\\x0304', 8)",
        )
        .execute(database.pool())
        .await?;
        let sql = "SELECT string_agg(m::text, ';' ORDER BY version) FROM _sqlx_migrations m";
        let before: String = query_scalar(sql).fetch_one(database.pool()).await?;
        if by_command {
            migrate(database.url())?;
        }
        // It runs twice: it has to find its own again.
        for _ in 0..2 {
            let server = Server::start(database.url())?;
            works(&server)?;
            server.stop()?;
        }
        let after: String = query_scalar(sql).fetch_one(database.pool()).await?;
        assert_eq!(after, before, "by {}", if by_command { "migrate" } else { "serve" });
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_standby_is_served_from_says_that_it_is_read_only_and_is_written_once_promoted() -> Result<()> {
    let primary = Cluster::create(&[])?;
    let url = primary.options().to_url_lossy();
    migrate(url.as_str())?;
    let server = Server::start(url.as_str())?;
    let token = server.create(W)?;
    let secret = server.delivered(W, &token)?;
    server.stop()?;
    let standby = primary.standby()?;
    standby.caught_up_with(&primary).await?;
    let url = standby.options().to_url_lossy();
    for arguments in [&[][..], &["--no-migrate"]] {
        let launch = Launch::new(url.as_str())?.arguments(arguments.iter().copied());
        let server = launch.arguments(["--setting", "ttl=0s"]).server()?;
        assert_eq!(Ready::of(&server)?, Ready::ReadOnly, "{arguments:?}");
        assert_eq!(server.delivered(W, &token)?, secret);
        for (method, path) in [
            ("POST", format!("/workspaces/{W}/secret")),
            ("POST", "/workspaces".to_owned()),
            ("DELETE", format!("/workspaces/{W}")),
        ] {
            let refused = server.admin(method, &path, no_body())?;
            assert!(
                refused.status == 503 && refused.text.contains("read-only"),
                "{method}: {}",
                refused.text
            );
        }
        assert_eq!(server.delivered(W, &token)?, secret);
        assert_eq!(Ready::of(&server)?, Ready::ReadOnly, "{arguments:?}");
        server.stop()?;
    }
    let server = Launch::new(url.as_str())?.server()?;
    assert_eq!(server.delivered(W, &token)?, secret);
    primary.stop(Stop::Fast)?;
    standby.promote()?;
    becomes(&server, Ready::Ok, PROMOTED).await?;
    let rotated = server.rotate(W)?;
    assert_eq!(server.delivered(W, &token)?, rotated);
    assert_eq!(server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?.status, 204);
    works(&server)?;
    server.stop()?;
    Ok(())
}
