//! The arguments of `leasehold serve` about workspace tokens.
//!
//! It only says what may be given. The tokens' policy is an argument of its own, beside that of the secrets.

use std::time::Duration;

use clap::Args;

use super::span;

/// What is kept about workspace tokens.
#[derive(Clone, Debug, Args)]
pub struct TokenOptions {
    /// How long after its use a token's "last used" is written down at most, in one statement for many; 0s
    /// for not at all
    #[arg(long, value_name = "SPAN", default_value = "15m", value_parser = span)]
    pub token_last_used: Duration,
}

impl TokenOptions {
    /// Returns the span, if there is to be any writing.
    pub(crate) fn write_every(&self) -> Option<Duration> {
        Some(self.token_last_used).filter(|span| !span.is_zero())
    }
}
