//! The files that a URL names for TLS: looked at before the driver does, which names none of them.

use std::fs::File;
use std::io::Read as _;

use super::refuse;
use crate::ConnectError;

/// Maximum size of such a file: more than any list of authorities.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Parameters that name a file, what is to be in it, and how that begins.
const FILES: [(&[&str], &str, &str); 3] = [
    (
        &["sslrootcert", "ssl-root-cert", "ssl-ca"],
        "the certificates of the authorities that are trusted, as PEM",
        "-----BEGIN CERTIFICATE-----",
    ),
    (&["sslcert", "ssl-cert"], "this client's certificate, as PEM", "-----BEGIN CERTIFICATE-----"),
    (&["sslkey", "ssl-key"], "the private key of this client's certificate, as PEM", "PRIVATE KEY-----"),
];

/// Checks the files that the parameters name, unless TLS is switched off.
pub(super) fn check(parameters: &[(String, String)]) -> Result<(), ConnectError> {
    let mode = parameters.iter().rev().find(|(name, _)| matches!(name.as_str(), "sslmode" | "ssl-mode"));
    if mode.is_some_and(|(_, mode)| matches!(mode.as_str(), "disable" | "allow")) {
        return Ok(());
    }
    for (name, path) in parameters {
        let kind = FILES.iter().find(|(names, ..)| names.contains(&name.as_str()));
        let Some((_, content, mark)) = kind else { continue };
        let expected = format!("expected a file that this user may read, with {content}");
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text));
        if let Err(error) = read {
            return Err(refuse(format!(
                "the file {path:?} of its parameter {name} cannot be read ({}); {expected}: put it there, \
                 or name another one",
                error.kind()
            )));
        }
        if !text.windows(mark.len()).any(|part| part == mark.as_bytes()) {
            return Err(refuse(format!(
                "the file {path:?} of its parameter {name} holds something else; {expected}, which has a \
                 line {mark}"
            )));
        }
    }
    Ok(())
}
