//! The arguments about logs: their form, and whether each request has a line.

use clap::{Args, ValueEnum};

/// How to log.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// The form of the lines on stderr; LEASEHOLD_LOG says which there are
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Log a line for each request: its method, route, status, duration, peer, request id and workspace
    #[arg(long)]
    pub access_log: bool,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Words for people
    #[default]
    Text,
    /// A JSON object for each line
    Json,
}
