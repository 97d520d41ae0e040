//! The output of every subcommand.

use std::io::Write as _;

use anyhow::Context as _;

/// Writes to stdout. A closed stdout ends the command with an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}
