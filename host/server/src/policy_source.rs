//! A policy as the command line names it: a bundled one or a file, with the settings for it.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use leasehold::Policy;

/// Maximum size of a component that is read. It is the library's own bound, so that a larger file is refused
/// there, with the library's words, after one byte too many.
pub(crate) const MAX_COMPONENT_BYTES: usize = 4 * 1024 * 1024;

/// Maximum size of a file with a signature or a key: both are one line.
pub(crate) const MAX_LINE_BYTES: usize = 4096;

/// Returns the policy that `--policy` and `--setting` name.
pub(crate) fn choose(name_or_file: &str, settings: &[String]) -> anyhow::Result<Policy> {
    let policy = match leasehold_policies::ALL.iter().find(|(name, _)| *name == name_or_file) {
        Some((_, component)) => Policy::from_bytes(*component),
        None => from_file(name_or_file)?,
    };
    with_settings(policy, "--setting", settings)
}

/// Returns the policy with the settings that were given by an option of this name, once for each setting.
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

/// Returns whether it is the name of a bundled policy, and so no file.
pub(crate) fn is_bundled(name_or_file: &str) -> bool {
    leasehold_policies::ALL.iter().any(|(name, _)| *name == name_or_file)
}

pub(crate) fn split(setting: &str) -> Option<(&str, &str)> {
    setting.split_once('=').filter(|(name, _)| !name.is_empty())
}

/// Reads a component, with the signature beside it if there is one.
fn from_file(path: &str) -> anyhow::Result<Policy> {
    let component = read_file(path, MAX_COMPONENT_BYTES).with_context(|| {
        let known = bundled_names();
        format!("cannot read the policy {path:?}; expected a bundled policy ({known}) or a component file")
    })?;
    let policy = Policy::from_bytes(component);
    let beside = signature_file(path);
    if !std::fs::exists(&beside).unwrap_or(true) {
        return Ok(policy);
    }
    let cannot_read = || format!("cannot read the signature {}", beside.display());
    let signature = read_file(&beside, MAX_LINE_BYTES).with_context(cannot_read)?;
    let signature = String::from_utf8(signature).with_context(cannot_read)?;
    anyhow::ensure!(
        !signature.trim_end().chars().any(char::is_control),
        "the signature {} has more than one line; expected the one that `leasehold policy sign` wrote",
        beside.display()
    );
    Ok(policy.signed(signature))
}

/// Reads a regular file of at most `bytes_max` bytes.
pub(crate) fn read_file(path: impl AsRef<Path>, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    // Before it is opened: opening a pipe waits for a writer that may never come.
    let metadata = std::fs::metadata(&path)?;
    anyhow::ensure!(metadata.is_file(), "it is not a regular file");
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    // It may be growing.
    let length = metadata.len().max(bytes.len() as u64);
    anyhow::ensure!(bytes.len() <= bytes_max, "it has {length} bytes; expected {bytes_max} at most");
    Ok(bytes)
}

/// Returns the path of a component's signature, which is beside it.
pub(crate) fn signature_file(component: impl AsRef<Path>) -> PathBuf {
    let mut name = OsString::from(component.as_ref());
    name.push(".sig");
    name.into()
}

/// Returns the names that `--policy` knows, for help and errors.
pub(crate) fn bundled_names() -> String {
    leasehold_policies::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
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
