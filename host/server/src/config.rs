//! The configuration: each option of `leasehold serve` from the command line, else from the environment, else
//! from a file, else its default.
//!
//! It knows no option by name: environment and file become defaults of clap's own definition, so that an
//! option which is added there can be set in all three ways, is checked in the same way and has the same
//! errors. The variable of `--admin-listen` is `LEASEHOLD_ADMIN_LISTEN`, its key in the file `admin-listen`.
//! The environment comes as a value and is not read here. A value may hold a password: errors show only those
//! that clap refuses, and everything that is shown goes through [`masked`](crate::values::masked).

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::OsStr;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use self::file::FileValues;
use crate::cli::{self, Cli};
use crate::commands::ConfigCommand;
use crate::options::{CONFIG, ConfigSource};
use crate::values::{ValueOrigin, Values};

/// File that is read without `--config`, if it is there.
const FILE: &str = "leasehold.toml";
/// Beginning of every variable.
const PREFIX: &str = "LEASEHOLD_";
/// Variables that belong to no option.
const OTHER_VARIABLES: [&str; 3] = ["LEASEHOLD_LOG", "LEASEHOLD_ADMIN_TOKEN", "LEASEHOLD_ADMIN_TOKEN_FILE"];

/// The command line and the environment, from which the configuration can be read again.
#[derive(Clone)]
pub struct Layers {
    words: Vec<OsString>,
    environment: BTreeMap<String, String>,
}

/// It holds passwords and tokens.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

impl Layers {
    /// Makes the layers from the words of the command line, the program's name first, and from the variables
    /// of the environment.
    pub fn new(
        words: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let ours = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
        Self { words: words.into_iter().collect(), environment: ours.collect() }
    }
}

/// A command line with its configuration.
#[derive(Debug)]
pub struct Configured {
    /// What was asked of the binary.
    pub cli: Cli,
    /// The value of each option, and where it comes from; none for a command without a configuration.
    pub(crate) values: Values,
    /// Variables whose names begin as ours do and are none of ours.
    pub unknown: Vec<String>,
}

/// Reason why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line, in clap's words, or the help that it asked for.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The environment or the file.
    #[error(transparent)]
    Layer(#[from] anyhow::Error),
}

impl Configured {
    /// Runs `leasehold config`.
    ///
    /// # Errors
    ///
    /// The option that cannot be used, in words.
    pub fn run(&self, command: &ConfigCommand) -> anyhow::Result<()> {
        command.run(&self.values, &self.unknown)
    }

    /// Reads the command line, with what it leaves open from the environment and the file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the option, where its value comes from, and what was expected.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let bare = definition();
        let options = serve_options(&bare);
        let matches = bare.clone().try_get_matches_from(&layers.words)?;
        let path = path_of(&matches);
        let Some(given) = config_of(&matches) else {
            let cli = Cli::from_arg_matches(&matches)?;
            return Ok(Self { cli, values: Values::default(), unknown: Vec::new() });
        };
        let file = FileValues::read(file_of(layers, given.as_deref())?.as_deref(), &options)?;
        let below = Below { layers, file };
        let command = under(bare, &path, |command| below.as_defaults(command, &options))?;
        let matches = command.clone().try_get_matches_from(&layers.words)?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        let values = Values::of(&command, &matches, &path, |name| below.origin(name));
        if let cli::Command::Serve(serve) = &mut cli.command {
            serve.reread = Some(reread(layers.clone()));
            serve.values = values.clone();
        }
        let known: BTreeSet<String> = options.keys().map(|name| variable(name)).collect();
        let is_known = |name: &str| known.contains(name) || OTHER_VARIABLES.contains(&name);
        let unknown = layers.environment.keys().filter(|name| !is_known(name)).cloned().collect();
        Ok(Self { cli, values, unknown })
    }
}

/// Returns the way to read the options of `leasehold serve` again.
fn reread(layers: Layers) -> ConfigSource {
    ConfigSource::new(move || {
        let configured = Configured::read(&layers).map_err(anyhow::Error::new)?;
        match configured.cli.command {
            cli::Command::Serve(serve) => Ok((*serve, configured.values)),
            _ => anyhow::bail!("it is another command"),
        }
    })
}

/// The layers below the command line.
struct Below<'a> {
    layers: &'a Layers,
    file: FileValues,
}

impl Below<'_> {
    /// Gives the options of a command the values of the environment and the file as their defaults.
    fn as_defaults(&self, command: Command, options: &BTreeMap<String, Arg>) -> anyhow::Result<Command> {
        let names: Vec<String> = command
            .get_arguments()
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .filter(|name| name != CONFIG && options.contains_key(name))
            .collect();
        names.into_iter().try_fold(command, |command, name| {
            let Some(option) = options.get(&name) else { return Ok(command) };
            let origin = self.origin(&name);
            let values: Vec<String> = match &origin {
                ValueOrigin::Environment(variable) => {
                    self.layers.environment.get(variable).map(|text| listed(text, option)).unwrap_or_default()
                }
                ValueOrigin::File(_) => self.file.values(&name).map(<[String]>::to_vec).unwrap_or_default(),
                ValueOrigin::CommandLine | ValueOrigin::Default => return Ok(command),
            };
            check(option, &name, &values).with_context(|| format!("{origin}: {name} cannot be used"))?;
            if values.is_empty() {
                return Ok(command);
            }
            let id = option.get_id().to_string();
            Ok(command.mut_arg(id, |arg| arg.default_values(values.into_iter().map(OsStr::from))))
        })
    }

    /// Returns where a value comes from that the command line does not give.
    fn origin(&self, name: &str) -> ValueOrigin {
        let variable = variable(name);
        if self.layers.environment.contains_key(&variable) {
            ValueOrigin::Environment(variable)
        } else if let (Some(_), Some(path)) = (self.file.values(name), self.file.path()) {
            ValueOrigin::File(path.to_owned())
        } else {
            ValueOrigin::Default
        }
    }
}

/// Returns the file that is to be read, if there is one.
fn file_of(layers: &Layers, given: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let variable = layers.environment.get(&variable(CONFIG)).map(PathBuf::from);
    match given.map(Path::to_owned).or(variable) {
        Some(path) => Ok(Some(path)),
        None if std::fs::exists(FILE).with_context(|| format!("cannot look for {FILE}"))? => {
            Ok(Some(PathBuf::from(FILE)))
        }
        None => Ok(None),
    }
}

/// Makes a flag an option that takes `true` or `false` as well, so that a layer above can take back what one
/// below has set.
fn settable(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_name("true|false")
}

/// Returns the options of `leasehold serve` by their names.
fn serve_options(command: &Command) -> BTreeMap<String, Arg> {
    let serve = command.find_subcommand("serve");
    serve
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.clone())))
        .collect()
}

/// Returns the names of the subcommands that were given.
fn path_of(matches: &ArgMatches) -> Vec<String> {
    let mut path = Vec::new();
    let mut matches = matches;
    while let Some((name, below)) = matches.subcommand() {
        path.push(name.to_owned());
        matches = below;
    }
    path
}

/// Returns what `--config` gives, or `None` for a command without that option.
fn config_of(matches: &ArgMatches) -> Option<Option<PathBuf>> {
    let mut matches = matches;
    while let Some((_, below)) = matches.subcommand() {
        matches = below;
    }
    Some(matches.try_get_one::<PathBuf>(CONFIG).ok()?.cloned())
}

/// Changes the subcommand at a path.
fn under(
    command: Command,
    path: &[String],
    change: impl FnOnce(Command) -> anyhow::Result<Command>,
) -> anyhow::Result<Command> {
    let Some((name, below)) = path.split_first() else { return change(command) };
    let mut changed = Ok(());
    let command = command.mut_subcommand(name, |subcommand| {
        let untouched = subcommand.clone();
        under(subcommand, below, change).unwrap_or_else(|error| {
            changed = Err(error);
            untouched
        })
    });
    changed.map(|()| command)
}

/// Returns the values of a variable: for an option that may be given more than once each between two commas,
/// or each line of several.
fn listed(text: &str, option: &Arg) -> Vec<String> {
    if !matches!(option.get_action(), ArgAction::Append) {
        return vec![text.to_owned()];
    }
    let separator = if text.contains('\n') { '\n' } else { ',' };
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Checks values as clap would on the command line.
fn check(option: &Arg, name: &str, values: &[String]) -> anyhow::Result<()> {
    let bare = Command::new("leasehold").no_binary_name(true).arg(option.clone().required(false));
    let words = values.iter().map(|value| format!("--{name}={value}"));
    match bare.try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            anyhow::bail!("{}", first.trim_start_matches("error: "))
        }
    }
}

/// Returns the name of an option's variable.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Returns clap's definition of the binary with options that every layer can set.
fn definition() -> Command {
    Cli::command().mut_subcommand("serve", |serve| serve.mut_args(settable))
}

#[cfg(test)]
mod tests;
