//! The arguments about who may use the operator's routes.

use std::path::PathBuf;

use clap::Args;

/// Sources of the admin credentials.
#[derive(Clone, Debug, Default, Args)]
pub struct AdminOptions {
    /// Where the token of the credential `admin` is, in place of leasehold.admin-token in the working
    /// directory; readable by its owner only, and read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// More admin credentials, a line for each: NAME SCOPES TOKEN, or NAME SCOPES sha256:HEX; SCOPES is all,
    /// or some of read, policy and secrets with commas between them; read again on SIGHUP; may be given for
    /// each of several files
    #[arg(long = "admin-tokens", value_name = "FILE")]
    pub admin_tokens: Vec<PathBuf>,
}
