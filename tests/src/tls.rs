//! Certificates for `localhost`, each with its key, which sign themselves and are good for a hundred years;
//! and curl, a client that speaks TLS and HTTP/2.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Returns the path of a file beside this one: `one.pem`, `one.key.pem`, `other.pem` or `other.key.pem`.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tls").join(name)
}

/// Runs curl, and returns the version of HTTP, the status and the body, as `2 200 {..}`.
pub fn curl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"])
        .args(["--output", "-", "--write-out", "\n%{http_version} %{http_code}"])
        .args(arguments)
        .output()
        .context("starting curl; install it, and run this again")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let (body, status) = text.rsplit_once('\n').context("curl wrote nothing")?;
    Ok(format!("{status} {body}"))
}
