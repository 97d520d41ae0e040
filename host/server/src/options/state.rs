//! The argument about the folder of the state that another server may still use.

use std::time::Duration;

use clap::Args;

/// How to wait for the folder.
#[derive(Clone, Debug, Args)]
pub struct StateOptions {
    /// How long to wait at the start for another server to let go of --state-dir, such as 30s in a rolling
    /// update
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = super::span)]
    pub state_lock_wait: Duration,
}
