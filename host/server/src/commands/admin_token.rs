//! `leasehold admin-token new`: a token for one more admin credential, and the line by which a server knows
//! it.
//!
//! It is printed once and kept nowhere. The line has its hash only, so that the file may be read by others.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use sha2::{Digest as _, Sha256};

use crate::auth::new_token;
use crate::credentials::{Scopes, check_name};
use crate::print::print;

/// The subcommands of `leasehold admin-token`.
#[derive(Clone, Debug, Subcommand)]
pub enum AdminTokenCommand {
    /// Make a token, and print it, and below it the line for the file of --admin-tokens
    New(NewAdminToken),
}

/// What the credential is called, and what it opens.
#[derive(Clone, Debug, Args)]
pub struct NewAdminToken {
    /// The name of the credential, as the record of changes is to have it
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// What it opens: all, or some of read, policy and secrets with commas between them
    #[arg(long, value_name = "SCOPES")]
    pub scopes: String,
}

impl AdminTokenCommand {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// A name or scopes that no credential can have, in words.
    pub fn run(&self) -> anyhow::Result<()> {
        let Self::New(NewAdminToken { name, scopes }) = self;
        check_name(name).with_context(|| format!("--name {name:?} is not usable"))?;
        let scopes = Scopes::parse(scopes).with_context(|| {
            format!(
                "--scopes {scopes:?} is not usable; expected all, or some of read, policy and secrets with \
                 commas between them"
            )
        })?;
        let token = new_token().context("the operating system has no random bytes for a token")?;
        let hash = hex::encode(<[u8; 32]>::from(Sha256::digest(token.as_str())));
        print(&format!("{}\n{name} {scopes} sha256:{hash}\n", token.as_str()))
    }
}
