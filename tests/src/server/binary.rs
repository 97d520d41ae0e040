//! The binary `leasehold`, built once for each run of the tests.
//!
//! Cargo builds no other package's binaries for a test, so that the binary beside the tests may be old or
//! missing. The build is Cargo's own, in the same folder and the same profile; where nothing has changed it
//! takes a moment.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};

/// Returns the path of the binary, once it is up to date.
pub(super) fn built() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("building the server: {error}"))
}

/// Prefixes of the variables by which Cargo describes a test's package. Build scripts watch these names, and
/// a build that finds them set would compile half of the libraries again, as would the next one that does
/// not.
const PASSED_TO_TESTS: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"];

fn build() -> Result<PathBuf> {
    // The path is TARGET/PROFILE/deps/suite-HASH, or TARGET/PROFILE/benchmarks.
    let own = env::current_exe()?;
    let folder = own.parent().context("the tests are in no folder of Cargo's")?;
    let profile_folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let target_folder = profile_folder.parent().context("the tests are in no folder of Cargo's")?;
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => anyhow::bail!("the profile's folder has no name"),
    };
    // The tests' own package is built with it, for the same features: then the libraries that the tests are
    // linked with do as well.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if PASSED_TO_TESTS.iter().any(|passed| name.as_encoded_bytes().starts_with(passed.as_bytes())) {
            cargo.env_remove(name);
        }
    }
    let build = cargo
        .args(["build", "--locked", "--quiet", "--bin", "leasehold"])
        .args(["--package", "leasehold-server", "--package", "leasehold-tests", "--profile", profile])
        .arg("--target-dir")
        .arg(target_folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .context("running cargo")?;
    ensure!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    Ok(profile_folder.join("leasehold"))
}
