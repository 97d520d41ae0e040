//! The configuration's file, and the way to read all of it again while the server runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Serve;
use crate::values::Values;

/// Name of the option that names the file, which no file can set.
pub(crate) const CONFIG: &str = "config";

/// The file to read.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigFile {
    /// Read options from this TOML file, each by its name here, such as listen = "127.0.0.1:8080" [default:
    /// leasehold.toml, if it is there]
    #[arg(long = CONFIG, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Reads the configuration again: the command line, the environment and the file.
#[derive(Clone)]
pub(crate) struct ConfigSource(Arc<ReadConfig>);

type ReadConfig = dyn Fn() -> anyhow::Result<(Serve, Values)> + Send + Sync;

/// It holds passwords and tokens.
impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource").finish_non_exhaustive()
    }
}

impl ConfigSource {
    pub(crate) fn new(read: impl Fn() -> anyhow::Result<(Serve, Values)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the options as they are now, and their values for a comparison.
    pub(crate) fn read(&self) -> anyhow::Result<(Serve, Values)> {
        (self.0)()
    }
}
