//! `leasehold migrate`: the schema, made by a user with the right to do so, for servers without it.

use clap::Args;

use super::on_a_runtime;
use crate::options::{ConfigFile, DatabaseOptions};
use crate::print::print;
use crate::store::{self, DatabaseSource, Layout, Migrated};

/// Which database.
#[derive(Clone, Debug, Args)]
pub struct MigrateDatabase {
    /// As in `leasehold serve`, with a user who may create tables
    #[arg(long, value_name = "URL", default_value = crate::options::DATABASE)]
    pub database: String,

    /// As in `leasehold serve`
    #[command(flatten)]
    pub existing: DatabaseOptions,
    /// The file to read.
    #[command(flatten)]
    pub config: ConfigFile,
}

impl MigrateDatabase {
    /// Brings the schema up to date.
    ///
    /// # Errors
    ///
    /// The cause, in words.
    pub fn run(&self) -> anyhow::Result<()> {
        let source = DatabaseSource::new(&self.database, self.existing.database_file.as_deref())?;
        let layout = Layout::new(&self.existing)?;
        let (migrated, shown) = on_a_runtime(store::migrate(&source, &layout))?;
        let done = match migrated {
            Migrated::Created => "was made".to_owned(),
            Migrated::Upgraded(from) => format!("was brought up to date from version {from}"),
            Migrated::WasCurrent => "is up to date; nothing was changed".to_owned(),
            Migrated::WasExternal => {
                "is another program's, and has all that is needed; nothing was changed".to_owned()
            }
        };
        print(&format!("the schema of {shown} {done}\n"))
    }
}
