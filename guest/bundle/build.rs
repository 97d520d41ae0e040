//! Compiles every shipped policy to a component in OUT_DIR.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

const POLICIES: [&str; 5] = ["ttl", "resilient", "watched", "negative", "passthrough"];

fn main() -> Result<()> {
    let guest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["sdk/src", "sdk/Cargo.toml", "../wit", "../Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", guest.join(watched).display());
    }
    for policy in POLICIES {
        let source = guest.join(policy);
        println!("cargo::rerun-if-changed={}", source.display());
        let component = leasehold_compile::component(&source)?;
        fs::copy(&component, out.join(format!("{policy}.wasm")))
            .with_context(|| format!("copying {}", component.display()))?;
    }
    Ok(())
}
