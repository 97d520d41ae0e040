//! The command line as types. It says what can be asked; what is asked is checked where it is used.
//!
//! Only clap's own checks end with its exit code 2. Everything else is a start-up failure like any other.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands::{Backup, DatabaseCommand, MigrateDatabase, Restore};
use crate::policy::Expectation;
use crate::tokens;

/// The database where none is named.
pub(crate) const DATABASE: &str = "sqlite://leasehold.db?mode=rwc";

/// What was asked of the binary.
#[derive(Debug, Parser)]
#[command(
    name = "leasehold",
    version,
    about = "Serves heartbeats from a cache of per-workspace secrets whose policy is a WebAssembly component",
    after_help = "Logs go to stderr. LEASEHOLD_LOG filters them: a level (error, warn, info, debug, trace) or targets \
                  with levels, such as leasehold=debug,sqlx=warn. The default is info."
)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server until SIGTERM or Ctrl-C; a second one ends it at once
    #[command(after_help = "\
The admin token comes from LEASEHOLD_ADMIN_TOKEN. Where that is not set, it is read from the file
leasehold.admin-token in the working directory, which is made on the first start.")]
    Serve(Serve),

    /// Write policies, look at them, and change the one of a running server
    Policy {
        /// The subcommand.
        #[command(subcommand)]
        command: PolicyCommand,
    },

    /// Make the tables that the server needs, and nothing where they are there
    Migrate(MigrateDatabase),

    /// Look at a database, and change nothing
    Database {
        /// The subcommand.
        #[command(subcommand)]
        command: DatabaseCommand,
    },

    /// Copy the SQLite database to a file, beside a server that goes on
    Backup(Backup),

    /// Put a backup in the place of the SQLite database, while no server has it open
    Restore(Restore),

    /// Measure a hit, a miss and a heartbeat on this machine, and print a table in Markdown
    #[command(after_help = "\
It measures with a SQLite file of its own in a temporary folder and a server of its own on loopback, and touches
nothing else.")]
    Bench(Bench),
}

/// How to measure.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// How long to measure in all; the shorter, the less the numbers are worth
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

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

    /// The policy SDK, the folder guest/sdk of Leasehold's sources; else it is looked for upwards from the working
    /// directory and from this program
    #[arg(long, value_name = "PATH")]
    pub sdk: Option<PathBuf>,
}

/// Which server to talk to.
#[derive(Clone, Debug, Args)]
pub struct RemoteServer {
    /// The server; its admin token comes from LEASEHOLD_ADMIN_TOKEN or from leasehold.admin-token in the working directory
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,

    /// Who is doing this, for the record of changes
    #[arg(long = "as", value_name = "NAME")]
    pub operator: Option<String>,
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

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where to listen for HTTP; port 0 takes a free one, and the line on stdout says which
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// sqlite://FILE?mode=rwc, or postgres://USER@HOST:PORT/NAME with the password in PGPASSWORD or ~/.pgpass
    #[arg(long, value_name = "URL", default_value = DATABASE)]
    pub database: String,

    /// Change no schema: say what is missing where it is not up to date; `leasehold migrate` makes it
    #[arg(long)]
    pub no_migrate: bool,

    /// The policy of the secrets' cache
    #[arg(long, value_name = "NAME|FILE", default_value = "ttl", help = policy_help())]
    pub policy: String,

    /// A setting for the policy, such as ttl=30s; may be given once for each setting
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// The policy of the tokens' cache, a bundled one by name; it is never swapped
    #[arg(long, value_name = "NAME", default_value = tokens::POLICY)]
    pub token_policy: String,

    /// A setting for the tokens' policy, such as stale=15m (default 55m): how long tokens outlast a database
    /// that is down
    #[arg(long = "token-setting", value_name = "NAME=VALUE")]
    pub token_settings: Vec<String>,

    /// Apply the policy file whenever it changes; SIGHUP applies what --policy names in any case
    #[arg(long)]
    pub watch_policy: bool,

    /// Where the active policy, those to go back to and the record of changes are kept from one run to the next
    #[arg(long, value_name = "DIR", default_value = "leasehold.state")]
    pub state_dir: PathBuf,

    /// How long a policy is on probation after a swap, such as 5m; 0s for not at all
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = span)]
    pub probation: Duration,

    /// At which failed call a policy on probation is replaced by the last good one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub probation_faults: u32,

    /// The mean processor time of a call at which a policy on probation is replaced
    #[arg(long, value_name = "SPAN", default_value = "2ms", value_parser = span)]
    pub probation_call_time: Duration,

    /// How many times the SELECTs per second of the policy before a policy on probation may send [default: no limit]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub probation_loads: Option<f64>,
    /// Take policies that are signed by this key only, besides the bundled ones; may be given for each of several keys
    #[arg(long = "trusted-key", value_name = "BASE64")]
    pub trusted_keys: Vec<String>,

    /// Refuse signed policies of a lower revision than this; the highest that was active is remembered in any case
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub revision_floor: u64,

    /// Take the component with this digest only, besides the bundled ones; may be given for each of several
    #[arg(long = "pin-digest", value_name = "SHA256")]
    pub pinned_digests: Vec<String>,

    /// Run policies by an interpreter in place of machine code; chosen by itself where the system forbids
    /// executable memory
    #[arg(long)]
    pub interpreter: bool,

    /// Keep compiled policies here between starts; what is in it is run, so nobody else may write to it
    #[arg(long, value_name = "DIR")]
    pub compile_cache: Option<PathBuf>,
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as 2ms, 30s, 5m or 0s".to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio > 0.0);
    ratio.ok_or_else(|| "expected a number above zero, such as 3 or 1.5".to_owned())
}

fn policy_help() -> String {
    format!(
        "The policy of the secrets' cache: a bundled one by name ({}), or a component file",
        bundled_names()
    )
}

/// The names that `--policy` knows, for help and errors.
pub(crate) fn bundled_names() -> String {
    leasehold_policies::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_nothing_wrong_with_the_command_line() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_local_and_embedded() {
        let Command::Serve(serve) = Cli::try_parse_from(["leasehold", "serve"]).unwrap().command else {
            panic!("it is another command");
        };
        assert_eq!(serve.listen, "127.0.0.1:8080");
        assert_eq!(serve.database, "sqlite://leasehold.db?mode=rwc");
        assert_eq!((serve.policy.as_str(), serve.settings.len()), ("ttl", 0));
    }
}
