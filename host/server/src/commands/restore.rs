//! `leasehold restore`: a backup in the place of the SQLite database, while no server has that open.

use std::path::PathBuf;

use clap::Args;

use super::on_a_runtime;
use crate::options::ConfigFile;
use crate::print::print;
use crate::store::files;

/// What to put in place, and where.
#[derive(Clone, Debug, Args)]
pub struct Restore {
    /// The backup, as `leasehold backup` made it; it is copied
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The database, as in `leasehold serve`
    #[arg(long, value_name = "URL", default_value = crate::options::DATABASE)]
    pub database: String,

    /// The file to read.
    #[command(flatten)]
    pub config: ConfigFile,
}

impl Restore {
    /// Puts the backup in place.
    ///
    /// # Errors
    ///
    /// The cause, in words. Then the database is what it was.
    pub fn run(&self) -> anyhow::Result<()> {
        let restored = on_a_runtime(files::restore(&self.file, &self.database))?;
        let kept = match &restored.before {
            Some(path) => format!("; what was there before is {}", path.display()),
            None => String::new(),
        };
        print(&format!("{} is {} now{kept}\n", restored.database.display(), self.file.display()))
    }
}
