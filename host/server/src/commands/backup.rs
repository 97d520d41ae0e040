//! `leasehold backup`: a whole copy of the SQLite database, beside a server that goes on writing.

use std::path::PathBuf;

use clap::Args;

use super::on_a_runtime;
use crate::options::ConfigFile;
use crate::print::print;
use crate::store::files;

/// What to copy, and where to.
#[derive(Clone, Debug, Args)]
pub struct Backup {
    /// The file to make, readable by its owner only
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,

    /// The database, as in `leasehold serve`; of PostgreSQL, pg_dump makes backups
    #[arg(long, value_name = "URL", default_value = crate::options::DATABASE)]
    pub database: String,

    /// The file to read.
    #[command(flatten)]
    pub config: ConfigFile,
}

impl Backup {
    /// Makes the copy.
    ///
    /// # Errors
    ///
    /// The cause, in words. Then no file was made, and none was replaced.
    pub fn run(&self) -> anyhow::Result<()> {
        let bytes = on_a_runtime(files::backup(&self.database, &self.file, self.force))?;
        print(&format!("{} has the database as it is now: {bytes} bytes\n", self.file.display()))
    }
}
