//! The lock of the folder, which one server at a time holds, and the wait for the one before.
//!
//! The lock is the system's, and goes with the process that holds it. What the file says of its holder is for
//! people: nothing is decided by it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant as Deadline, sleep};

const LOCK: &str = "lock";
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum length of what is read of the holder: the digits of a process id.
const MAX_DIGITS: usize = 10;

/// The outcome of an attempt.
enum Attempt {
    Locked(File),
    /// Another server has the lock; the text names its process as far as that is known.
    InUse(String),
}

/// Takes the lock, and waits for that long while another server has it.
pub(super) async fn take_within(folder: &Path, wait: Duration) -> anyhow::Result<File> {
    let until = Deadline::now() + wait;
    let mut is_told = false;
    loop {
        let holder = match attempt(folder)? {
            Attempt::Locked(file) => return Ok(file),
            Attempt::InUse(holder) => holder,
        };
        let left = until.saturating_duration_since(Deadline::now());
        anyhow::ensure!(!left.is_zero(), in_use(folder, &holder));
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                "waiting up to {wait:?} for another server{holder} to let go of {}",
                folder.display()
            );
        }
        sleep(PAUSE.min(left)).await;
    }
}

/// Takes the lock, or says who has it.
#[cfg(test)]
pub(super) fn take(folder: &Path) -> anyhow::Result<File> {
    match attempt(folder)? {
        Attempt::Locked(file) => Ok(file),
        Attempt::InUse(holder) => anyhow::bail!(in_use(folder, &holder)),
    }
}

fn attempt(folder: &Path) -> anyhow::Result<Attempt> {
    let (path, shown) = (folder.join(LOCK), folder.display());
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut lock = lock.with_context(|| format!("cannot use the folder {shown}"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Attempt::InUse(holder(&path))),
        Err(TryLockError::Error(error)) => {
            return Err(anyhow::Error::new(error).context(format!("cannot lock the folder {shown}")));
        }
    }
    // A disk that is full is no reason not to start: the lock holds whatever the file says.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(Attempt::Locked(lock))
}

/// Returns the process that the file names, in words to be put behind `another server`.
fn holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let digits = text.trim_end();
    let is_id = (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_id { format!(" (process {digits})") } else { String::new() }
}

fn in_use(folder: &Path, holder: &str) -> String {
    format!(
        "another server uses the folder {}{holder}; stop it, wait for its end with --state-lock-wait 30s, or \
         give this one another folder with --state-dir, and its own --database unless it may answer from its \
         cache for as long as a lease lasts after the other has written",
        folder.display()
    )
}
