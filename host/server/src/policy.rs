//! From what the operator wrote to a [`Policy`]: names, files and `NAME=VALUE`.
//!
//! It reads bytes and checks nothing in them: the library does, and says at which stage it refuses. `leasehold policy` is
//! here as well: what it prints and what it ends with, each subcommand in a file of its own.

mod arguments;
mod card;
mod check;
mod client;
mod expect;
mod keys;
mod new;
mod trust;
pub(crate) mod watch;

use std::path::PathBuf;

use crate::print::print;
use anyhow::Context as _;

pub use arguments::{
    ApplyPolicy, Candidate, Card, Check, NewPolicy, PolicyCommand, RemoteServer, StatusOfPolicy,
};
pub(crate) use card::json;
pub use expect::Expectation;
pub(crate) use trust::TrustConfig;

/// What became of a command that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// There is nothing to complain of.
    Done,
    /// Something is not as it was expected.
    Differs,
}

impl PolicyCommand {
    /// Does what was asked. `admin_token` is what the environment says, if anything.
    ///
    /// # Errors
    ///
    /// What kept it from being done, in words: a file that cannot be read, a policy that is refused.
    pub fn run(&self, admin_token: Option<String>) -> anyhow::Result<CommandOutcome> {
        let said = match self {
            Self::Card(card) => return on_a_runtime(card::run(card)),
            Self::Cards => return on_a_runtime(card::print_all()),
            Self::Check(check) => return on_a_runtime(check::run(check)),
            Self::New(new) => new::write(new, around().iter().map(PathBuf::as_path))?,
            Self::Keygen { file } => keys::generate(file)?,
            Self::Sign { file, key, revision } => keys::sign(file, key, *revision)?,
            Self::Apply(apply) => client::apply(apply, admin_token)?,
            Self::Rollback(server) => client::rollback(server, admin_token)?,
            Self::Status(status) => client::status(status, admin_token)?,
        };
        print(&format!("{said}\n"))?;
        Ok(CommandOutcome::Done)
    }
}

/// Where the SDK may be found from. Either may be unknown; then nothing is found from there.
fn around() -> Vec<PathBuf> {
    [std::env::current_dir(), std::env::current_exe()].into_iter().flatten().collect()
}

fn on_a_runtime(
    command: impl Future<Output = anyhow::Result<CommandOutcome>>,
) -> anyhow::Result<CommandOutcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(command)
}
