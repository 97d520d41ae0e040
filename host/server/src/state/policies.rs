//! The file that names the policies: its version, and the parts of it that this server does not know.
//!
//! A newer server may have written it, and after a step back its successor reads it again. So a field that is
//! not known is kept, and a file of a newer version, or a damaged one, is set aside before another takes its
//! place: nothing that is there is ever overwritten unread.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Requested;
use crate::policy_source::read_file;

/// Maximum size of the file: more than nine policies with all their settings take.
const MAX_BYTES: usize = 1 << 20;
/// The version that this server writes. It goes up when a field that is known changes its meaning, and not
/// for a new field. The first one is not written down: servers from before there were versions refuse the
/// field.
const VERSION: u32 = 1;

/// Contents of the file.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Policies {
    #[serde(default = "first", skip_serializing_if = "is_first")]
    version: u32,
    requested: Annotated<Requested>,
    active: Annotated<SavedPolicy>,
    previous: Vec<Annotated<SavedPolicy>>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// A part of the file, with the fields of it that are not known here.
#[derive(Clone, Deserialize, Serialize)]
struct Annotated<T> {
    #[serde(flatten)]
    known: T,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// A policy by its digest.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub(super) struct SavedPolicy {
    pub(super) digest: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) proven: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
}

/// State of the file.
pub(super) enum FoundState {
    Nothing,
    Policies(Policies),
    /// The file of a newer server, as far as this one understands it.
    Newer(u32, Option<Policies>),
    /// No list of policies, for this reason.
    Damaged(anyhow::Error),
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_first(version: &u32) -> bool {
    *version == first()
}

impl FoundState {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Self {
        if !path.exists() {
            return Self::Nothing;
        }
        let read = || -> anyhow::Result<(u64, Value)> {
            let value: Value = serde_json::from_slice(&read_file(path, MAX_BYTES)?)?;
            let version = match value.get("version") {
                None => u64::from(first()),
                Some(version) => {
                    version.as_u64().ok_or_else(|| anyhow::anyhow!("its version is no number"))?
                }
            };
            Ok((version, value))
        };
        match read() {
            Ok((version, value)) if version > u64::from(VERSION) => {
                Self::Newer(u32::try_from(version).unwrap_or(u32::MAX), serde_json::from_value(value).ok())
            }
            Ok((_, value)) => match serde_json::from_value(value) {
                Ok(policies) => Self::Policies(policies),
                Err(error) => Self::Damaged(error.into()),
            },
            Err(error) => Self::Damaged(error),
        }
    }
}

impl Policies {
    pub(super) fn new(requested: Requested, active: SavedPolicy, previous: Vec<SavedPolicy>) -> Self {
        let bare = |known| Annotated { known, unknown: Map::new() };
        Self {
            version: VERSION,
            requested: Annotated { known: requested, unknown: Map::new() },
            active: bare(active),
            previous: previous.into_iter().map(bare).collect(),
            unknown: Map::new(),
        }
    }

    /// Prepares this list to replace the file: takes over the fields of the file that are not known here, or
    /// sets the file aside.
    pub(super) fn succeed(mut self, path: &Path) -> Result<Self> {
        match FoundState::read(path) {
            FoundState::Nothing => {}
            FoundState::Policies(earlier) => self.inherit(earlier),
            FoundState::Newer(..) => set_aside(path, "newer")?,
            FoundState::Damaged(_) => set_aside(path, "damaged")?,
        }
        Ok(self)
    }

    fn inherit(&mut self, earlier: Self) {
        self.unknown = earlier.unknown;
        self.requested.unknown = earlier.requested.unknown;
        let known: Vec<_> = earlier.previous.into_iter().chain([earlier.active]).collect();
        for named in self.previous.iter_mut().chain([&mut self.active]) {
            let is_same = |other: &&Annotated<SavedPolicy>| {
                let (one, other) = (&named.known, &other.known);
                (&one.digest, &one.settings) == (&other.digest, &other.settings)
            };
            if let Some(earlier) = known.iter().find(is_same) {
                named.unknown.clone_from(&earlier.unknown);
            }
        }
    }

    pub(super) fn active(&self) -> &SavedPolicy {
        &self.active.known
    }

    pub(super) fn previous(&self) -> impl Iterator<Item = &SavedPolicy> {
        self.previous.iter().map(|named| &named.known)
    }

    /// Returns the parts in which components are named, unknown fields included. The file that the command
    /// line names is not one of them.
    pub(super) fn components(&self) -> Result<String> {
        let parts = (&self.active, &self.previous, &self.unknown);
        serde_json::to_string(&parts).map_err(Error::other)
    }

    pub(super) fn into_requested(self) -> Requested {
        self.requested.known
    }
}

/// Gives the file a second name beside its own, which no later file takes. If it has one already, nothing is
/// to be done.
fn set_aside(path: &Path, why: &str) -> Result<()> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        // A folder cannot be replaced by a file: nothing is lost.
        return Ok(());
    }
    let name = format!("policies.{why}-{}-{}.json", metadata.mtime(), metadata.ino());
    let aside = path.with_file_name(name);
    match fs::hard_link(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if fs::metadata(&aside)?.len() != metadata.len() {
                return Err(Error::other(format!("{} is in the way of another file", aside.display())));
            }
        }
        // Not every file system has second names.
        Err(_) => drop(fs::copy(path, &aside)?),
    }
    tracing::error!(file = %aside.display(), "what was kept by another server, or is damaged, was set aside");
    Ok(())
}

/// Returns the text of each file that was set aside: the components that they name are kept.
pub(super) fn aside(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("policies.") && name != super::POLICIES && path.is_file() {
            texts.push(String::from_utf8_lossy(&fs::read(path)?).into_owned());
        }
    }
    Ok(texts)
}
