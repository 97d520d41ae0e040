//! The file of the configuration, as values for options.
//!
//! It is TOML. A key is an option's name; a table gives the options that take `NAME=VALUE` a key for each
//! name, as `[setting]` with `ttl = "30s"` does. A key that is no option is an error that names those it may
//! have meant: a setting that is silently not made is worse than a start that is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Arg, ArgAction};
use toml::{Table, Value};

use crate::policy_source::read_file;

/// Maximum size of the file, a bound on a wrong one.
const MAX_BYTES: usize = 256 * 1024;

/// The options that a file sets.
#[derive(Debug, Default)]
pub(super) struct FileValues {
    path: Option<PathBuf>,
    values: BTreeMap<String, Vec<String>>,
}

impl FileValues {
    /// Reads the file, none of which is no error.
    pub(super) fn read(path: Option<&Path>, options: &BTreeMap<String, Arg>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let shown = path.display();
        let bytes = read_file(path, MAX_BYTES)
            .with_context(|| format!("cannot read the configuration {shown}; --config names the file"))?;
        let text =
            String::from_utf8(bytes).with_context(|| format!("the configuration {shown} is no text"))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            // The whole error quotes the line, which may hold a password.
            let line = error.span().map_or(0, |span| text.get(..span.start).map_or(0, lines)) + 1;
            anyhow::anyhow!("the configuration {shown} is no TOML, line {line}: {}", error.message())
        })?;
        let values = table
            .iter()
            .map(|(name, value)| {
                let option = options.get(name).with_context(|| unknown(name, options))?;
                let values = texts(value, option)
                    .with_context(|| format!("the key {name:?} is {}", value.type_str()))?;
                Ok((name.clone(), values))
            })
            .collect::<anyhow::Result<_>>()
            .with_context(|| format!("the configuration {shown} cannot be used"))?;
        Ok(Self { path: Some(path.to_owned()), values })
    }

    /// Returns the values of an option, if the file sets it.
    pub(super) fn values(&self, name: &str) -> Option<&[String]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// Returns the path of the file, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Returns the texts that the command line would have for a value.
fn texts(value: &Value, option: &Arg) -> anyhow::Result<Vec<String>> {
    let is_list = matches!(option.get_action(), ArgAction::Append);
    match value {
        Value::Array(values) if is_list => {
            values.iter().map(|value| text(value).context("expected a list of texts")).collect()
        }
        Value::Table(pairs) if is_list => pairs
            .iter()
            .map(|(name, value)| {
                let value = text(value).with_context(|| format!("expected a text for {name:?}"))?;
                Ok(format!("{name}={value}"))
            })
            .collect(),
        Value::Array(_) => anyhow::bail!("expected one value"),
        Value::Table(_) => anyhow::bail!("expected one value, and no table"),
        value => Ok(vec![text(value).context("expected a text, a number, true or false")?]),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is_set) => Some(is_set.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// Returns the words for a key that is no option.
fn unknown(name: &str, options: &BTreeMap<String, Arg>) -> String {
    let close = |known: &&String| {
        let (known, name) = (known.replace('-', ""), name.replace(['-', '_'], "").to_lowercase());
        known == name || (name.len() > 3 && (known.contains(&name) || name.contains(&known)))
    };
    let near: Vec<&str> = options.keys().filter(close).map(String::as_str).collect();
    let hint = match near.as_slice() {
        [] => {
            "the options of `leasehold serve --help`, without the dashes before them, are the keys".to_owned()
        }
        near => format!("is {} meant?", near.join(" or ")),
    };
    format!("the key {name:?} is no option; {hint}")
}
