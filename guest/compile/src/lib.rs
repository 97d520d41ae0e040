//! Compiles a policy to a component from a build script, with a nested cargo.
//!
//! For build scripts only. The nested build has a target folder of its own below `OUT_DIR`, so that it never
//! waits for the lock of the outer build, and inherits nothing that was meant for the outer build's own
//! compiler.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const TARGET: &str = "wasm32-wasip2";
/// The profile of the workspace that makes a policy one small file.
const PROFILE: &str = "policy";

/// Variables that the outer build sets for its own compiler: clippy's wrapper, flags, profiles, target
/// folders.
const INHERITED: [&str; 5] = ["RUSTC", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC"];
const INHERITED_PREFIXES: [&str; 4] = ["CARGO_ENCODED_", "CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_"];

/// Compiles the package in `source` and returns the path of its component.
///
/// # Errors
///
/// If the target cannot be had, or the package does not compile; the compiler's own message goes to standard
/// error.
pub fn component(source: &Path) -> Result<PathBuf> {
    ensure_target()?;
    let target_dir = PathBuf::from(env::var("OUT_DIR")?).join("guests");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["rustc", "--quiet", "--locked", "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--profile", PROFILE, "--target", TARGET]).arg("--target-dir").arg(&target_dir);
    cargo.arg("--manifest-path").arg(source.join("Cargo.toml"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if INHERITED.contains(&&*name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo.status().context("running cargo for a policy")?;
    ensure!(
        status.success(),
        "{} does not build for {TARGET}; the compiler's message is above",
        source.display()
    );
    let built = target_dir.join(TARGET).join(PROFILE);
    Ok(built.join(format!("{}.wasm", library_name(source)?)))
}

/// Returns the name of the library that cargo makes of a package: its own, with underscores.
fn library_name(source: &Path) -> Result<String> {
    let path = source.join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let name = name.with_context(|| format!("{} has no line: name = \"..\"", path.display()))?;
    Ok(name.replace('-', "_"))
}

/// Makes sure that the toolchain has the target. `rust-toolchain.toml` names the target, so rustup fetches it
/// with the toolchain. Where rustup was configured not to install anything by itself, or the toolchain was
/// there before, it is fetched here: a plain `cargo build` is to be enough.
fn ensure_target() -> Result<()> {
    let rustc = env::var("RUSTC")?;
    let printed = Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let printed = printed.with_context(|| format!("running {rustc}"))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim());
    if libdir.is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    if !added.is_ok_and(|status| status.success()) || !libdir.is_dir() {
        bail!(
            "the policies are compiled to {TARGET}, and this Rust toolchain lacks it ({} does not exist). \
             Run `rustup target add {TARGET}`, or install the target with the toolchain, and build again.",
            libdir.display()
        );
    }
    Ok(())
}
