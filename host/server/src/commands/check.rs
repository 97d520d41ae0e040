//! `leasehold database check`: a report on the database behind a URL, and whether a server can work with it.

use clap::{Args, Subcommand};

use super::on_a_runtime;
use crate::options::{ConfigFile, DatabaseOptions};
use crate::print::print;
use crate::store::{self, DatabaseSource, Layout};

/// The subcommands of `leasehold database`.
#[derive(Clone, Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Say what is there: the server, what is between, the schema, and what the user may do; ends with 1
    /// where a server could not do all of its work
    Check(CheckDatabase),
}

/// Which database.
#[derive(Clone, Debug, Args)]
pub struct CheckDatabase {
    /// As in `leasehold serve`; nothing is made and nothing is changed
    #[arg(long, value_name = "URL", default_value = crate::options::DATABASE)]
    pub database: String,

    /// As in `leasehold serve`
    #[command(flatten)]
    pub existing: DatabaseOptions,
    /// The file to read.
    #[command(flatten)]
    pub config: ConfigFile,
}

impl DatabaseCommand {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// The reasons that keep a server from its work, in words.
    pub fn run(&self) -> anyhow::Result<()> {
        let Self::Check(check) = self;
        let source = DatabaseSource::new(&check.database, check.existing.database_file.as_deref())?;
        let report = on_a_runtime(store::check(&source, &Layout::new(&check.existing)?))?;
        print(&report.table())?;
        anyhow::ensure!(
            report.lacks.is_empty(),
            "a server could not do all of its work: {}",
            report.lacks.join("; ")
        );
        Ok(())
    }
}
