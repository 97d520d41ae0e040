//! The source of the admin token: the environment, else a file, else it is made.
//!
//! The file appears whole or not at all, and is never one that others can read: a token that others can read
//! is no token. This file reports where the token is, and never what it is.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::auth::{AdminToken, new_token};

/// Name of the token file, in the working directory.
const FILE: &str = "leasehold.admin-token";

/// Maximum size of the file: enough for any token that a person or a tool writes, and a bound on a wrong
/// file.
const MAX_FILE_BYTES: u64 = 4096;

/// Place where the token was found, for the operator who needs it.
pub(crate) enum Source {
    Environment,
    File(PathBuf),
    NewFile(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("LEASEHOLD_ADMIN_TOKEN"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::NewFile(path) => write!(f, "{} (new)", path.display()),
        }
    }
}

/// Finds the token, or makes one and keeps it in `directory`.
pub(crate) fn load(variable: Option<String>, directory: &Path) -> anyhow::Result<(AdminToken, Source)> {
    if let Some(token) = variable {
        let token = Zeroizing::new(token);
        let checked = check(&token)
            .context("LEASEHOLD_ADMIN_TOKEN cannot be used; set it to a long random word, or unset it")?;
        return Ok((checked, Source::Environment));
    }
    let path = std::path::absolute(directory.join(FILE)).context("cannot tell the working directory")?;
    if let Some(token) = read(&path)? {
        return Ok((token, Source::File(path)));
    }
    if let Some(token) = create(directory, &path)? {
        return Ok((token, Source::NewFile(path)));
    }
    // Another server has made the file since it was looked for.
    match read(&path)? {
        Some(token) => Ok((token, Source::File(path))),
        None => anyhow::bail!("{} comes and goes; let one server start at a time", path.display()),
    }
}

/// Returns the token that a server was given or has made, for a client of it.
pub(crate) fn known(variable: Option<String>, directory: &Path) -> anyhow::Result<Zeroizing<String>> {
    if let Some(token) = variable {
        let token = Zeroizing::new(token);
        check(&token).context("LEASEHOLD_ADMIN_TOKEN cannot be used")?;
        return Ok(token);
    }
    let path = directory.join(FILE);
    read_text(&path)?.with_context(|| {
        format!("no admin token: set LEASEHOLD_ADMIN_TOKEN, or run this where the server keeps its {FILE}")
    })
}

/// Returns the token in the file, or `None` if there is no file.
fn read(path: &Path) -> anyhow::Result<Option<AdminToken>> {
    Ok(read_text(path)?.map(|token| AdminToken::new(&token)))
}

fn read_text(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let shown = path.display();
    let cannot_read = || format!("cannot read the admin token file {shown}");
    // Before it is opened: opening a pipe waits for a writer that may never come.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => anyhow::bail!("{}: it is not a regular file; remove it to have a token made", cannot_read()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(cannot_read),
    }
    let file = File::open(path).with_context(cannot_read)?;
    let mode =
        file.metadata().with_context(|| format!("cannot inspect {shown}"))?.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "the admin token file {shown} has mode {mode:04o}, so that others may know the token; expected 0600: \
         remove the file to have a new one made, or run chmod 600 if nobody else has read it"
    );
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .with_context(|| format!("{}; remove it to have a new one made", cannot_read()))?;
    check(text.trim_end()).with_context(|| {
        format!("the admin token file {shown} cannot be used; remove it to have a new one made")
    })?;
    Ok(Some(Zeroizing::new(text.trim_end().to_owned())))
}

/// Makes the file, or returns `None` if it is there already.
fn create(directory: &Path, path: &Path) -> anyhow::Result<Option<AdminToken>> {
    let token = new_token().context("the operating system has no random bytes for the admin token")?;
    let written = || -> std::io::Result<bool> {
        // Its mode is 0600 from the start.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        writeln!(file, "{}", token.as_str())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(true),
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(refused) => Err(refused.error),
        }
    };
    let created = written().with_context(|| {
        format!(
            "cannot create the admin token file {}; make its directory writable, or set \
             LEASEHOLD_ADMIN_TOKEN",
            path.display()
        )
    })?;
    Ok(created.then(|| AdminToken::new(&token)))
}

fn check(token: &str) -> anyhow::Result<AdminToken> {
    anyhow::ensure!(!token.is_empty(), "the admin token is empty");
    // A client could never present it in a header.
    let presentable = token.bytes().all(|byte| byte.is_ascii_graphic());
    anyhow::ensure!(presentable, "the admin token has spaces or characters beyond ASCII");
    Ok(AdminToken::new(token))
}

#[cfg(test)]
mod tests {

    use super::*;

    fn refused(variable: Option<&str>, directory: &Path) -> String {
        match load(variable.map(str::to_owned), directory) {
            Ok(_) => panic!("accepted"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn the_environment_wins_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let (token, source) = load(Some("word".to_owned()), directory.path()).unwrap();
        assert!(token.admits("word") && matches!(source, Source::Environment));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_token_that_is_empty_or_cannot_be_presented_is_refused_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refused(Some(""), directory.path()).contains("is empty"));
        let message = refused(Some("hun ter2"), directory.path());
        assert!(message.contains("has spaces") && !message.contains("hun"), "{message}");
    }

    #[test]
    fn a_file_is_made_once_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (first, source) = load(None, directory.path()).unwrap();
        let Source::NewFile(path) = source else { panic!("{source}") };
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(first.admits(text.trim_end()));
        let (second, source) = load(None, directory.path()).unwrap();
        assert!(second.admits(text.trim_end()) && matches!(source, Source::File(_)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left behind");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "hunter2\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = refused(None, directory.path());
        assert!(
            message.contains("0640") && message.contains("chmod 600") && !message.contains("hunter2"),
            "{message}"
        );
    }

    #[test]
    fn an_empty_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(refused(None, directory.path()).contains("is empty"));
    }
}
