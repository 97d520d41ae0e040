//! The state that the server keeps from one run to the next: the active policy, the ones to go back to, and a
//! record of every change.
//!
//! It is a folder that one server at a time uses. The policies are named in one small file, which is replaced
//! as a whole, so that a crash at any moment leaves the old ones or the new; their components are files named
//! by their digest, which are there before any list names them. This file knows nothing of what a policy
//! does.

mod heals;
mod journal;
mod lock;
mod policies;
mod saved;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use leasehold::{Policy, RetainedPolicy};

pub(crate) use self::journal::Journal;
use self::policies::{FoundState, Policies, SavedPolicy};
pub(crate) use self::saved::{Requested, SavedState, StartCandidate, candidates};
use crate::policy_source::{MAX_COMPONENT_BYTES, read_file};

const POLICIES: &str = "policies.json";
const COMPONENTS: &str = "components";
const AUDIT: &str = "audit.jsonl";
const REVISION: &str = "highest-revision";
/// Maximum size of the file: a number and a line's end, and room for what an operator wrote by hand.
const MAX_REVISION_BYTES: usize = 4096;

/// The folder, locked until it is released or this goes.
pub(crate) struct State {
    folder: PathBuf,
    lock: Option<File>,
}

/// The policies to be kept.
pub(crate) struct Checkpoint {
    pub(crate) active: RetainedPolicy,
    pub(crate) previous: Vec<RetainedPolicy>,
    pub(crate) highest_revision: u64,
}

impl State {
    /// Opens the folder, and makes it if there is none. While another server uses it, that is waited for this
    /// long.
    pub(crate) async fn open_within(folder: &Path, wait: Duration) -> anyhow::Result<Self> {
        Self::prepare(folder)?;
        let lock = lock::take_within(folder, wait).await?;
        Ok(Self { folder: folder.to_owned(), lock: Some(lock) })
    }

    /// Opens the folder, and does not wait.
    #[cfg(test)]
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        Self::prepare(folder)?;
        Ok(Self { folder: folder.to_owned(), lock: Some(lock::take(folder)?) })
    }

    /// Makes the folder if there is none, and checks that it is this user's alone.
    fn prepare(folder: &Path) -> anyhow::Result<()> {
        let shown = folder.display();
        let make = |path: &Path| DirBuilder::new().mode(0o700).recursive(true).create(path);
        make(&folder.join(COMPONENTS)).with_context(|| {
            format!(
                "cannot make the folder {shown} for what is kept between runs; name another one with \
                 --state-dir"
            )
        })?;
        let mode = fs::metadata(folder)
            .with_context(|| format!("cannot look at the folder {shown}"))?
            .permissions()
            .mode();
        anyhow::ensure!(
            mode & 0o022 == 0,
            "the folder {shown} has mode {:04o}, so that others may choose the policy of the next start; run \
             chmod 700, or name another one with --state-dir",
            mode & 0o7777
        );
        Ok(())
    }

    /// Returns the policies that an earlier run kept. What cannot be read is logged and passed over.
    pub(crate) fn kept(&self) -> Option<SavedState> {
        let path = self.folder.join(POLICIES);
        let file = path.display();
        let policies = match FoundState::read(&path) {
            FoundState::Nothing => return None,
            FoundState::Policies(policies) => policies,
            FoundState::Newer(version, understood) => {
                tracing::error!(
                    %file,
                    version,
                    understood = understood.is_some(),
                    "a newer server kept the policies: what this one understands of it is used, and the \
                     file is set aside for its return"
                );
                understood?
            }
            FoundState::Damaged(error) => {
                let error = format!("{error:#}");
                tracing::error!(%file, error, "which policy was active is damaged, and is set aside");
                return None;
            }
        };
        let mut previous: Vec<RetainedPolicy> =
            policies.previous().filter_map(|named| self.policy(named)).collect();
        let latest_proven = || previous.iter().rposition(|previous| previous.proven);
        let active = match self.policy(policies.active()) {
            Some(active) => active,
            None => match latest_proven() {
                Some(proven) => previous.remove(proven),
                None => previous.pop()?,
            },
        };
        Some(SavedState { active, previous, requested: policies.into_requested() })
    }

    /// Returns the highest signed revision that was ever active, as far as that is known.
    pub(crate) fn highest_revision(&self) -> anyhow::Result<u64> {
        let path = self.folder.join(REVISION);
        if !path.exists() {
            return Ok(0);
        }
        let text = read_file(&path, MAX_REVISION_BYTES).and_then(|text| Ok(String::from_utf8(text)?));
        text.and_then(|text| Ok(text.trim().parse()?)).with_context(|| {
            format!(
                "{} does not say which signed revision was the highest; write it there, or remove the file \
                 to take any",
                path.display()
            )
        })
    }

    fn policy(&self, named: &SavedPolicy) -> Option<RetainedPolicy> {
        let path = self.component(&named.digest);
        let component = read_file(&path, MAX_COMPONENT_BYTES)
            .inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::error!(file = %path.display(), error, "a policy that was kept cannot be read");
            })
            .ok()?;
        let policy = Policy::from_bytes(component);
        if policy.digest() != named.digest {
            tracing::error!(file = %path.display(), "a policy that was kept is damaged");
            return None;
        }
        let policy = named.settings.iter().fold(policy, |policy, (name, value)| policy.setting(name, value));
        let policy =
            named.signature.iter().fold(policy, |policy, signature| policy.signed(signature.as_str()));
        Some(RetainedPolicy { policy, proven: named.proven })
    }

    /// Leaves the folder to a successor. Only lines of the record are written from here on, which go behind
    /// one another whichever process writes them.
    fn release(&mut self) {
        self.lock = None;
    }

    fn is_ours(&self) -> bool {
        self.lock.is_some()
    }

    /// Adds a line to the record of changes, or several, with their ends between them.
    fn append(&self, line: &str) -> std::io::Result<()> {
        let path = self.folder.join(AUDIT);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        // A line that a crash has cut short ends here.
        let cut = ends_within_a_line(&file)?;
        let text = if cut { format!("\n{line}\n") } else { format!("{line}\n") };
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }

    /// Keeps the policies, and removes the components that are no longer named.
    fn keep(&self, requested: &Requested, checkpoint: &Checkpoint) -> std::io::Result<()> {
        let Checkpoint { active, previous, highest_revision } = checkpoint;
        for RetainedPolicy { policy, .. } in previous.iter().chain([active]) {
            let path = self.component(policy.digest());
            // A damaged file is mended.
            if fs::read(&path).ok().is_none_or(|stored| stored != policy.component()) {
                write_whole(&path, policy.component())?;
            }
        }
        if *highest_revision > 0 {
            write_whole(&self.folder.join(REVISION), format!("{highest_revision}\n").as_bytes())?;
        }
        let path = self.folder.join(POLICIES);
        let previous = previous.iter().map(SavedPolicy::of).collect();
        let policies = Policies::new(requested.clone(), SavedPolicy::of(active), previous).succeed(&path)?;
        let text = serde_json::to_vec_pretty(&policies).map_err(std::io::Error::other)?;
        write_whole(&path, &text)?;
        self.forget_unnamed(policies.components()?)
    }

    /// Removes the components that no list names any more, and no other file.
    fn forget_unnamed(&self, components: String) -> std::io::Result<()> {
        let mut texts = policies::aside(&self.folder)?;
        texts.push(components);
        for entry in fs::read_dir(self.folder.join(COMPONENTS))? {
            let path = entry?.path();
            let Some(digest) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_ours =
                is_digest && path.extension().is_some_and(|extension| extension == "wasm") && path.is_file();
            if is_ours && !texts.iter().any(|text| text.contains(digest)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join(COMPONENTS).join(format!("{digest}.wasm"))
    }
}

impl SavedPolicy {
    fn of(RetainedPolicy { policy, proven }: &RetainedPolicy) -> Self {
        Self {
            digest: policy.digest().to_owned(),
            settings: policy.settings().to_vec(),
            proven: *proven,
            signature: policy.signature().map(str::to_owned),
        }
    }
}

fn ends_within_a_line(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// Writes a file so that it is there whole or not at all, even after a crash.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or_else(|| std::io::Error::other("the file has no folder"))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The name is on the disk once the folder is.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
