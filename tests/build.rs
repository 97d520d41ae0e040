//! Compiles the hostile policy to a component.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]

use std::env;
use std::path::PathBuf;

use anyhow::Result;

fn main() -> Result<()> {
    let tests = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    for watched in ["hostile", "../guest/sdk/src", "../wit", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", tests.join(watched).display());
    }
    let component = leasehold_compile::component(&tests.join("hostile"))?;
    println!("cargo::rustc-env=LEASEHOLD_HOSTILE={}", component.display());
    Ok(())
}
