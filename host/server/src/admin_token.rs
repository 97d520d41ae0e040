//! The source of the admin token: the environment, else a file that was named, else one that is made.
//!
//! A file appears whole or not at all, and is never one that others can read: a token that others can read is
//! no token. This file reports where the token is, and never what it is.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::auth::{check_admin_token, check_presentable, new_token};

/// Name of the token file, in the working directory.
const FILE: &str = "leasehold.admin-token";

/// Maximum size of the file: enough for any token that a person or a tool writes, and a bound on a wrong
/// file.
const MAX_FILE_BYTES: u64 = 4096;

/// The variables of the environment that have to do with the admin token.
#[derive(Clone, Debug, Default)]
pub struct AdminVariables {
    /// `LEASEHOLD_ADMIN_TOKEN`: the token.
    pub token: Option<String>,
    /// `LEASEHOLD_ADMIN_TOKEN_FILE`: the path of its file.
    pub file: Option<String>,
}

/// Place where the token was found, for the operator who needs it.
pub(crate) enum AdminTokenSource {
    Environment,
    /// A file that the operator has named.
    Named(PathBuf),
    File(PathBuf),
    NewFile(PathBuf),
}

/// A token, and where it was found.
pub(crate) struct FoundToken {
    pub(crate) token: Zeroizing<String>,
    pub(crate) source: AdminTokenSource,
}

impl fmt::Display for AdminTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("LEASEHOLD_ADMIN_TOKEN"),
            Self::Named(path) | Self::File(path) => write!(f, "{}", path.display()),
            Self::NewFile(path) => write!(f, "{} (new)", path.display()),
        }
    }
}

impl AdminTokenSource {
    /// Finds the token, or makes one and keeps it in `directory`.
    pub(crate) fn find(
        variable: Option<String>,
        named: Option<&Path>,
        directory: &Path,
    ) -> anyhow::Result<FoundToken> {
        if let Some(source) = named_source(variable.as_deref(), named)? {
            let token = match variable {
                Some(token) => Zeroizing::new(token),
                None => source.read_again()?,
            };
            check_admin_token(&token).with_context(|| {
                format!("{source} cannot be used; set it to a long random word, or unset it")
            })?;
            return Ok(FoundToken { token, source });
        }
        let path = std::path::absolute(directory.join(FILE)).context("cannot tell the working directory")?;
        if let Some(token) = read_strong(&path, REMOVE)? {
            return Ok(FoundToken { token, source: Self::File(path) });
        }
        if let Some(token) = create(directory, &path)? {
            return Ok(FoundToken { token, source: Self::NewFile(path) });
        }
        // Another server has made the file since it was looked for.
        match read_strong(&path, REMOVE)? {
            Some(token) => Ok(FoundToken { token, source: Self::File(path) }),
            None => anyhow::bail!("{} comes and goes; let one server start at a time", path.display()),
        }
    }

    /// Returns the file, if the token is in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Environment => None,
            Self::Named(path) | Self::File(path) | Self::NewFile(path) => Some(path),
        }
    }

    /// Reads the file again.
    pub(crate) fn read_again(&self) -> anyhow::Result<Zeroizing<String>> {
        let path = self.path().context("the environment of a process does not change")?;
        let remedy = if matches!(self, Self::Named(_)) { MEND } else { REMOVE };
        read_strong(path, remedy)?.with_context(|| {
            format!(
                "cannot read the admin token file {}: there is no such file; where one is named, by \
                 LEASEHOLD_ADMIN_TOKEN_FILE or --admin-token-file, it has to be there",
                path.display()
            )
        })
    }
}

/// What an operator does about a file that a server has made, and about one of their own.
const REMOVE: &str = "remove it to have a new one made";
const MEND: &str = "write a long random word to it, such as `leasehold admin-token new` prints";

/// Returns where the token is said to be, by one of the two ways.
fn named_source(token: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<AdminTokenSource>> {
    match (token, file) {
        (Some(_), Some(file)) => anyhow::bail!(
            "both LEASEHOLD_ADMIN_TOKEN and the admin token file {} are given; unset one of them",
            file.display()
        ),
        (Some(_), None) => Ok(Some(AdminTokenSource::Environment)),
        (None, Some(file)) => Ok(Some(AdminTokenSource::Named(file.to_owned()))),
        (None, None) => Ok(None),
    }
}

/// Returns the token that a server was given or has made, for a client of it.
pub(crate) fn known(variables: AdminVariables, directory: &Path) -> anyhow::Result<Zeroizing<String>> {
    let AdminVariables { token, file } = variables;
    let file = file.map(PathBuf::from);
    match (named_source(token.as_deref(), file.as_deref())?, token) {
        (Some(source), token) => {
            let token = match token {
                Some(token) => Zeroizing::new(token),
                None => source.read_again()?,
            };
            check_presentable(&token).with_context(|| format!("{source} cannot be used"))?;
            Ok(token)
        }
        (None, _) => read_text(&directory.join(FILE), REMOVE)?.with_context(|| {
            format!(
                "no admin token: set LEASEHOLD_ADMIN_TOKEN or LEASEHOLD_ADMIN_TOKEN_FILE, or run this where \
                 the server keeps its {FILE}"
            )
        }),
    }
}

/// Returns the token in the file if it is a good one, or `None` if there is no file.
fn read_strong(path: &Path, remedy: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let token = read_text(path, remedy)?;
    if let Some(token) = &token {
        check_admin_token(token)
            .with_context(|| format!("the admin token file {} cannot be used; {remedy}", path.display()))?;
    }
    Ok(token)
}

fn read_text(path: &Path, remedy: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let shown = path.display();
    let cannot_read = || format!("cannot read the admin token file {shown}");
    // Before it is opened: opening a pipe waits for a writer that may never come.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => anyhow::bail!("{}: it is not a regular file; {remedy}", cannot_read()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(cannot_read),
    }
    let file = File::open(path).with_context(cannot_read)?;
    let mode =
        file.metadata().with_context(|| format!("cannot inspect {shown}"))?.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "the admin token file {shown} has mode {mode:04o}, so that others may know the token; expected 0600: \
         {remedy}, or run chmod 600 if nobody else has read it"
    );
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .with_context(|| format!("{}; {remedy}", cannot_read()))?;
    check_presentable(text.trim_end())
        .with_context(|| format!("the admin token file {shown} cannot be used; {remedy}"))?;
    Ok(Some(Zeroizing::new(text.trim_end().to_owned())))
}

/// Makes the file, or returns `None` if it is there already.
fn create(directory: &Path, path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
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
    Ok(created.then_some(token))
}

#[cfg(test)]
mod tests;
