//! Secrets that state their origin: their workspace, the version in the database, the generation that leased
//! them.
//!
//! A secret that was wiped, or that was read while it was being wiped, states nothing and is found out at
//! once.

use crate::lease::Generation;
use crate::{Instant, Lookup, Secret, Status, WorkspaceId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) workspace: String,
    pub(crate) version: u64,
    pub(crate) generation: Generation,
}

impl Stamp {
    pub(crate) fn new(workspace: &WorkspaceId, version: u64, generation: Generation) -> Self {
        Self { workspace: workspace.as_str().to_owned(), version, generation }
    }

    pub(crate) fn secret(&self) -> Secret {
        Secret::new(&format!("{} {} {}", self.workspace, self.version, self.generation.number()))
    }

    pub(crate) fn lookup(&self, status: Status) -> Lookup {
        Lookup::new(self.secret(), status, Instant::default(), Instant::default())
    }

    /// Reads a secret.
    ///
    /// Panics if it was wiped.
    pub(crate) fn of(secret: &Secret) -> Self {
        Self::parse(secret).unwrap_or_else(|| panic!("a secret was read after it was wiped: {secret:?}"))
    }

    fn parse(secret: &Secret) -> Option<Self> {
        let mut words = secret.expose_str()?.split(' ');
        let workspace = words.next()?.to_owned();
        let version = words.next()?.parse().ok()?;
        let generation = Generation::new(words.next()?.parse().ok()?);
        Some(Self { workspace, version, generation })
    }
}
