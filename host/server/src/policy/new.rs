//! `leasehold policy new`: a folder with everything that an author's own policy needs, and not one file
//! replaced.
//!
//! The text is in `template/`. Only the manifest and the README hold anything that depends on where and under
//! which name the project is written. This file knows nothing of the server, and reads neither the
//! environment nor the working directory: the caller gives the paths from which the SDK may be looked for.
//! Everything is checked before the first file is written.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::arguments::NewPolicy;

/// Folder of the SDK in Leasehold's sources, and a line of its manifest.
const SDK: &str = "guest/sdk";
const SDK_NAME: &str = "name = \"leasehold-policy\"";

/// The path of each file in the project, and its text. `{name}` is the crate, `{artifact}` its component's
/// file name without the ending, `{sdk}` the path of the SDK for TOML.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../template/manifest.toml")),
    ("src/lib.rs", include_str!("../template/lib.rs")),
    ("src/tests.rs", include_str!("../template/tests.rs")),
    ("README.md", include_str!("../template/README.md")),
    (".gitignore", include_str!("../template/gitignore")),
    // The toolchain that Leasehold itself is built with: a policy needs no other, and the two must not drift
    // apart.
    ("rust-toolchain.toml", include_str!("../../../../rust-toolchain.toml")),
];

/// Maximum length of a name. A policy's own name has the same bound.
const MAX_NAME_BYTES: usize = 64;

/// Names that a crate cannot have, or not with this dependency: Rust's keywords, crates and folders that are
/// always there, and the SDK's own.
const TAKEN: &str = "abstract alloc as async await become box break build const continue core crate deps do \
    dyn else enum examples extern false final fn for gen if impl in incremental leasehold-policy let loop \
    macro match mod move mut override priv proc-macro pub ref return self static std struct super test trait \
    true try type typeof unsafe unsized use virtual where while yield";

/// Writes the project, and returns what to do next.
///
/// # Errors
///
/// If the folder is there and not empty, or its name is not one for a crate, or there is no SDK, or a file
/// cannot be written. Nothing that was there before has been changed then.
pub(super) fn write<'a>(new: &NewPolicy, around: impl Iterator<Item = &'a Path>) -> anyhow::Result<String> {
    let folder = &new.folder;
    let name = crate_name(folder)?;
    let sdk = match &new.sdk {
        Some(sdk) => given(sdk)?,
        None => find(around).with_context(|| {
            format!(
                "cannot find the policy SDK: no {SDK} above the working directory or this program; pass \
                 --sdk PATH, the folder {SDK} of Leasehold's sources"
            )
        })?,
    };
    let sdk = toml_string(&sdk)?;
    ensure_empty(folder)?;
    let cannot_write = || format!("cannot write the policy to {}", folder.display());
    fs::create_dir_all(folder.join("src")).with_context(cannot_write)?;
    let artifact = name.replace('-', "_");
    for (path, text) in FILES {
        let text = text.replace("{name}", name).replace("{artifact}", &artifact).replace("{sdk}", &sdk);
        // Not even a file that appeared a moment ago is replaced.
        let file = fs::File::create_new(folder.join(path));
        file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(cannot_write)?;
    }
    Ok(format!(
        "wrote the policy {name} to {0}; next: cd {0} && cargo test, and README.md says how to go on",
        folder.display()
    ))
}

/// Returns the crate's name: that of the folder.
fn crate_name(folder: &Path) -> anyhow::Result<&str> {
    let Some(name) = folder.file_name() else {
        bail!(
            "{} names no folder to make; expected a path that ends in a name, such as my-policy",
            folder.display()
        );
    };
    let shown = name.to_string_lossy();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match name.to_str() {
        Some(name)
            if name.len() <= MAX_NAME_BYTES
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(good)
                && !is_taken(name) =>
        {
            Ok(name)
        }
        _ => bail!(
            "the folder's name {shown:?} cannot be a crate's; expected a-z, then a-z, 0-9, '-' or '_', \
             {MAX_NAME_BYTES} at most, and no word that Rust or Cargo uses itself: {:?} would do",
            suggestion(&shown)
        ),
    }
}

fn is_taken(name: &str) -> bool {
    let name = name.replace('_', "-");
    TAKEN.split_whitespace().any(|taken| taken == name)
}

/// Returns a name like this one that would do.
fn suggestion(name: &str) -> String {
    let dashed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(dashed).take(MAX_NAME_BYTES / 2).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    match name.chars().next() {
        None => "my-policy".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("policy-{name}"),
        Some(_) if is_taken(name) => format!("my-{name}"),
        Some(_) => name.to_owned(),
    }
}

/// Returns the SDK of the command line.
fn given(sdk: &Path) -> anyhow::Result<PathBuf> {
    ensure!(
        is_sdk(sdk),
        "--sdk {} is not the policy SDK; expected the folder {SDK} of Leasehold's sources, whose Cargo.toml \
         has the line {SDK_NAME}",
        sdk.display()
    );
    fs::canonicalize(sdk).with_context(|| format!("cannot find --sdk {}", sdk.display()))
}

/// Returns the SDK that is nearest above one of these paths.
fn find<'a>(mut around: impl Iterator<Item = &'a Path>) -> Option<PathBuf> {
    let sdk =
        around.find_map(|path| path.ancestors().map(|above| above.join(SDK)).find(|sdk| is_sdk(sdk)))?;
    fs::canonicalize(sdk).ok()
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    manifest.is_ok_and(|manifest| manifest.lines().any(|line| line == SDK_NAME))
}

fn ensure_empty(folder: &Path) -> anyhow::Result<()> {
    // A broken link is something that is there, too.
    if fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder)
        .with_context(|| format!("{} is there and cannot be read as a folder", folder.display()))?;
    ensure!(
        entries.next().is_none(),
        "{} is there and not empty; nothing was written: name a folder that is new or empty",
        folder.display()
    );
    Ok(())
}

/// Returns a path as the inside of a string of TOML.
fn toml_string(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text
        .with_context(|| format!("the SDK's path {path:?} is not printable text, as Cargo.toml needs it"))?;
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
