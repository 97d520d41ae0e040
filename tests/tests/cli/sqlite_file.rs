//! The SQLite file under a running server: replaced, removed, damaged; and the commands that copy it and
//! restore it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use leasehold_tests::server::{Ended, Launch, Server, no_body};
use leasehold_tests::until;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

const URL: &str = "sqlite://test.db?mode=rwc";

/// Runs `leasehold backup` or `leasehold restore`, beside the server.
fn run(launch: &Launch, arguments: &[&str]) -> Result<Ended> {
    launch.beside(arguments.iter().copied()).arguments(["--database", URL]).run_to_completion()
}

fn done(ended: &Ended) -> Result<&str> {
    ensure!(ended.code == Some(0), "{:?}: {}{}", ended.code, ended.stdout, ended.log);
    Ok(&ended.stdout)
}

#[track_caller]
fn assert_refused(ended: &Ended, words: &str) {
    assert!(
        ended.code == Some(1) && ended.log.contains(words),
        "no {words:?}: {:?} {}",
        ended.code,
        ended.log
    );
}

async fn text(file: &Path, sql: &str) -> Result<String> {
    let options = SqliteConnectOptions::new().filename(file);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let text = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(text)
}

/// Asserts that nothing is answered from the file that has lost its path, and that the words say what to do.
fn assert_stands_still(server: &Server, id: &str, token: &str, words: &str) -> Result<()> {
    let rotate = format!("/workspaces/{id}/secret");
    let refused = server.admin("POST", &rotate, no_body())?.refusal(503, "unavailable")?.to_string();
    assert!(refused.contains(words) && refused.contains("restart the server"), "{refused}");
    until("no lease is honoured", || Ok(server.heartbeat(id, token)?.status == 503))?;
    let unready = server.get("/readyz")?.refusal(503, "unavailable")?.to_string();
    assert!(unready.contains(words) && !unready.contains("test.db"), "{unready}");
    server.admin("GET", &rotate, no_body())?.refusal(503, "unavailable")?;
    server.admin("POST", "/workspaces", no_body())?.refusal(503, "unavailable")?;
    server.admin("DELETE", &format!("/workspaces/{id}"), no_body())?.refusal(503, "unavailable")?;
    assert_eq!(server.get("/healthz")?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_put_in_place_under_the_server_is_noticed_and_damaged_by_neither_end() -> Result<()> {
    for is_killed in [false, true] {
        let launch = Launch::new(URL)?;
        let server = launch.server()?;
        let token = server.create("w")?;
        let secret = server.delivered("w", &token)?;
        done(&run(&launch, &["backup", "backup.db"])?)?;
        let later = server.create("later")?;
        server.delivered("later", &later)?;
        let rotated = server.rotate("w")?;
        let (file, backup) = (launch.folder().join("test.db"), launch.folder().join("backup.db"));
        fs::hard_link(&file, launch.folder().join("old.db"))?;
        fs::rename(&backup, &file)?;
        // Hits look at nothing: the server notices by itself, within a second where the machine is not busy.
        let renamed = tokio::time::Instant::now();
        until("it is noticed", || Ok(server.heartbeat("w", &token)?.status == 503))?;
        assert!(renamed.elapsed() < Duration::from_secs(5), "it took {:?}", renamed.elapsed());
        assert_stands_still(&server, "w", &token, "another file was put in the place")?;
        until("the log is emptied", || Ok(server.log()?.contains("the log was emptied")))?;
        if is_killed {
            server.kill()?
        } else {
            server.stop()?
        };
        assert_eq!(text(&file, "PRAGMA integrity_check").await?, "ok");
        let old = launch.folder().join("old.db");
        let kept = "SELECT platform_inbound_secret FROM workspaces WHERE id = 'w'";
        assert_eq!(
            text(&old, kept).await?,
            rotated,
            "what was committed is in the file that it was committed to"
        );
        let server = launch.server()?;
        assert_eq!(server.delivered("w", &token)?, secret);
        server.heartbeat("later", &later)?.refusal(401, "unauthorized")?;
        assert_eq!(server.get("/readyz")?.status, 200);
    }
    Ok(())
}

type Change = fn(&Path) -> Result<()>;

#[test]
fn a_file_its_log_its_index_a_link_or_a_folder_that_goes_is_noticed() -> Result<()> {
    let changes: [(Change, &str); 5] = [
        (|folder| Ok(fs::remove_file(folder.join("files/test.db"))?), "is gone from its path"),
        (|folder| Ok(fs::remove_file(folder.join("files/test.db-wal"))?), "the log beside"),
        (|folder| Ok(fs::remove_file(folder.join("files/test.db-shm"))?), "the log beside"),
        (|folder| Ok(fs::rename(folder.join("files"), folder.join("elsewhere"))?), "is gone from its path"),
        (
            |folder| {
                fs::write(folder.join("other.db"), "")?;
                fs::remove_file(folder.join("link.db"))?;
                Ok(symlink("other.db", folder.join("link.db"))?)
            },
            "another file was put in the place",
        ),
    ];
    for (change, words) in changes {
        let launch = Launch::new("sqlite://link.db?mode=rwc")?;
        fs::create_dir(launch.folder().join("files"))?;
        symlink("files/test.db", launch.folder().join("link.db"))?;
        let server = launch.server()?;
        let token = server.create("w")?;
        server.delivered("w", &token)?;
        change(launch.folder())?;
        assert_stands_still(&server, "w", &token, words)?;
        server.stop()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_log_that_a_killed_server_left_is_not_mixed_with_a_backup() -> Result<()> {
    let launch = Launch::new(URL)?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    done(&run(&launch, &["backup", "backup.db"])?)?;
    let rotated = server.rotate("w")?;
    server.kill()?;
    let (file, backup) = (launch.folder().join("test.db"), launch.folder().join("backup.db"));
    let copy = launch.folder().join("copy.db");
    fs::copy(&file, &copy)?;
    fs::copy(&backup, &file)?;
    assert_refused(&launch.run_to_completion()?, "belongs to another file than");
    // The file is restored to its state at the kill; then the same by the command that is there for it.
    fs::copy(&copy, &file)?;
    let said = run(&launch, &["restore", "backup.db"])?;
    assert!(done(&said)?.contains("test.db.before-restore-1"), "{}", said.stdout);
    let server = launch.server()?;
    assert_eq!(server.delivered("w", &token)?, secret);
    let before = launch.folder().join("test.db.before-restore-1");
    let kept = "SELECT platform_inbound_secret FROM workspaces WHERE id = 'w'";
    assert_eq!(text(&before, kept).await?, rotated, "nothing that was committed is lost");
    Ok(())
}

#[test]
fn a_backup_is_whole_its_owners_alone_and_overwrites_nothing() -> Result<()> {
    let launch = Launch::new(URL)?;
    assert_refused(&run(&launch, &["backup", "b.db"])?, "cannot open");
    let server = launch.server()?;
    for n in 0..50 {
        server.create(&format!("w-{n}"))?;
    }
    assert!(done(&run(&launch, &["backup", "b.db"])?)?.starts_with("b.db has the database"));
    let file = launch.folder().join("b.db");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let first = fs::read(&file)?;
    server.create("one-more")?;
    assert_refused(
        &run(&launch, &["backup", "b.db"])?,
        "is there already; choose another name, or say --force",
    );
    assert!(fs::read(&file)? == first, "it was overwritten");
    done(&run(&launch, &["backup", "b.db", "--force"])?)?;
    assert!(fs::read(&file)? != first);
    assert_refused(&run(&launch, &["backup", "test.db", "--force"])?, "is the database itself");
    let postgres = launch.beside(["backup", "x.db", "--database", "postgres://u@h/d"]).run_to_completion()?;
    assert_refused(&postgres, "pg_dump");
    let other = launch.beside(["backup", "x.db", "--database", "sqlite://nothing.db"]).run_to_completion()?;
    assert_refused(&other, "cannot open");
    let names = fs::read_dir(launch.folder())?.map(|entry| anyhow::Ok(entry?.file_name()));
    let left: Vec<_> = names
        .filter(|name| name.as_ref().is_ok_and(|name| name.to_string_lossy().starts_with(".tmp")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn a_restore_waits_for_no_server_and_takes_nothing_that_is_no_backup() -> Result<()> {
    let launch = Launch::new(URL)?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    done(&run(&launch, &["backup", "b.db"])?)?;
    assert_refused(&run(&launch, &["restore", "b.db"])?, "stop it first");
    let rotated = server.rotate("w")?;
    server.stop()?;
    fs::remove_file(launch.folder().join("test.db-lock"))?;
    let file = launch.folder().join("test.db");
    let mut another = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await?;
    let _: i64 = sqlx::query_scalar("SELECT count(*) FROM workspaces").fetch_one(&mut another).await?;
    assert_refused(&run(&launch, &["restore", "b.db"])?, "stop it first");
    another.close().await?;
    fs::write(
        launch.folder().join("text.db"),
        "no database at all, though it is long enough for a header of one",
    )?;
    assert_refused(&run(&launch, &["restore", "text.db"])?, "text.db");
    let options =
        SqliteConnectOptions::new().filename(launch.folder().join("other.db")).create_if_missing(true);
    let mut other = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql("CREATE TABLE notes (text TEXT)").execute(&mut other).await?;
    other.close().await?;
    assert_refused(&run(&launch, &["restore", "other.db"])?, "has no table workspaces");
    let server = launch.server()?;
    assert_eq!(server.delivered("w", &token)?, rotated, "what was refused has changed nothing");
    server.stop()?;
    fs::write(&file, "damaged")?;
    assert_refused(&launch.run_to_completion()?, "test.db");
    done(&run(&launch, &["restore", "b.db"])?)?;
    assert_eq!(fs::read_to_string(launch.folder().join("test.db.before-restore-1"))?, "damaged");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(launch.server()?.delivered("w", &token)?, secret);
    Ok(())
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do() -> Result<()> {
    let launch = Launch::new(URL)?;
    let server = launch.server()?;
    for n in 0..100 {
        server.create(&format!("workspace-{n}"))?;
    }
    server.stop()?;
    let file = launch.folder().join("test.db");
    let mut bytes = fs::read(&file)?;
    let page = 4096;
    assert!(bytes.len() > 4 * page, "{}", bytes.len());
    bytes[2 * page..4 * page].fill(0x5a);
    fs::write(&file, &bytes)?;
    let ended = launch.run_to_completion()?;
    assert_refused(&ended, "is damaged");
    assert!(ended.log.contains("leasehold restore FILE"), "{}", ended.log);
    assert!(fs::read(&file)? == bytes, "it is left as it is");
    // The commands say the same, of the database as of a backup, and a restore takes none that is damaged.
    assert_refused(&run(&launch, &["database", "check"])?, "is damaged");
    assert_refused(&run(&launch, &["backup", "b.db"])?, "test.db");
    assert!(!launch.folder().join("b.db").exists(), "a backup of a damaged file");
    fs::rename(&file, launch.folder().join("b.db"))?;
    let whole = launch.server()?;
    whole.create("w")?;
    whole.stop()?;
    let before = fs::read(&file)?;
    assert_refused(&run(&launch, &["restore", "b.db"])?, "is damaged");
    assert!(fs::read(&file)? == before, "a damaged backup was put in place");
    Ok(())
}
