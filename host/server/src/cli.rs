//! The command line as types. They define what can be requested; the values are checked where they are used.
//!
//! Only clap's own checks end with its exit code 2. Everything else is a start-up failure like any other.

use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::commands::{AdminTokenCommand, Backup, ConfigCommand, DatabaseCommand, MigrateDatabase, Restore};
use crate::options::Serve;
use crate::policy::PolicyCommand;
use crate::workspace::WorkspaceCommand;

/// What was asked of the binary.
#[derive(Debug, Parser)]
#[command(
    name = "leasehold",
    version,
    about = "Serves heartbeats from a cache of per-workspace secrets whose policy is a WebAssembly component",
    after_help = "Logs go to stderr. LEASEHOLD_LOG filters them: a level (error, warn, info, debug, trace) \
                  or targets with levels, such as leasehold=debug,sqlx=warn. The default is info, \
                  and errors of the driver's pool."
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
The token of the credential `admin` comes from LEASEHOLD_ADMIN_TOKEN, or from the file that
LEASEHOLD_ADMIN_TOKEN_FILE or --admin-token-file names. Where neither is set, it is read from the file
leasehold.admin-token in the working directory, which is made on the first start.

Each option has a variable of the environment, LEASEHOLD_ADMIN_LISTEN for --admin-listen, and a key in the
file of --config, admin-listen = \"...\". The command line comes before the environment, and that before the
file. SIGHUP reads the file again.")]
    Serve(Box<Serve>),

    /// Look at the configuration of `leasehold serve`, and start nothing
    Config {
        /// The subcommand.
        #[command(subcommand)]
        command: ConfigCommand,
    },

    /// Write policies, look at them, and change the one of a running server
    Policy {
        /// The subcommand.
        #[command(subcommand)]
        command: PolicyCommand,
    },

    /// Look at the workspaces of a running server, make and remove them, and see to their secrets and tokens
    Workspace {
        /// The subcommand.
        #[command(subcommand)]
        command: WorkspaceCommand,
    },

    /// Make tokens for more admin credentials
    AdminToken {
        /// The subcommand.
        #[command(subcommand)]
        command: AdminTokenCommand,
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
It measures with a SQLite file of its own in a temporary folder and a server of its own on loopback, and \
touches
nothing else.")]
    Bench(Bench),
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
