//! The licences of everything that is linked, held against `deny.toml`. cargo-deny does the same and more
//! where it is installed; this holds on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Returns the packages, by name, whose licence the list of `deny.toml` does not allow.
pub(super) fn refused(rules: &str, repository: &std::path::Path) -> Result<BTreeMap<String, String>> {
    let allowed = allowed(rules)?;
    // What only other systems link was perhaps never fetched.
    let compiler = Command::new("rustc").arg("-vV").output().context("rustc names its system")?;
    let compiler = String::from_utf8(compiler.stdout)?;
    let system = compiler.lines().find_map(|line| line.strip_prefix("host: ")).context("it has one")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository).args(["metadata", "--locked", "--all-features", "--format-version=1"]);
    let metadata = cargo.args(["--filter-platform", system]).output().context("cargo lists the packages")?;
    ensure!(metadata.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().context("it lists packages")?;
    ensure!(packages.len() > 100, "{} packages were listed", packages.len());
    let licences = packages.iter().map(|package| {
        let licence = package["license"].as_str().unwrap_or("none is stated");
        (package["name"].to_string(), licence.to_owned())
    });
    Ok(licences.filter(|(_, licence)| !is_allowed(licence, &allowed)).collect())
}

/// Returns the licences that may be linked.
fn allowed(rules: &str) -> Result<BTreeSet<&str>> {
    let list = rules.split_once("[licenses]\nallow = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.context("deny.toml has a list of licences")?;
    Ok(list.split('"').skip(1).step_by(2).collect())
}

/// Returns whether an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0` can be had with these. An
/// older form of `OR` is a slash.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    expression.split(" AND ").all(|part| {
        let mut choices = part.split(" OR ").flat_map(|choice| choice.split('/'));
        choices.any(|licence| allowed.contains(licence.trim_matches(['(', ')', ' '])))
    })
}

#[test]
fn a_licence_is_allowed_if_each_of_its_parts_has_a_choice_that_is() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Unicode-3.0"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/GPL-3.0", true),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("GPL-3.0-only", false),
        ("none is stated", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
