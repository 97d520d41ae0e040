//! A database's password that is changed while the server runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::Launch;
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn a_password_that_is_changed_in_its_file_is_read_again_without_a_restart() -> Result<()> {
    let database = TestDatabase::create().await?;
    let options = database.options();
    let name = options.get_database().context("no name")?.to_owned();
    let user = format!("login_{name}");
    let migrated = Launch::alone(["migrate", "--database", database.url()])?.run_to_completion()?;
    ensure!(migrated.code == Some(0), "{migrated:?}");
    let execute = |sql: String| async { sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.pool()).await };
    execute(format!(
        "CREATE ROLE {user} LOGIN PASSWORD 'first'; GRANT SELECT, INSERT, UPDATE, DELETE \
         ON workspaces, workspace_tokens TO \
         {user}"
    ))
    .await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("passwords");
    let keep = |password: &str| -> Result<()> {
        fs::write(&file, format!("*:*:*:{user}:{password}\n"))?;
        // The file counts only if other users may not read it.
        Ok(fs::set_permissions(&file, Permissions::from_mode(0o600))?)
    };
    keep("first")?;
    let url = format!("postgres://{user}@{}:{}/{name}", options.get_host(), options.get_port());
    let launch = Launch::new(&url)?.variable("PGPASSFILE", file.to_str().context("a path of text")?);
    let server = launch.arguments(["--setting", "ttl=0s", "--setting", "jitter=0s"]).server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    for password in ["second", "third"] {
        execute(format!("ALTER ROLE {user} PASSWORD '{password}'")).await?;
        keep(password)?;
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = ";
        execute(format!("{end}'{user}'")).await?;
        ensure!(server.delivered("w", &token)? == secret, "another secret");
        ensure!(server.rotate("w")? != secret, "it was not rotated");
        server.get("/readyz")?.json(200)?;
        execute(format!("UPDATE workspaces SET platform_inbound_secret = '{secret}'")).await?;
    }
    Ok(())
}
