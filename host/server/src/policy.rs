//! The subcommands of `leasehold policy`: their output and their outcome, each subcommand in a file of its
//! own.
//!
//! Nothing here checks the bytes of a policy: the library does, and names the stage at which it refuses.

mod arguments;
mod card;
mod check;
mod client;
mod expect;
mod keys;
mod new;

use std::path::PathBuf;

use crate::admin_token::AdminVariables;
use crate::print::print;
use anyhow::Context as _;

pub use arguments::{ApplyPolicy, Candidate, Card, Check, NewPolicy, PolicyCommand, StatusOfPolicy};
pub(crate) use card::json;
pub use expect::Expectation;

/// Outcome of a command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// There is nothing to complain of.
    Done,
    /// Something is not as expected.
    Differs,
}

impl PolicyCommand {
    /// Runs the subcommand. `variables` are those of the environment.
    ///
    /// # Errors
    ///
    /// The cause, in words: a file that cannot be read, a policy that is refused.
    pub fn run(&self, variables: &AdminVariables) -> anyhow::Result<CommandOutcome> {
        let said = match self {
            Self::Card(card) => return on_a_runtime(card::run(card)),
            Self::Cards => return on_a_runtime(card::print_all()),
            Self::Check(check) => return on_a_runtime(check::run(check)),
            Self::New(new) => new::write(new, around().iter().map(PathBuf::as_path))?,
            Self::Keygen { file } => keys::generate(file)?,
            Self::Sign { file, key, revision } => keys::sign(file, key, *revision)?,
            Self::Apply(apply) => client::apply(apply, variables)?,
            Self::Rollback(server) => client::rollback(server, variables)?,
            Self::Status(status) => client::status(status, variables)?,
        };
        print(&format!("{said}\n"))?;
        Ok(CommandOutcome::Done)
    }
}

/// Returns the paths from which the SDK may be found. Either may be unknown; then nothing is found from
/// there.
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
