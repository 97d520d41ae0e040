//! The database's URL in a file: no user of the machine sees its password, and it is read again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{ADMIN_TOKEN, Launch, Server, no_body};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::time::Instant;

fn keep(file: &Path, url: &str, mode: u32) -> Result<()> {
    fs::write(file, format!("{url}\n"))?;
    Ok(fs::set_permissions(file, Permissions::from_mode(mode))?)
}

fn launch() -> Result<Launch> {
    let launch = Launch::bare()?.variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN);
    Ok(launch.arguments(["--database-file", "database.url", "--setting", "ttl=0s"]))
}

#[tokio::test]
async fn a_url_in_a_file_is_in_no_process_list_and_its_password_is_read_again() -> Result<()> {
    let database = TestDatabase::create().await?;
    let options = database.options();
    let user = format!("file_{}", options.get_database().context("no name")?);
    let execute = |sql: String| async { sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.pool()).await };
    let made = Launch::alone(["migrate", "--database", database.url()])?.run_to_completion()?;
    ensure!(made.code == Some(0), "{made:?}");
    execute(format!(
        "CREATE ROLE {user} LOGIN PASSWORD 'hunter1'; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON workspaces, workspace_tokens TO {user}"
    ))
    .await?;
    let url = |password: &str| options.clone().username(&user).password(password).to_url_lossy().to_string();
    let launch = launch()?;
    let file = launch.folder().join("database.url");
    keep(&file, &url("hunter1"), 0o600)?;
    let server = launch.server()?;
    let line = fs::read(format!("/proc/{}/cmdline", server.process_id()))?;
    ensure!(!String::from_utf8_lossy(&line).contains("hunter1"), "the password is in the process list");
    let token = server.create("w")?;
    server.delivered("w", &token)?;
    for password in ["hunter2", "hunter3"] {
        execute(format!("ALTER ROLE {user} PASSWORD '{password}'")).await?;
        keep(&file, &url(password), 0o600)?;
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = ";
        execute(format!("{end}'{user}'")).await?;
        let rotated = server.rotate("w")?;
        ensure!(server.delivered("w", &token)? == rotated, "it is another one");
    }
    let other = options.clone().database("postgres").username(&user).password("hunter3").to_url_lossy();
    keep(&file, other.as_str(), 0o600)?;
    says_on_hang_up(&server, "takes a restart")?;
    keep(&file, &url("hunter3"), 0o644)?;
    says_on_hang_up(&server, "has mode 0644")?;
    server.rotate("w")?;
    ensure!(!server.log()?.contains("hunter"), "{}", server.log()?);
    server.stop()?;
    Ok(())
}

/// Sends SIGHUP, and waits for these words in the log.
fn says_on_hang_up(server: &Server, words: &str) -> Result<()> {
    server.hang_up()?;
    let started = Instant::now();
    while !server.log()?.contains(words) {
        ensure!(started.elapsed() < MAX_WAIT, "it does not say {words:?}: {}", server.log()?);
        // Each round asks the server.
        server.get("/healthz")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_and_a_password_for_all_to_see_is_told() -> Result<()> {
    let database = TestDatabase::create().await?;
    let launch = launch()?;
    let file = launch.folder().join("database.url");
    let refused = |words: &[&str]| -> Result<()> {
        let ended = launch.run_to_completion()?;
        ensure!(ended.code == Some(1), "{ended:?}");
        for word in words.iter().chain(&["--database-file", "database.url"]) {
            ensure!(ended.log.contains(word), "no {word:?} in {}", ended.log);
        }
        Ok(())
    };
    refused(&["expected a file with the database's URL"])?;
    for mode in [0o644, 0o640] {
        keep(&file, database.url(), mode)?;
        refused(&[&format!("has mode {mode:04o}"), "expected 0600", "chmod 600"])?;
    }
    keep(&file, "", 0o600)?;
    refused(&["it holds nothing"])?;
    keep(&file, "postgres://u@h/d sslmode=disable", 0o600)?;
    refused(&["more than one word"])?;
    keep(&file, "mysql://u@h/d", 0o600)?;
    refused(&["unknown scheme", "expected sqlite://"])?;
    // Without a password in it others may read it.
    let url = database.options().to_url_lossy();
    // It is random in the alphabet of base64url, of which the URL escapes two letters.
    let password = url.password().context("no password")?.replace("%2D", "-").replace("%5F", "_");
    let mut bare = url.clone();
    bare.set_password(None).ok().context("the password stays")?;
    keep(&file, bare.as_str(), 0o644)?;
    let server = launch.clone().variable("PGPASSWORD", &password).server()?;
    server.create("w")?;
    ensure!(!server.log()?.contains("command line"), "{}", server.log()?);
    server.stop()?;
    let told = Launch::bare()?.arguments(["--database", database.url()]);
    let told = told.variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN).server()?;
    ensure!(told.log()?.contains("the database's password is on the command line"), "{}", told.log()?);
    ensure!(told.admin("DELETE", "/workspaces/w", no_body())?.status == 204, "it serves all the same");
    Ok(())
}
