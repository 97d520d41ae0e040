//! The values that the options have, and where each comes from: for `leasehold config show`, and to see what
//! has changed when the configuration is read again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueOrigin {
    CommandLine,
    /// The variable's name.
    Environment(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(variable) => f.write_str(variable),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Value of an option: none, one, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionValue {
    pub(crate) texts: Vec<String>,
    pub(crate) is_list: bool,
    pub(crate) origin: ValueOrigin,
}

/// The options of a command by their names.
#[derive(Clone, Default)]
pub(crate) struct Values(BTreeMap<String, OptionValue>);

/// It may hold a password.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Values {
    /// Collects the values of the command at `path`.
    pub(super) fn of(
        command: &Command,
        matches: &ArgMatches,
        path: &[String],
        below: impl Fn(&str) -> ValueOrigin,
    ) -> Self {
        let (mut command, mut matches) = (command, matches);
        for name in path {
            let (Some(next), Some(found)) = (command.find_subcommand(name), matches.subcommand_matches(name))
            else {
                return Self::default();
            };
            (command, matches) = (next, found);
        }
        let value = |arg: &clap::Arg| {
            let name = arg.get_long().filter(|name| !matches!(*name, "help" | "version"))?;
            let id = arg.get_id().as_str();
            let texts = matches.try_get_raw(id).ok()?;
            let texts = texts.into_iter().flatten().map(|text| text.to_string_lossy().into_owned()).collect();
            let is_list = matches!(arg.get_action(), clap::ArgAction::Append);
            let origin = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => ValueOrigin::CommandLine,
                _ => below(name),
            };
            Some((name.to_owned(), OptionValue { texts, is_list, origin }))
        };
        Self(command.get_arguments().filter_map(value).collect())
    }

    /// Returns the names of the options whose values differ.
    pub(crate) fn changed<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = &'a str> {
        let differs = |(name, value): &(&'a String, &'a OptionValue)| {
            self.0.get(*name).is_none_or(|before| before.texts != value.texts)
        };
        after.0.iter().filter(differs).map(|(name, _)| name.as_str())
    }

    /// Formats the values as a file that can be read again, with the source of each.
    pub(crate) fn toml(&self) -> String {
        let width = self.0.iter().filter_map(|(name, value)| value.line(name)).map(|line| line.len()).max();
        let width = width.unwrap_or(0).min(60);
        self.0.iter().fold(String::new(), |text, (name, value)| {
            let line = value.line(name).unwrap_or_else(|| format!("# {name}"));
            text + &format!("{line:width$}  # {}\n", value.origin)
        })
    }
}

impl OptionValue {
    /// Formats the value as a line of the file, if it has one.
    fn line(&self, name: &str) -> Option<String> {
        let quoted: Vec<String> =
            self.texts.iter().map(|text| toml::Value::String(masked(text)).to_string()).collect();
        match quoted.as_slice() {
            [] => None,
            [one] if !self.is_list => Some(format!("{name} = {one}")),
            several => Some(format!("{name} = [{}]", several.join(", "))),
        }
    }
}

/// Hides the password of a URL.
pub(crate) fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let before = match before.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => before.to_owned(),
        },
        None => before.to_owned(),
    };
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    let query = query.map(|query| query.split('&').map(hidden).collect::<Vec<_>>().join("&"));
    query.map_or_else(|| format!("{scheme}://{before}"), |query| format!("{scheme}://{before}?{query}"))
}
