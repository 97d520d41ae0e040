//! A file of admin credentials: a line for each, with a name, scopes, and a token or its hash.
//!
//! No message shows more of a line than its number, and a name once it is known to be one: a line that is
//! wrong may have its token anywhere. A file with tokens is its owner's alone; one with hashes may be read by
//! anybody, and written by nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use zeroize::Zeroizing;

use super::{ADMIN, Credential, Scopes};
use crate::auth::check_admin_token;
use crate::policy_source::read_file;

/// Maximum size of a file, and number of its credentials: each request is compared with all.
const MAX_FILE_BYTES: usize = 64 * 1024;
const MAX_CREDENTIALS: usize = 256;
/// Maximum length of a name.
const MAX_NAME_CHARS: usize = 64;
/// Beginning of a token that is given by its hash.
const HASHED: &str = "sha256:";

/// Reads a file, or says which line is wrong.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Credential>> {
    let shown = path.display();
    let cannot_read = || format!("cannot read the admin credentials {shown}");
    let bytes = Zeroizing::new(read_file(path, MAX_FILE_BYTES).with_context(cannot_read)?);
    let mode = fs::metadata(path).with_context(cannot_read)?.permissions().mode() & 0o777;
    let text =
        std::str::from_utf8(&bytes).ok().with_context(|| format!("{}: it is no text", cannot_read()))?;
    let (mut credentials, mut has_tokens) = (Vec::new(), false);
    for (line, number) in text.lines().map(str::trim).zip(1_u32..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("the admin credentials {shown}, line {number}");
        let (credential, is_token) = parse(line, &place).with_context(|| place.clone())?;
        credentials.push(credential);
        has_tokens |= is_token;
        ensure!(
            credentials.len() <= MAX_CREDENTIALS,
            "{place}: expected {MAX_CREDENTIALS} credentials at most"
        );
    }
    let (forbidden, others_may) =
        if has_tokens { (0o077, "know a token") } else { (0o022, "add a credential") };
    ensure!(
        mode & forbidden == 0,
        "the admin credentials {shown} have mode {mode:04o}, so that others may {others_may}; expected {}",
        if has_tokens { "0600: run chmod 600, or write sha256:HEX in place of each token" } else { "0644" }
    );
    Ok(credentials)
}

/// Reads a line, and says whether it has a token or only the hash of one.
fn parse(line: &str, place: &str) -> anyhow::Result<(Credential, bool)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, scopes, token] = words.as_slice() else {
        bail!("it has {} words; expected NAME SCOPES TOKEN, or NAME SCOPES sha256:HEX", words.len());
    };
    check_name(name).context("its first word is no name")?;
    let scopes = Scopes::parse(scopes).context(
        "its second word names no scopes; expected all, or some of read, policy and secrets with commas \
         between them",
    )?;
    let Some(hex) = token.strip_prefix(HASHED) else {
        check_admin_token(token)?;
        return Ok((Credential::of_token(name, scopes, token, place), true));
    };
    let mut hash = [0; 32];
    hex::decode_to_slice(hex, &mut hash)
        .ok()
        .context("its hash is none; expected sha256: and the 64 hexadecimal digits of a token's SHA-256")?;
    Ok((Credential::of_hash(name, scopes, hash, place), false))
}

/// Checks that a text can be the name of a credential.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ensure!(
        (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(is_good),
        "expected 1 to {MAX_NAME_CHARS} of a-z, A-Z, 0-9, '.', '_' and '-'"
    );
    ensure!(name != ADMIN, "the name {ADMIN} is that of LEASEHOLD_ADMIN_TOKEN; expected another one");
    Ok(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const TOKEN: &str = "hunter2-hunter2-hunter2";

    fn of(text: &str, mode: u32) -> anyhow::Result<Vec<Credential>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path)
    }

    #[test]
    fn a_file_has_tokens_and_hashes_comments_and_empty_lines() {
        let hash = hex::encode_upper(<[u8; 32]>::from(Sha256::digest(TOKEN)));
        let text = format!("# ours\r\n\n  ci  read,policy {TOKEN}\r\nalice all sha256:{hash}\n");
        let read = of(&text, 0o600).unwrap();
        assert_eq!(read.iter().map(|read| &*read.name).collect::<Vec<_>>(), ["ci", "alice"]);
        assert_eq!(read[0].hash, read[1].hash);
        assert!(of("", 0o600).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number_and_not_shown() {
        for (line, words) in [
            (TOKEN.to_owned(), "expected NAME SCOPES TOKEN"),
            (format!("ci {TOKEN}"), "it has 2 words"),
            (format!("ci read {TOKEN} {TOKEN}"), "it has 4 words"),
            (format!("ci {TOKEN} read"), "names no scopes"),
            (format!("{TOKEN}/ read x"), "is no name"),
            (format!("admin read {TOKEN}"), "expected another one"),
            ("ci read hunter2".to_owned(), "expected 16 at least"),
            ("ci read sha256:hunter2".to_owned(), "64 hexadecimal digits"),
            (format!("ci read sha256:{}", "0".repeat(63)), "64 hexadecimal digits"),
        ] {
            let message = format!("{:#}", of(&format!("# a comment\n{line}\n"), 0o600).err().unwrap());
            assert!(message.contains("line 2") && message.contains(words), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_file_with_tokens_is_its_owners_and_one_with_hashes_may_be_read() {
        let hashes = format!("ci read sha256:{}\n", "0".repeat(64));
        for (text, mode, words) in [
            (format!("ci read {TOKEN}"), 0o640, Some("chmod 600")),
            (format!("ci read {TOKEN}"), 0o400, None),
            (hashes.clone(), 0o644, None),
            (hashes.clone(), 0o664, Some("add a credential")),
            (hashes, 0o646, Some("expected 0644")),
        ] {
            let refused = of(&text, mode).err().map(|error| format!("{error:#}"));
            let expected = |message: &String| words.is_some_and(|words| message.contains(words));
            assert!(refused.as_ref().map_or(words.is_none(), expected), "{mode:o}: {refused:?}");
        }
    }
}
