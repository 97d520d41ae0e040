//! Compiled code on disk, so that a policy is compiled once and not at each start.
//!
//! Wasmtime keeps the code, by a hash of the component, the compiler and its settings. But it runs all that
//! it finds: a bit that was lost on a disk would be run as code, in a process that holds secrets. So the
//! directory has to be this user's alone, and each file has a checksum beside it, which is compared before
//! every compilation; a file without a checksum is removed. This file knows nothing of policies.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use wasmtime::{Cache, CacheConfig};

/// Maximum size of the kept code: thousands of policies of the usual size. Wasmtime deletes the oldest.
const MAX_BYTES: u64 = 64 << 20;
const MAX_FILES: u64 = 1_024;

/// Wasmtime's directory within ours, and the directory of its code in there. Wasmtime deletes all other files
/// in its own.
const WASMTIME: &str = "wasmtime";
const CODE: &str = "wasmtime/modules";
/// Our directory of checksums, beside wasmtime's.
const SUMS: &str = "sums";

/// Reason why compiled code cannot be kept in a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileCacheError {
    /// The directory cannot be made, or others might write to it.
    #[error("the compile cache {directory:?} cannot be used: {reason}")]
    Unusable {
        /// The directory, as it was given.
        directory: PathBuf,
        /// Reason, for an operator to act on.
        reason: String,
    },
    /// A policy has been compiled in this process already, or another directory was given before.
    #[error(
        "the compile cache {directory:?} comes too late: the compiler has begun its work with another one or \
         with none; name it once, before the first cache is built"
    )]
    TooLate {
        /// The directory, as it was given.
        directory: PathBuf,
    },
}

/// Choice of the process.
struct Choice {
    directory: Option<PathBuf>,
    /// `true` once the compiler has begun, with this directory or with none.
    final_: bool,
}

static CHOICE: Mutex<Choice> = Mutex::new(Choice { directory: None, final_: false });

/// Keeps compiled code in this directory from now on, for all caches of this process. To be called before the
/// first cache is built. A missing directory is made, for this user alone; a user who can write to it can run
/// code here.
///
/// # Errors
///
/// [`CompileCacheError`] if others might write to it, or if it comes too late.
pub fn compile_cache(directory: impl AsRef<Path>) -> Result<(), CompileCacheError> {
    let given = directory.as_ref();
    let checked =
        check(given).map_err(|reason| CompileCacheError::Unusable { directory: given.to_owned(), reason })?;
    let mut choice = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    match &choice.directory {
        Some(known) if *known == checked => Ok(()),
        None if !choice.final_ => {
            choice.directory = Some(checked);
            Ok(())
        }
        _ => Err(CompileCacheError::TooLate { directory: given.to_owned() }),
    }
}

/// Makes the directory, and checks that no other user can write to it.
fn check(directory: &Path) -> Result<PathBuf, String> {
    let cannot = |error: io::Error| error.to_string();
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(cannot)?;
    let metadata = fs::symlink_metadata(directory).map_err(cannot)?;
    if metadata.is_symlink() {
        return Err("it is a symbolic link; name the directory itself".into());
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(format!("it belongs to the user {owner}, and this process runs as {user}"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(format!(
            "it has mode {mode:04o}, so that others may write to it, and what is in it is run; expected \
             0700: run chmod 700 if nobody else has written to it"
        ));
    }
    fs::canonicalize(directory).map_err(cannot)
}

/// The directory in the hands of the compiler.
pub(super) struct CompileCache {
    directory: PathBuf,
}

impl CompileCache {
    /// Returns the choice of the process. From now on it cannot be changed.
    pub(super) fn chosen() -> Option<Self> {
        let mut choice = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
        choice.final_ = true;
        choice.directory.clone().map(|directory| Self { directory })
    }

    /// Returns the cache for wasmtime, set so that wasmtime does not rewrite a file to compress it better:
    /// the file has a checksum.
    pub(super) fn configured(&self) -> wasmtime::Result<Cache> {
        let mut config = CacheConfig::new();
        config
            .with_directory(self.directory.join(WASMTIME))
            .with_files_total_size_soft_limit(MAX_BYTES)
            .with_file_count_soft_limit(MAX_FILES)
            .with_optimized_compression_usage_counter_threshold(u64::MAX);
        Cache::new(config)
    }

    /// Removes each file that is not as it was written. Called before anything is compiled, which is when
    /// wasmtime looks here.
    pub(super) fn remove_damaged(&self) -> io::Result<()> {
        for file in self.code()? {
            let sound = match (fs::read(&file), fs::read_to_string(self.sum_of(&file))) {
                (Ok(code), Ok(expected)) => sum(&code) == expected,
                _ => false,
            };
            if !sound {
                tracing::warn!(file = %file.display(), "compiled code was damaged, and is compiled again");
                match fs::remove_file(&file) {
                    // Wasmtime tidies up by itself.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Writes the checksums of the files that have been written since. A sum that cannot be written costs a
    /// compilation the next time.
    pub(super) fn seal(&self) {
        let Ok(files) = self.code() else { return };
        for file in files {
            let beside = self.sum_of(&file);
            if beside.exists() {
                continue;
            }
            let written = || {
                DirBuilder::new().recursive(true).mode(0o700).create(self.directory.join(SUMS))?;
                fs::write(&beside, sum(&fs::read(&file)?))
            };
            if let Err(error) = written() {
                tracing::warn!(
                    file = %beside.display(),
                    %error,
                    "a checksum of compiled code cannot be written"
                );
            }
        }
    }

    /// Returns the files of code: one for each component, in a directory for each version of wasmtime. A file
    /// with a dot in its name is wasmtime's own book-keeping.
    fn code(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for version in entries(&self.directory.join(CODE))? {
            let here = entries(&version)?;
            files.extend(here.into_iter().filter(|file| file.extension().is_none() && file.is_file()));
        }
        Ok(files)
    }

    fn sum_of(&self, file: &Path) -> PathBuf {
        self.directory.join(SUMS).join(file.file_name().unwrap_or_default())
    }
}

/// Returns the entries of a directory; none where there is no directory.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
