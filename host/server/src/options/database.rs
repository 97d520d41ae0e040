//! The arguments that say where the database's URL is, and which table of it holds the workspaces.
//!
//! They are the same for every command that works on a database. What they mean is checked where they are
//! used.

use std::path::PathBuf;

use clap::Args;

/// The file of the URL, and a table that is there already.
#[derive(Clone, Debug, Default, Args)]
pub struct DatabaseOptions {
    /// Read the database's URL from this file, in place of --database: a password on the command line is seen
    /// by every user of the machine. It is read again when the server refuses the password, and on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub database_file: Option<PathBuf>,

    /// A table or view that is there already, with a row for each workspace: it is neither made nor migrated,
    /// and its rows are not made or removed here
    #[arg(long, value_name = "[SCHEMA.]TABLE")]
    pub table: Option<String>,

    /// The unique column of --table that holds the workspace's id: a text, a uuid or an integer [default: id]
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,

    /// The column of --table that holds the secret [default: platform_inbound_secret]
    #[arg(long, value_name = "COLUMN")]
    pub column: Option<String>,

    /// The table or view that holds the tokens' hashes, which is only read [default: that of --table]
    #[arg(long, value_name = "[SCHEMA.]TABLE")]
    pub token_table: Option<String>,

    /// The unique column of --token-table that holds the workspace's id [default: that of --key]
    #[arg(long, value_name = "COLUMN")]
    pub token_key: Option<String>,

    /// The column of --token-table that holds the SHA-256 of the token in lower-case hexadecimal [default:
    /// auth_token_hash]
    #[arg(long, value_name = "COLUMN")]
    pub token_column: Option<String>,

    /// Take it on trust that no two rows have the same key, where no unique index says so
    #[arg(long)]
    pub assume_unique: bool,

    /// Never write the secret's column: rotations are refused, and no right to do one is needed
    #[arg(long)]
    pub read_only_column: bool,
}
