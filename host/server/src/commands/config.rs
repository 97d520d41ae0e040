//! `leasehold config`: the configuration of a server, without one.

use clap::Subcommand;

use crate::options::Serve;
use crate::print::print;
use crate::server::check;
use crate::values::Values;

/// The subcommands of `leasehold config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check every option as `leasehold serve` would, files included; the database is not asked
    Check(Box<Serve>),
    /// Print the value of each option and where it comes from, as a file for --config; passwords are hidden
    Show(Box<Serve>),
}

impl ConfigCommand {
    /// Runs the subcommand. `unknown` are variables that look like ours and are not.
    ///
    /// # Errors
    ///
    /// The option that cannot be used, in words.
    pub(crate) fn run(&self, values: &Values, unknown: &[String]) -> anyhow::Result<()> {
        match self {
            Self::Show(_) => print(&values.toml()),
            Self::Check(serve) => {
                anyhow::ensure!(
                    unknown.is_empty(),
                    "{} is no variable of leasehold; expected LEASEHOLD_ and an option of `leasehold serve \
                     --help` in capitals, with _ for -",
                    unknown.join(", ")
                );
                check(serve)?;
                print("the configuration can be used\n")
            }
        }
    }
}
