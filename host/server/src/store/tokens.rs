//! The table `workspace_tokens`: what is stored of the tokens, and the statements that change it.
//!
//! It knows hashes and never a token. A change that touches several rows is one transaction, in PostgreSQL
//! one statement. The hash of a token that is taken away has to be known before the statement that takes it:
//! if its outcome is unknown, the entry has to leave the cache all the same.

mod postgres;
mod sqlite;

use leasehold::{Builder, Column, WorkspaceId};

use super::{Store, StoreError, in_time};

/// Maximum number of live tokens of a workspace. Two that are made at the same time may both be the last one.
pub(crate) const MAX_TOKENS: usize = 64;
/// Maximum number of rows that are read of a workspace: live tokens, and those that have ended since the last
/// one was made.
const MAX_ROWS: usize = 1000;

/// The table's name, its key, and the column that a heartbeat reads. The statements are in the files below.
const TABLE: &str = "workspace_tokens";
const KEY: &str = "token_hash";
const ADMITS: &str = "admits";

/// A token that is to be stored. Times are milliseconds since 1970.
pub(crate) struct NewToken<'a> {
    pub(crate) id: &'a str,
    pub(crate) hash: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: Option<u64>,
}

/// A token as it is stored.
#[derive(Clone)]
pub(crate) struct StoredToken {
    pub(crate) id: String,
    pub(crate) hash: String,
    /// The first characters of the token. Those of before there was a table of tokens have none.
    pub(crate) prefix: Option<String>,
    pub(crate) created_ms: u64,
    pub(crate) last_used_ms: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
}

/// Outcome of adding a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The token is stored. The tokens with these hashes end now or later, or are gone.
    Stored(Vec<String>),
    UnknownWorkspace,
    /// The workspace has [`MAX_TOKENS`] live ones.
    TooMany,
}

/// Outcome of deleting a workspace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// The workspace is gone, with the tokens that have these hashes.
    Gone(Vec<String>),
    UnknownWorkspace,
}

impl Store {
    /// Returns the builder of the cache from a token's hash to what it admits to.
    pub(crate) async fn token_cache(&self) -> anyhow::Result<Builder> {
        self.cache_over(Column::new(TABLE, KEY, ADMITS)?.read_only()).await
    }

    /// Adds a workspace without a secret, and its first token. Returns `false` if there is one with this id
    /// already, and nothing was changed.
    pub(crate) async fn insert(
        &self,
        workspace: &WorkspaceId,
        token: &NewToken<'_>,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(pool, file) => in_time(sqlite::create(pool, file, workspace, token)).await,
            Self::Postgres(pool) => in_time(postgres::create(pool, workspace, token)).await,
        }
    }

    /// Deletes a workspace with its tokens.
    pub(crate) async fn delete(&self, workspace: &WorkspaceId) -> Result<Deleted, StoreError> {
        match self {
            Self::Sqlite(pool, file) => in_time(sqlite::delete(pool, file, workspace)).await,
            Self::Postgres(pool) => in_time(postgres::delete(pool, workspace)).await,
        }
    }

    /// Reads the tokens of a workspace, the oldest first. `None` if there is no such workspace.
    pub(crate) async fn tokens(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<Vec<StoredToken>>, StoreError> {
        self.check_file()?;
        let read = match self {
            Self::Sqlite(pool, _) => in_time(sqlite::tokens(pool, workspace)).await,
            Self::Postgres(pool) => in_time(postgres::tokens(pool, workspace)).await,
        };
        // Reading changes nothing, whatever becomes of it.
        read.map_err(|error| match error {
            StoreError::OutcomeUnknown(words) => StoreError::Unavailable(words),
            other => other,
        })
    }

    /// Adds a token. With `others_end_ms` every other one ends then, unless it ends before that. Tokens that
    /// have ended are swept.
    pub(crate) async fn add_token(
        &self,
        workspace: &WorkspaceId,
        token: &NewToken<'_>,
        others_end_ms: Option<u64>,
    ) -> Result<Added, StoreError> {
        match self {
            Self::Sqlite(pool, file) => {
                in_time(sqlite::add(pool, file, workspace, token, others_end_ms)).await
            }
            Self::Postgres(pool) => in_time(postgres::add(pool, workspace, token, others_end_ms)).await,
        }
    }

    /// Deletes a token. Returns `false` if there was none.
    pub(crate) async fn delete_token(&self, workspace: &WorkspaceId, id: &str) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(pool, file) => in_time(sqlite::delete_token(pool, file, workspace, id)).await,
            Self::Postgres(pool) => in_time(postgres::delete_token(pool, workspace, id)).await,
        }
    }

    /// Writes down that the tokens with these hashes were used. Tokens that are gone are passed over.
    pub(crate) async fn note_used(&self, hashes: &[String], at_ms: u64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(pool, file) => in_time(sqlite::note_used(pool, file, hashes, at_ms)).await,
            Self::Postgres(pool) => in_time(postgres::note_used(pool, hashes, at_ms)).await,
        }
    }
}
