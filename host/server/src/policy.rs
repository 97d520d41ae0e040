//! From what the operator wrote to a [`Policy`]: names, files and `NAME=VALUE`.
//!
//! It reads bytes and checks nothing in them: the library does, and says at which stage it refuses. `leasehold policy` is
//! here as well: what it prints and what it ends with, each subcommand in a file of its own.

mod card;
mod check;
mod client;
mod expect;
mod keys;
mod new;
mod trust;
pub(crate) mod watch;

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use leasehold::Policy;

use crate::cli::{PolicyCommand, bundled_names};
use crate::print::print;

pub(crate) use card::json;
pub use expect::Expectation;
pub(crate) use trust::TrustConfig;

/// The largest component that is read. The library's own bound, so that a larger file is refused there, with its words,
/// after one byte too many.
pub(crate) const COMPONENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The largest file that is read for a signature or a key: both are one line.
const LINE_BYTES_MAX: usize = 4096;

/// What became of a command that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to complain of.
    Done,
    /// Something is not as it was expected.
    Differs,
}

impl PolicyCommand {
    /// Does what was asked. `admin_token` is what the environment says, if anything.
    ///
    /// # Errors
    ///
    /// What kept it from being done, in words: a file that cannot be read, a policy that is refused.
    pub fn run(&self, admin_token: Option<String>) -> anyhow::Result<Outcome> {
        let said = match self {
            Self::Card(card) => return on_a_runtime(card::run(card)),
            Self::Cards => return on_a_runtime(card::print_all()),
            Self::Check(check) => return on_a_runtime(check::run(check)),
            Self::New(new) => new::write(new, around().iter().map(PathBuf::as_path))?,
            Self::Keygen { file } => keys::generate(file)?,
            Self::Sign { file, key, revision } => keys::sign(file, key, *revision)?,
            Self::Apply(apply) => client::apply(apply, admin_token)?,
            Self::Rollback(server) => client::rollback(server, admin_token)?,
            Self::Status(status) => client::status(status, admin_token)?,
        };
        print(&format!("{said}\n"))?;
        Ok(Outcome::Done)
    }
}

/// Where the SDK may be found from. Either may be unknown; then nothing is found from there.
fn around() -> Vec<PathBuf> {
    [std::env::current_dir(), std::env::current_exe()].into_iter().flatten().collect()
}

fn on_a_runtime(command: impl Future<Output = anyhow::Result<Outcome>>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(command)
}

/// The policy that `--policy` and `--setting` name.
pub(crate) fn choose(name_or_file: &str, settings: &[String]) -> anyhow::Result<Policy> {
    let policy = match leasehold_policies::ALL.iter().find(|(name, _)| *name == name_or_file) {
        Some((_, component)) => Policy::from_bytes(*component),
        None => from_file(name_or_file)?,
    };
    with_settings(policy, "--setting", settings)
}

/// The policy with what an option of this name was given, once for each setting.
pub(crate) fn with_settings(policy: Policy, option: &str, settings: &[String]) -> anyhow::Result<Policy> {
    let mut seen = Vec::with_capacity(settings.len());
    settings.iter().try_fold(policy, |policy, setting| {
        let (name, value) = split(setting).with_context(|| {
            format!("{option} {setting:?} is not a setting; expected NAME=VALUE, such as ttl=30s")
        })?;
        anyhow::ensure!(!seen.contains(&name), "{option} {name} is given twice; give each setting once");
        seen.push(name);
        anyhow::ensure!(
            !setting.chars().any(char::is_control),
            "{option} {setting:?} has control characters; expected text"
        );
        Ok(policy.setting(name, value))
    })
}

/// Whether it is the name of a bundled policy, and so no file.
pub(crate) fn is_bundled(name_or_file: &str) -> bool {
    leasehold_policies::ALL.iter().any(|(name, _)| *name == name_or_file)
}

fn split(setting: &str) -> Option<(&str, &str)> {
    setting.split_once('=').filter(|(name, _)| !name.is_empty())
}

/// A component, with the signature beside it if there is one.
fn from_file(path: &str) -> anyhow::Result<Policy> {
    let component = read_file(path, COMPONENT_BYTES_MAX).with_context(|| {
        let known = bundled_names();
        format!("cannot read the policy {path:?}; expected a bundled policy ({known}) or a component file")
    })?;
    let policy = Policy::from_bytes(component);
    let beside = keys::signature_file(path);
    if !std::fs::exists(&beside).unwrap_or(true) {
        return Ok(policy);
    }
    let cannot_read = || format!("cannot read the signature {}", beside.display());
    let signature = read_file(&beside, LINE_BYTES_MAX).with_context(cannot_read)?;
    let signature = String::from_utf8(signature).with_context(cannot_read)?;
    anyhow::ensure!(
        !signature.trim_end().chars().any(char::is_control),
        "the signature {} has more than one line; expected the one that `leasehold policy sign` wrote",
        beside.display()
    );
    Ok(policy.signed(signature))
}

/// A regular file of at most so many bytes.
pub(crate) fn read_file(path: impl AsRef<std::path::Path>, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    // Before it is opened: opening a pipe waits for a writer who may never come.
    let metadata = std::fs::metadata(&path)?;
    anyhow::ensure!(metadata.is_file(), "it is not a regular file");
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    // It may be growing.
    let length = metadata.len().max(bytes.len() as u64);
    anyhow::ensure!(bytes.len() <= bytes_max, "it has {length} bytes; expected {bytes_max} at most");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name_or_file: &str, settings: &[&str]) -> String {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        format!("{:#}", choose(name_or_file, &settings).unwrap_err())
    }

    #[test]
    fn a_bundled_policy_is_chosen_by_name_and_keeps_its_settings() {
        let policy = choose("ttl", &["ttl=30s".to_owned(), "jitter=a=b".to_owned()]).unwrap();
        assert_eq!(policy.digest(), Policy::from_bytes(leasehold_policies::TTL).digest());
        assert_eq!(policy.settings(), [("ttl".into(), "30s".into()), ("jitter".into(), "a=b".into())]);
    }

    #[test]
    fn a_setting_without_a_name_or_a_value_or_given_twice_is_refused() {
        assert!(refused("ttl", &["ttl"]).contains("expected NAME=VALUE"));
        assert!(refused("ttl", &["=30s"]).contains("expected NAME=VALUE"));
        assert!(refused("ttl", &["ttl=1s", "ttl=2s"]).contains("given twice"));
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_with_the_names_that_would_do() {
        let message = refused("no/such/policy.wasm", &[]);
        assert!(message.contains("no/such/policy.wasm") && message.contains("(ttl, resilient,"), "{message}");
        assert!(message.contains("No such file"), "{message}");
    }
}
