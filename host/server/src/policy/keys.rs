//! `leasehold policy keygen` and `sign`: the files that keys and signatures are in.
//!
//! The secret half of a key is in one file that its owner alone can read, and is printed nowhere. The form of
//! a signature is the library's to know.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leasehold::{Policy, SigningKey};
use zeroize::Zeroizing;

use crate::policy_source::{MAX_COMPONENT_BYTES, MAX_LINE_BYTES, read_file, signature_file};

/// Makes a key, keeps it in `file`, and returns its public half.
pub(super) fn generate(file: &Path) -> anyhow::Result<String> {
    let mut random = Zeroizing::new([0_u8; 32]);
    getrandom::fill(random.as_mut_slice()).context("the operating system has no random bytes for a key")?;
    let text = Zeroizing::new(STANDARD.encode(random.as_slice()));
    let shown = file.display();
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || {
        // Its mode is 0600 from the start, and it appears whole or not at all.
        let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
        writeln!(temporary, "{}", *text)?;
        temporary.as_file().sync_all()?;
        temporary.persist_noclobber(file).map(drop).map_err(|refused| refused.error)
    };
    written().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!(
                "the file {shown} is there already, and may be a key that is in use; name another one"
            )
        }
        _ => anyhow::Error::new(error).context(format!("cannot write the key file {shown}")),
    })?;
    let public = SigningKey::from_bytes(&random).public_key();
    Ok(public.to_string())
}

/// Signs the component in `file` and keeps the signature beside it.
pub(super) fn sign(file: &Path, key: &Path, revision: u64) -> anyhow::Result<String> {
    let key = read_key(key)?;
    let component = read_file(file, MAX_COMPONENT_BYTES)
        .with_context(|| format!("cannot read the component {}", file.display()))?;
    let policy = Policy::from_bytes(component);
    policy.inspect().with_context(|| format!("{} would never be let in", file.display()))?;
    let beside = signature_file(file);
    std::fs::write(&beside, format!("{}\n", key.sign(policy.digest(), revision)))
        .with_context(|| format!("cannot write the signature {}", beside.display()))?;
    let (digest, id) = (policy.digest(), key.public_key().id());
    Ok(format!("{}: revision {revision} of {digest}, signed by {id}", beside.display()))
}

fn read_key(file: &Path) -> anyhow::Result<SigningKey> {
    let shown = file.display();
    let cannot_use = || format!("cannot use the key file {shown}");
    let text = Zeroizing::new(read_file(file, MAX_LINE_BYTES).with_context(cannot_use)?);
    let mode = std::fs::metadata(file).with_context(cannot_use)?.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "the key file {shown} has mode {mode:04o}, so that others may know the key; expected 0600: make a \
         new key, or run chmod 600 if nobody else has read it"
    );
    let text = std::str::from_utf8(&text).map_err(|_| leasehold::InvalidKey::Malformed);
    text.and_then(str::parse).with_context(cannot_use)
}
