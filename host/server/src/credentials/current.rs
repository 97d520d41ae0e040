//! The credentials in force, and how they are read again.
//!
//! They change as a whole or not at all: one wrong line anywhere, and those of before stay. A request is held
//! against one state of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{ADMIN, Credential, Credentials, Scopes, file};
use crate::admin_token::{AdminTokenSource, FoundToken};
use crate::options::AdminOptions;

/// The credentials in force.
pub(crate) struct AdminCredentials {
    /// The credential `admin` where it is not in a file.
    fixed: Option<Credential>,
    source: AdminTokenSource,
    files: Vec<PathBuf>,
    current: ArcSwap<Credentials>,
}

impl AdminCredentials {
    /// Reads them for the first time. `variable` is the token of the environment, if there is one; without
    /// one, and without a file that the command line names, it is in `directory`, or is made there.
    pub(crate) fn load(
        variable: Option<String>,
        options: &AdminOptions,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let token_file = options.admin_token_file.as_deref();
        let FoundToken { token, source } = AdminTokenSource::find(variable, token_file, directory)?;
        let admin = of_admin(&token, &source);
        let current = with_files(admin.clone(), &options.admin_tokens)?;
        Ok(Self {
            fixed: source.path().is_none().then_some(admin),
            source,
            files: options.admin_tokens.clone(),
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Checks the files that the options name, and makes none.
    pub(crate) fn check_files(options: &AdminOptions) -> anyhow::Result<()> {
        options.admin_tokens.iter().try_for_each(|path| file::read(path).map(drop))
    }

    /// Makes the credentials of a server that has one token.
    #[cfg(test)]
    pub(crate) fn of_one(token: &str) -> Self {
        let admin = Credential::of_token(ADMIN, Scopes::ALL, token, "the test");
        Self {
            fixed: Some(admin.clone()),
            source: AdminTokenSource::Environment,
            files: Vec::new(),
            current: ArcSwap::from_pointee(Credentials(vec![admin])),
        }
    }

    /// Returns those that are in force.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// Returns where the token of `admin` comes from.
    pub(crate) fn source(&self) -> &AdminTokenSource {
        &self.source
    }

    /// Reads the files again. A mistake leaves all as it is, and is logged.
    pub(crate) fn reload(&self) {
        match self.read_again() {
            Ok(credentials) => {
                tracing::info!(credentials = credentials.names(), "read the admin credentials again");
                self.current.store(Arc::new(credentials));
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the admin credentials cannot be read again; those of before stay");
            }
        }
    }

    fn read_again(&self) -> anyhow::Result<Credentials> {
        let admin = match &self.fixed {
            Some(admin) => admin.clone(),
            None => of_admin(&self.source.read_again()?, &self.source),
        };
        with_files(admin, &self.files)
    }
}

fn of_admin(token: &str, source: &AdminTokenSource) -> Credential {
    Credential::of_token(ADMIN, Scopes::ALL, token, &source.to_string())
}

fn with_files(admin: Credential, files: &[PathBuf]) -> anyhow::Result<Credentials> {
    let mut all = vec![admin];
    for path in files {
        all.extend(file::read(path)?);
    }
    Credentials::new(all)
}
