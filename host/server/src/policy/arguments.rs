//! The arguments of `leasehold policy`. Their values are checked where they are used.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::expect::Expectation;
use crate::client::RemoteServer;

/// The subcommands of `leasehold policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Begin a policy: write a project that builds to a component, with tests that need no server
    New(NewPolicy),
    /// Rehearse a policy, and print what was found
    Card(Card),
    /// Rehearse the bundled policies, and print what was found as a table in Markdown
    Cards,
    /// Rehearse a policy, and hold what was found against what is expected; ends with 1 where it differs
    #[command(after_help = Expectation::HELP)]
    Check(Check),
    /// Make a key to sign policies with, and print its public half, which is for --trusted-key
    Keygen {
        /// Where to keep the secret half, readable by its owner only; a file that is there is left alone
        #[arg(value_name = "KEYFILE")]
        file: PathBuf,
    },
    /// Sign a component: the signature goes to the file of the same name with .sig behind it
    Sign {
        /// The component
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The secret key, as `leasehold policy keygen` made it
        #[arg(long, value_name = "KEYFILE")]
        key: PathBuf,
        /// Counts up: a server refuses a revision that is older than one that was active
        #[arg(long, value_name = "N")]
        revision: u64,
    },
    /// Make a policy active in a running server, without a pause
    Apply(ApplyPolicy),
    /// Go back to the policy that was active before
    Rollback(RemoteServer),
    /// Say which policy is active, and how it came to be
    Status(StatusOfPolicy),
}

/// Where to begin a policy.
#[derive(Clone, Debug, Args)]
pub struct NewPolicy {
    /// The folder to make; its name becomes the policy's
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// The policy SDK, the folder guest/sdk of Leasehold's sources; else it is looked for upwards from the
    /// working directory and from this program
    #[arg(long, value_name = "PATH")]
    pub sdk: Option<PathBuf>,
}

/// What to make active.
#[derive(Clone, Debug, Args)]
pub struct ApplyPolicy {
    /// A bundled policy by name, or a component file; without it the active one gets the settings
    #[arg(value_name = "NAME|FILE", required_unless_present = "settings")]
    pub policy: Option<String>,

    /// A setting for the policy, such as ttl=30s; may be given once for each setting
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// Allow a signed revision that is older than one that was active
    #[arg(long)]
    pub force: bool,

    /// Print the server's answer as it is
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// What to show.
#[derive(Clone, Debug, Args)]
pub struct StatusOfPolicy {
    /// Print the server's answer as it is
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// A policy that is to be rehearsed.
#[derive(Clone, Debug, Args)]
pub struct Candidate {
    /// A bundled policy by name, or a component file
    #[arg(value_name = "NAME|FILE")]
    pub policy: String,

    /// A setting for the policy, such as ttl=30s; may be given once for each setting
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
}

/// What to print of a rehearsal.
#[derive(Clone, Debug, Args)]
pub struct Card {
    /// The policy.
    #[command(flatten)]
    pub candidate: Candidate,

    /// Print JSON, as GET /admin/policy has it under "card"
    #[arg(long)]
    pub json: bool,
}

/// What to expect of a rehearsal.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The policy.
    #[command(flatten)]
    pub candidate: Candidate,

    /// What is expected, such as 'fresh<=10m'; may be given more than once
    #[arg(long = "expect", value_name = "EXPR", required = true)]
    pub expectations: Vec<Expectation>,
}
