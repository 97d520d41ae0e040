//! SQLite's file as a whole: checked before it is used, copied beside a running server, put back while none
//! runs.
//!
//! A file appears under its name whole or not at all, and nothing that was there is lost: the file that a
//! restore replaces stays beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::NamedTempFile;

use super::file::beside;
use super::schema;

/// Time to wait for another program's lock.
const BUSY: Duration = Duration::from_secs(2);
/// Length of SQLite's header up to the versions, which say whether the file has a log.
const HEADER_BYTES: usize = 20;
/// Maximum number of files that restores leave beside the database.
const MAX_KEPT: u32 = 1000;

/// Outcome of a restore.
pub(crate) struct Restored {
    pub(crate) database: PathBuf,
    /// The file that was there before.
    pub(crate) before: Option<PathBuf>,
}

/// Checks that SQLite finds the file whole; the first fault that it reports is the error otherwise. It quotes
/// no value.
pub(super) async fn quick_check(connection: &mut SqliteConnection, shown: &str) -> anyhow::Result<()> {
    let damaged = || {
        format!(
            "{shown} is damaged; stop whatever uses it and put a backup in its place: `leasehold restore \
             FILE`"
        )
    };
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_all(connection).await.with_context(damaged)?;
    match found.first().map(String::as_str) {
        Some("ok") => Ok(()),
        found => Err(anyhow::anyhow!("{}", found.unwrap_or("it says nothing").to_owned()).context(damaged())),
    }
}

/// Refuses a log that cannot be the file's own: a program that opened the two would mix them. To be called
/// before the file is opened.
pub(super) fn refuse_stray_log(path: &Path) -> anyhow::Result<()> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let log = beside(&real, "-wal");
    anyhow::ensure!(
        !has_stray_log(&real),
        "{} belongs to another file than {}, which has no log: a backup was probably put in its place. Move \
         the log and {} away, and start again",
        log.display(),
        real.display(),
        beside(&real, "-shm").display()
    );
    Ok(())
}

/// Returns whether there is a log beside a file that keeps none. A file whose header says that it keeps no
/// log is complete, such as a fresh backup.
fn has_stray_log(real: &Path) -> bool {
    let is_there = fs::metadata(beside(real, "-wal")).is_ok_and(|log| log.len() > 0);
    let mut header = [0; HEADER_BYTES];
    let read = File::open(real).and_then(|mut file| file.read_exact(&mut header));
    let [.., write_version, read_version] = header;
    is_there && read.is_ok() && (write_version, read_version) == (1, 1)
}

fn options(url: &str) -> anyhow::Result<SqliteConnectOptions> {
    anyhow::ensure!(
        url.starts_with("sqlite:"),
        "--database is no SQLite file; of PostgreSQL, pg_dump makes backups and pg_restore puts them back"
    );
    let options =
        SqliteConnectOptions::from_str(url).context("--database cannot be read; expected sqlite://FILE")?;
    Ok(options.create_if_missing(false).busy_timeout(BUSY))
}

/// Returns the folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the folder: the name is on the disk once the folder is.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Copies the database as it is in one moment. Servers go on reading and writing.
pub(crate) async fn backup(url: &str, to: &Path, force: bool) -> anyhow::Result<u64> {
    let options = options(url)?;
    let from = options.get_filename().to_owned();
    let (shown, target) = (from.display().to_string(), to.display());
    let is_taken = || format!("{target} is there already; choose another name, or say --force");
    if let Ok(there) = fs::metadata(to) {
        let source = fs::metadata(&from).with_context(|| format!("cannot open {shown}"))?;
        anyhow::ensure!(
            (there.dev(), there.ino()) != (source.dev(), source.ino()),
            "{target} is the database itself"
        );
        anyhow::ensure!(force && there.is_file(), is_taken());
    }
    refuse_stray_log(&from)?;
    let mut connection =
        SqliteConnection::connect_with(&options).await.with_context(|| format!("cannot open {shown}"))?;
    schema::check_sqlite(&mut connection, &shown).await?;
    let cannot_write = || format!("cannot write a file beside {target}");
    let copy = NamedTempFile::new_in(folder_of(to)).with_context(cannot_write)?;
    let name = copy.path().to_str().context("the path of the backup is not text")?.to_owned();
    sqlx::query("VACUUM INTO $1")
        .bind(&name)
        .execute(&mut connection)
        .await
        .with_context(|| format!("cannot copy {shown}"))?;
    // It leaves nothing undone that the copy needs.
    let _ = connection.close().await;
    let mut made =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&name).read_only(true)).await?;
    quick_check(&mut made, &shown).await?;
    made.close().await?;
    copy.as_file().sync_all().with_context(cannot_write)?;
    let bytes = copy.as_file().metadata()?.len();
    if force {
        copy.persist(to).map(drop).map_err(|error| error.error).with_context(cannot_write)?;
    } else {
        copy.persist_noclobber(to).map(drop).map_err(|error| error.error).with_context(is_taken)?;
    }
    sync_folder(to).with_context(cannot_write)?;
    Ok(bytes)
}

/// Puts a copy of the backup in the database's place.
pub(crate) async fn restore(backup: &Path, url: &str) -> anyhow::Result<Restored> {
    let options = options(url)?;
    let path = options.get_filename().to_owned();
    let database = fs::canonicalize(&path).unwrap_or(path);
    let cannot_write = || format!("cannot write beside {}", database.display());
    let copy = NamedTempFile::new_in(folder_of(&database)).with_context(cannot_write)?;
    let shown = backup.display().to_string();
    take(backup, &copy).with_context(|| format!("cannot copy {shown}"))?;
    let filename = copy.path().to_owned();
    let cannot_use = || format!("{shown} cannot be restored");
    let mut made = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&filename))
        .await
        .with_context(cannot_use)?;
    quick_check(&mut made, &shown).await.with_context(cannot_use)?;
    schema::check_sqlite(&mut made, &shown).await.with_context(cannot_use)?;
    made.close().await.with_context(cannot_use)?;
    copy.as_file().sync_all().with_context(cannot_write)?;
    let _alone = alone(&database)?;
    let there = fs::metadata(&database).ok();
    if let Some(there) = &there {
        close_log(&database, &options).await?;
        let own = copy.as_file().metadata()?;
        if (own.uid(), own.gid()) != (there.uid(), there.gid()) {
            fchown(copy.as_file(), Some(there.uid()), Some(there.gid())).with_context(|| {
                format!("cannot give the new file to the owner of {}", database.display())
            })?;
        }
    }
    let before = there.map(|_| set_aside(&database)).transpose().with_context(cannot_write)?;
    copy.persist(&database).map(drop).map_err(|error| error.error).with_context(cannot_write)?;
    sync_folder(&database).with_context(cannot_write)?;
    Ok(Restored { database, before })
}

/// Fills the copy with a backup that is whole.
fn take(backup: &Path, copy: &NamedTempFile) -> anyhow::Result<()> {
    let log = beside(backup, "-wal");
    anyhow::ensure!(
        !fs::metadata(&log).is_ok_and(|log| log.len() > 0),
        "{} lies beside it: it is half of a database, not a backup; make one with `leasehold backup`",
        log.display()
    );
    anyhow::ensure!(fs::metadata(backup)?.is_file(), "it is not a regular file");
    std::io::copy(&mut File::open(backup)?, &mut copy.as_file())?;
    Ok(())
}

/// Takes the whole lock of which every server with this file open has a share.
fn alone(database: &Path) -> anyhow::Result<Option<File>> {
    let path = beside(database, "-lock");
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        // No server has ever opened it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot use the lock {}", path.display())),
    };
    file.try_lock().with_context(|| is_open(database))?;
    Ok(Some(file))
}

fn is_open(database: &Path) -> String {
    format!("a server or another program has {} open; stop it first", database.display())
}

/// Folds the log into the file, which only works while no other program has it open. A file that is damaged
/// keeps its log.
async fn close_log(database: &Path, options: &SqliteConnectOptions) -> anyhow::Result<()> {
    if has_stray_log(database) {
        return Ok(());
    }
    let Ok(mut connection) = SqliteConnection::connect_with(options).await else { return Ok(()) };
    let closed =
        sqlx::query_scalar::<_, String>("PRAGMA journal_mode = DELETE").fetch_one(&mut connection).await;
    let _ = connection.close().await;
    if let Err(error) = closed {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        anyhow::ensure!(!matches!(code.map(|code| code & 0xff), Some(5 | 6)), is_open(database));
    }
    Ok(())
}

/// Gives the file and its companions another name; under its own it stays until the next takes its place.
fn set_aside(database: &Path) -> std::io::Result<PathBuf> {
    let names = (1..=MAX_KEPT).map(|n| beside(database, &format!(".before-restore-{n}")));
    let mut free = names.filter(|name| !name.exists());
    let before = free.next().ok_or_else(|| std::io::Error::other("too many files from earlier restores"))?;
    for end in ["-wal", "-shm"] {
        match fs::rename(beside(database, end), beside(&before, end)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if fs::hard_link(database, &before).is_err() {
        fs::rename(database, &before)?;
    }
    Ok(before)
}
