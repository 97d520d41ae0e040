//! What the server keeps from one run to the next: the active policy, those to go back to, and a record of every change.
//!
//! A folder that one server at a time uses. The policies are named in one small file, which is replaced as a whole, so
//! that a crash at any moment leaves the old ones or the new; their components are files named by their digest, which are
//! there before anything names them. It knows nothing of what a policy does.

mod journal;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use leasehold::Policy;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub(crate) use self::journal::Journal;
use crate::policy::COMPONENT_BYTES_MAX;

const LOCK: &str = "lock";
const POLICIES: &str = "policies.json";
const COMPONENTS: &str = "components";
const AUDIT: &str = "audit.jsonl";

/// The folder, locked for as long as this lives.
pub(crate) struct State {
    folder: PathBuf,
    _lock: File,
}

/// The policies that an earlier run kept.
pub(crate) struct Kept {
    pub(crate) active: Policy,
    /// The latest last.
    pub(crate) previous: Vec<Policy>,
    /// The highest signed revision that was ever active.
    pub(crate) highest_revision: u64,
}

/// The file that names the policies.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Policies {
    /// What the command line asked for when this was written.
    asked: Named,
    active: Named,
    previous: Vec<Named>,
    highest_revision: u64,
}

#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Named {
    digest: String,
    settings: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl State {
    /// Opens the folder, and makes it if there is none.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        let make = |path: &Path| match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        };
        make(folder).and_then(|()| make(&folder.join(COMPONENTS))).with_context(|| {
            format!("cannot make the folder {shown} for what is kept between runs; make its parent writable, or name \
                     another one with --state-dir")
        })?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
        let lock = lock.with_context(|| format!("cannot use the folder {shown}"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => anyhow::anyhow!(
                "another server uses the folder {shown}; stop it, or give this one another folder with --state-dir"
            ),
            error => anyhow::Error::new(error).context(format!("cannot lock the folder {shown}")),
        })?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// The policies that an earlier run kept, if the command line asks for the same as it did then: whoever changes it
    /// wants what it says. Whatever cannot be read is said and passed over.
    pub(crate) fn kept(&self, asked: &Policy) -> Option<Kept> {
        let path = self.folder.join(POLICIES);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "cannot read which policy was active");
                return None;
            }
        };
        let policies: Policies = serde_json::from_str(&text)
            .inspect_err(|error| {
                tracing::error!(file = %path.display(), %error, "which policy was active is not readable");
            })
            .ok()?;
        if policies.asked != Named::of(asked) {
            tracing::info!("the command line asks for another policy than at the last start: it is taken");
            return None;
        }
        let mut previous: Vec<Policy> =
            policies.previous.iter().filter_map(|named| self.policy(named)).collect();
        let active = self.policy(&policies.active).or_else(|| previous.pop())?;
        Some(Kept { active, previous, highest_revision: policies.highest_revision })
    }

    fn policy(&self, named: &Named) -> Option<Policy> {
        let path = self.component(&named.digest);
        let mut component = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut component));
        if let Err(error) = read {
            tracing::error!(file = %path.display(), %error, "a policy that was kept cannot be read");
            return None;
        }
        let policy = Policy::from_bytes(component);
        if policy.digest() != named.digest {
            tracing::error!(file = %path.display(), "a policy that was kept is damaged");
            return None;
        }
        let policy = named.settings.iter().fold(policy, |policy, (name, value)| policy.setting(name, value));
        Some(named.signature.iter().fold(policy, |policy, signature| policy.signed(signature.as_str())))
    }

    /// Adds a line to the record of changes.
    fn append(&self, line: &str) -> std::io::Result<()> {
        let path = self.folder.join(AUDIT);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        // A line that a crash has cut short ends here.
        let cut = ends_within_a_line(&file)?;
        let text = if cut { format!("\n{line}\n") } else { format!("{line}\n") };
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }

    /// Keeps the policies, and nothing else that was kept before.
    fn keep(
        &self,
        asked: &Policy,
        active: &Policy,
        previous: &[Policy],
        highest_revision: u64,
    ) -> std::io::Result<()> {
        for policy in previous.iter().chain([active]) {
            let path = self.component(policy.digest());
            if !path.exists() {
                write_whole(&path, policy.component())?;
            }
        }
        let policies = Policies {
            asked: Named::of(asked),
            active: Named::of(active),
            previous: previous.iter().map(Named::of).collect(),
            highest_revision,
        };
        let text = serde_json::to_vec_pretty(&policies).map_err(std::io::Error::other)?;
        write_whole(&self.folder.join(POLICIES), &text)?;
        self.forget_all_but(previous.iter().chain([active]))
    }

    fn forget_all_but<'a>(&self, kept: impl Iterator<Item = &'a Policy> + Clone) -> std::io::Result<()> {
        for entry in fs::read_dir(self.folder.join(COMPONENTS))? {
            let path = entry?.path();
            if !kept.clone().any(|policy| path == self.component(policy.digest())) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join(COMPONENTS).join(format!("{digest}.wasm"))
    }
}

impl Named {
    fn of(policy: &Policy) -> Self {
        Self {
            digest: policy.digest().to_owned(),
            settings: policy.settings().to_vec(),
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

/// Writes a file so that it is there whole or not at all, whatever happens.
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
