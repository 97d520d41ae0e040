//! The SQLite file under the server: whether its path still leads to the file that was opened.
//!
//! A backup that is moved into place under a running server leaves it with a file that has no name any more,
//! and the next program that opens the path finds the new file beside the old one's log: mixed, they are
//! damaged. So once the path leads elsewhere nothing is read or written until a restart, no lease is
//! honoured, and the old log is emptied into the old file, so that the next start finds the new one alone.
//! The careless mistake here would be to open or close the database's file itself: closing it gives up every
//! lock that SQLite holds on it in this process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use leasehold::{Answer, Answers, Database, DatabaseError, IssueMode, Secret, Sqlite, WorkspaceId};
use sqlx::SqlitePool;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Time between two looks at the path when nothing is written.
const LOOK: Duration = Duration::from_millis(500);
/// Time that the emptying of the old log may take.
const EMPTYING: Duration = Duration::from_secs(5);

/// A device and an inode; `None` if there is no such file.
type Identity = Option<(u64, u64)>;

/// The file that was opened, and the files that belong to it.
pub(crate) struct DatabaseFile {
    path: PathBuf,
    /// The path without links, beside which SQLite keeps the log and its index.
    real: PathBuf,
    /// The database, its log and the log's index. A file that was not there is not looked for.
    opened: [Identity; 3],
    read_only: bool,
    changed: OnceLock<FileChange>,
    noticed: Notify,
    /// `true` once the connections are being closed: the log goes with the last of them.
    released: AtomicBool,
    _lock: Option<File>,
}

/// Change of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileChange {
    #[error("another file was put in the place of the database's; restart the server to use it")]
    Replaced,
    #[error(
        "the database's file is gone from its path; put it back or restore a backup, then restart the server"
    )]
    Gone,
    #[error("the log beside the database's file was removed or replaced; restart the server")]
    Log,
}

impl DatabaseFile {
    /// Remembers the files to which the path leads. All connections are open by now.
    pub(super) fn opened(path: &Path, read_only: bool) -> anyhow::Result<Self> {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let opened = [identity(path), identity(&beside(&real, "-wal")), identity(&beside(&real, "-shm"))]
            .map(|identity| identity.ok().flatten());
        let lock = lock(&real, read_only)?;
        Ok(Self {
            path: path.to_owned(),
            real,
            opened,
            read_only,
            changed: OnceLock::new(),
            noticed: Notify::new(),
            released: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// Returns whether it was opened for reading only.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns the change that an earlier look at the path found.
    fn known(&self) -> Result<(), FileChange> {
        self.changed.get().map_or(Ok(()), |change| Err(*change))
    }

    /// Looks at the path. Once it has changed it stays so until a restart: the file that was opened may have
    /// been written to under another name since.
    pub(super) fn check(&self) -> Result<(), FileChange> {
        self.known()?;
        // Nothing else is read after it, so that any ordering will do.
        if self.released.load(Ordering::Relaxed) {
            return Ok(());
        }
        let [database, log, index] = self.opened;
        let change = match differs(&self.path, database) {
            Some(Some(_)) => FileChange::Replaced,
            Some(None) => FileChange::Gone,
            None => {
                let beside_it = [("-wal", log), ("-shm", index)];
                if beside_it.iter().all(|(end, opened)| differs(&beside(&self.real, end), *opened).is_none())
                {
                    return Ok(());
                }
                FileChange::Log
            }
        };
        if self.changed.set(change).is_ok() {
            tracing::error!(
                file = %self.path.display(),
                "{change}: until then nothing is read, written or answered from the cache"
            );
            self.noticed.notify_one();
        }
        self.known()
    }

    /// Ends the checks: the connections are about to be closed, so that the path no longer matters.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }

    /// Waits until the path has changed.
    pub(crate) async fn change(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.noticed.notified() => {}
            }
            if self.check().is_err() {
                return;
            }
        }
    }

    /// Empties the log into the file that was opened, if that has lost its path: else the log would be taken
    /// for that of the file which is there now.
    pub(super) async fn empty_log(&self, pool: &SqlitePool) {
        let is_ours = differs(&beside(&self.real, "-wal"), self.opened[1]).is_none();
        if !is_ours || self.known() == Ok(()) {
            return;
        }
        let emptied = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(pool);
        match timeout(EMPTYING, emptied).await {
            Ok(Ok(0)) => tracing::info!("the log was emptied into the file that was opened"),
            Ok(Ok(_)) => tracing::error!("the log could not be emptied: another program uses it"),
            Ok(Err(error)) => tracing::error!(%error, "the log could not be emptied"),
            Err(_) => tracing::error!("the log could not be emptied in time"),
        }
    }
}

/// Returns a name beside the file's own.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn identity(path: &Path) -> std::io::Result<Identity> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns what is there in place of the file that was opened. `None` if it is the same, if there was no
/// file, or if the path cannot be looked at.
fn differs(path: &Path, opened: Identity) -> Option<Identity> {
    opened?;
    identity(path).ok().filter(|now| *now != opened)
}

/// Takes a share of the lock that marks the file as open in a server. Several servers may share it;
/// `leasehold restore` needs it alone.
fn lock(real: &Path, read_only: bool) -> anyhow::Result<Option<File>> {
    // A database in memory has no file, and nothing to be locked.
    if !real.exists() {
        return Ok(None);
    }
    let path = beside(real, "-lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = match opened {
        Ok(file) => file,
        // SQLite needs to make files there as well: where it need not, this file may be missing.
        Err(_) if read_only => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot use the lock {}", path.display())),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("a backup is being restored to {}; start again once that is done", real.display())
        }
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, "no lock can be taken: a restore will not know of this server");
            Ok(None)
        }
    }
}

/// The column of a file whose path is looked at before each write, and after it: data that was written to a
/// file that has lost its path may be gone.
pub(super) struct Guarded {
    column: Sqlite,
    file: Arc<DatabaseFile>,
}

impl Guarded {
    pub(super) fn new(column: Sqlite, file: Arc<DatabaseFile>) -> Self {
        Self { column, file }
    }
}

impl From<FileChange> for DatabaseError {
    fn from(change: FileChange) -> Self {
        Self::Unavailable(change.to_string().into())
    }
}

impl Database for Guarded {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        match self.file.known() {
            Ok(()) => self.column.select(workspace),
            Err(change) => Box::pin(std::future::ready(Err(change.into()))),
        }
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        match self.file.known() {
            Ok(()) => self.column.select_batch(workspaces),
            Err(change) => {
                let refused = workspaces.iter().map(|_| Err(change.into())).collect();
                Box::pin(std::future::ready(refused))
            }
        }
    }

    fn batch_size(&self) -> usize {
        self.column.batch_size()
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            self.file.check()?;
            let issued = self.column.issue(workspace, mode, minted, send_by).await?;
            self.file.check().map_err(|change| DatabaseError::Lost(change.to_string().into()))?;
            Ok(issued)
        })
    }

    fn statements(&self) -> u64 {
        self.column.statements()
    }

    fn connections(&self) -> Option<usize> {
        self.column.connections()
    }
}
