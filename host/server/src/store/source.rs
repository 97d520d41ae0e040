//! The URL of the database: from the command line, or from a file that may hold a password.
//!
//! Neither is ever shown. A file that others can read holds no password: it is refused.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use leasehold::PostgresOptions;
use zeroize::Zeroizing;

/// Maximum size of the file: a URL, and a bound on a wrong file.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// The URL, and the file that it came from.
#[derive(Clone)]
pub(crate) struct DatabaseSource {
    url: Zeroizing<String>,
    file: Option<PathBuf>,
}

impl DatabaseSource {
    /// Takes the URL of the file, if there is one, else that of the command line.
    pub(crate) fn new(url: &str, file: Option<&Path>) -> anyhow::Result<Self> {
        let url = match file {
            Some(file) => read(file)?,
            None => Zeroizing::new(url.to_owned()),
        };
        Ok(Self { url, file: file.map(Path::to_owned) })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The name of the argument that the URL came by, for messages.
    pub(super) fn name(&self) -> String {
        match &self.file {
            Some(file) => format!("the URL in --database-file {}", file.display()),
            None => "--database".to_owned(),
        }
    }

    /// Returns the library's options, which read the file again where there is one.
    pub(super) fn postgres(&self) -> PostgresOptions {
        let options = PostgresOptions::new(&self.url);
        let Some(file) = self.file.clone() else { return options };
        options.url_source(move || match read(&file) {
            Ok(url) => Some(url.to_string()),
            Err(error) => {
                tracing::error!("{error:#}");
                None
            }
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let shown = path.display();
    let cannot_read = || {
        format!(
            "cannot read --database-file {shown}; expected a file with the database's URL, and nothing else"
        )
    };
    // Before it is opened: opening a pipe waits for a writer that may never come.
    let is_file = fs::metadata(path).with_context(cannot_read)?.is_file();
    anyhow::ensure!(is_file, "{}: it is not a regular file", cannot_read());
    let file = File::open(path).with_context(cannot_read)?;
    let mode = file.metadata().with_context(cannot_read)?.permissions().mode() & 0o777;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).with_context(cannot_read)?;
    let url = text.trim();
    anyhow::ensure!(
        !url.is_empty() && !url.contains(char::is_whitespace),
        "{}: it holds {}",
        cannot_read(),
        if url.is_empty() { "nothing" } else { "more than one word" }
    );
    anyhow::ensure!(
        mode & 0o077 == 0 || !has_password(url),
        "the file {shown} of --database-file holds a password and has mode {mode:04o}, so that others may \
         know it; expected 0600: run chmod 600, and change the password if somebody has read it"
    );
    Ok(Zeroizing::new(url.to_owned()))
}

fn has_password(url: &str) -> bool {
    !url.starts_with("sqlite:") && PostgresOptions::new(url).has_password()
}

/// Returns whether one of a program's arguments is a URL with a password, which every user of the machine can
/// see for as long as the program runs.
pub fn password_on_command_line(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.filter_map(|argument| argument.into_string().ok()).any(|argument| {
        let url = argument.strip_prefix("--database=").unwrap_or(&argument);
        (url.starts_with("postgres://") || url.starts_with("postgresql://")) && has_password(url)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_in_any_argument() {
        let says = |arguments: &[&str]| password_on_command_line(arguments.iter().map(OsString::from));
        assert!(says(&["leasehold", "serve", "--database", "postgres://u:p@h/d"]));
        assert!(says(&["leasehold", "serve", "--database=postgresql://u@h/d?password=p"]));
        assert!(!says(&["leasehold", "serve", "--database", "postgres://u@h/d", "--setting", "ttl=1s"]));
        assert!(!says(&["leasehold", "serve", "--database", "sqlite://u:p@h"]));
    }
}
