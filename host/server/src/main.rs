//! The binary `leasehold`: reads the command line and the environment, and hands both on as values.
//!
//! It is the only place that touches the environment, the process's file mode mask or its exit code.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

use std::ffi::OsStr;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use leasehold_server::{
    AdminVariables, Command, CommandOutcome, ConfigError, Configured, Inherited, Layers, LogFormat,
    PolicyCommand, Serve, Server, password_on_command_line, signals,
};
use rustix::fs::Mode;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The allocator: it gives the memory of replaced and removed secrets back to the system within seconds.
#[cfg(all(target_os = "linux", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Time for which the process waits for work on other threads, such as the compiling of a policy, before it
/// ends.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Default of LEASEHOLD_LOG: the driver has a line for each connection that a server takes down with it,
/// which is one cause and told once.
const DEFAULT_LOG: &str = "info,sqlx_core::pool=error";

fn main() -> ExitCode {
    let configured = match configured() {
        Ok(configured) => configured,
        // It may be the help that was asked for.
        Err(ConfigError::CommandLine(error)) => error.exit(),
        Err(ConfigError::Layer(error)) => return ended(Err(error)),
    };
    let serve = match configured.cli.command {
        Command::Serve(serve) => serve,
        Command::Config { ref command } => return ended(configured.run(command)),
        Command::Policy { command } => return policy(&command),
        Command::Bench(bench) => return ended(bench.run()),
        Command::Workspace { command } => {
            return ended(admin_variables().and_then(|variables| command.run(&variables)));
        }
        Command::AdminToken { command } => return ended(command.run()),
        Command::Migrate(migrate) => return ended(on_database(|| migrate.run())),
        Command::Database { command } => return ended(on_database(|| command.run())),
        Command::Backup(backup) => return ended(on_database(|| backup.run())),
        Command::Restore(restore) => return ended(on_database(|| restore.run())),
    };
    ended(run(*serve, &configured.unknown))
}

/// Reads the command line, the environment and the file of the configuration.
fn configured() -> Result<Configured, ConfigError> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read here and handed on")]
    let environment = std::env::vars_os();
    // A variable that is not text is none of ours, or is refused where it is read by its name.
    let environment =
        environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Configured::read(&Layers::new(std::env::args_os(), environment))
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs `leasehold policy`: a short life without logs.
fn policy(command: &PolicyCommand) -> ExitCode {
    match admin_variables().and_then(|variables| command.run(&variables)) {
        Ok(CommandOutcome::Done) => ExitCode::SUCCESS,
        Ok(CommandOutcome::Differs) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command on a database. The database file holds secrets: every file that is created is its owner's
/// alone.
fn on_database(command: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    log_to_stderr("warn", LogFormat::Text)?;
    warn_of_password();
    command()
}

fn run(mut serve: Serve, unknown: &[String]) -> anyhow::Result<()> {
    // It clears variables of the environment, which is safe while there is one thread.
    serve.inherited = Inherited::from_environment();
    // The database file holds secrets: every file that the server creates is its owner's alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    log_to_stderr(DEFAULT_LOG, serve.logs.log_format)?;
    warn_of_password();
    for variable in unknown {
        tracing::warn!(
            variable,
            "the variable is no option of this server; `leasehold config check` says more"
        );
    }
    let admin_token = admin_variables()?.token;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    let outcome = runtime.block_on(async {
        let (stop, abort) = signals().context("cannot listen for signals")?;
        let mut stop = pin!(stop);
        // A start may hang, for example in a database: a signal ends it.
        let server = tokio::select! {
            server = Server::start(&serve, admin_token, Path::new(".")) => server?,
            () = &mut stop => {
                tracing::info!("stopped before the server was ready");
                return Ok(());
            }
        };
        server.run(stop, abort).await;
        Ok(())
    });
    runtime.shutdown_timeout(LEFTOVERS);
    outcome
}

/// Warns of a password that every user of the machine can see.
fn warn_of_password() {
    if password_on_command_line(std::env::args_os()) {
        tracing::warn!(
            "the database's password is on the command line, where every user of this machine can see it; \
             put the URL into LEASEHOLD_DATABASE, or into a file with mode 0600 and say --database-file FILE"
        );
    }
}

fn log_to_stderr(default: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = variable("LEASEHOLD_LOG")?.unwrap_or_else(|| default.to_owned());
    let targets = targets(&filter).with_context(|| {
        format!(
            "LEASEHOLD_LOG is {filter:?}; expected a level such as info, or filters such as \
             leasehold=debug,sqlx=warn"
        )
    })?;
    let lines = tracing_subscriber::fmt::layer::<tracing_subscriber::Registry>()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // It would print to stderr that stderr cannot be written, and panic over that: in the middle of the
        // code that logged.
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    Ok(())
}

/// Reads a list of levels, and of targets with their levels. A word alone that is no level would be a target:
/// most likely one that does not exist, and a silent log.
fn targets(filter: &str) -> anyhow::Result<Targets> {
    for part in filter.split(',').filter(|part| !part.contains('=')) {
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        anyhow::ensure!(is_level, "{part:?} is no level");
    }
    Ok(filter.parse()?)
}

fn admin_variables() -> anyhow::Result<AdminVariables> {
    let (token, file) = (variable("LEASEHOLD_ADMIN_TOKEN")?, variable("LEASEHOLD_ADMIN_TOKEN_FILE")?);
    Ok(AdminVariables { token, file })
}

/// Returns a variable of the environment. A value that is not text is refused without showing it: it may be a
/// token.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read here and handed on")]
    match std::env::var_os(name).as_deref().map(OsStr::to_str) {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value.to_owned())),
        Some(None) => anyhow::bail!("{name} is not UTF-8 text"),
    }
}

/// Joins the error and its causes. A cause that its effect has quoted already is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}
