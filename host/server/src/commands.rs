//! The subcommands that need no server, most of them on a database: each in a file of its own, with its
//! arguments.
//!
//! Each ends with a line for people on stdout, or with an error in words.

mod admin_token;
mod backup;
mod check;
mod config;
mod migrate;
mod restore;

use anyhow::Context as _;

pub use self::admin_token::{AdminTokenCommand, NewAdminToken};
pub use self::backup::Backup;
pub use self::check::{CheckDatabase, DatabaseCommand};
pub use self::config::ConfigCommand;
pub use self::migrate::MigrateDatabase;
pub use self::restore::Restore;

fn on_a_runtime<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(command)
}
