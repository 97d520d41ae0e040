//! A token that was just made: its text, for one answer, and what is stored of it.
//!
//! The text is wiped when the value goes. It is never logged and never stored.

use zeroize::Zeroizing;

use crate::auth::{TokenHash, TokenHashHex, new_token, new_token_id};
use crate::respond::ApiError;
use crate::store::NewToken;

/// Number of a token's characters that a list shows: enough for people to tell tokens apart, and 36 of its
/// 256 bits.
const PREFIX: usize = 6;

/// A token that no workspace has yet.
pub(crate) struct MadeToken {
    id: String,
    text: Zeroizing<String>,
    hash: TokenHashHex,
}

impl MadeToken {
    pub(crate) fn new() -> Result<Self, ApiError> {
        let failed = |error| ApiError::internal(format!("no random bytes: {error}"));
        let (id, text) = (new_token_id().map_err(failed)?, new_token().map_err(failed)?);
        let hash = TokenHash::of(&text).hex();
        Ok(Self { id, text, hash })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn prefix(&self) -> &str {
        self.text.get(..PREFIX).unwrap_or_default()
    }

    /// Returns what is stored of it.
    pub(crate) fn stored(&self, created_ms: u64, expires_ms: Option<u64>) -> NewToken<'_> {
        NewToken { id: &self.id, hash: self.hash.as_str(), prefix: self.prefix(), created_ms, expires_ms }
    }
}
