//! The options of a connection to PostgreSQL: its URL, and what belongs to that.
//!
//! The URL may hold a password, and is shown by nothing here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectError;
use crate::database::postgres::connect::ACQUIRE_TIMEOUT;
use crate::database::postgres::origin::UrlSource;
use crate::database::postgres::url::PostgresUrl;

/// Options of a connection; see [`PostgresPool::connect_with`](crate::PostgresPool::connect_with).
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    pub(super) url: String,
    pub(super) max_connections: u32,
    pub(super) acquire_timeout: Duration,
    pub(super) source: Option<UrlSource>,
    pub(super) is_checked: bool,
}

impl PostgresOptions {
    /// Connects to `url`, `postgres://user:password@host:port/database`, with 10 connections at most.
    pub fn new(url: &str) -> Self {
        let acquire_timeout = ACQUIRE_TIMEOUT;
        Self { url: url.to_owned(), max_connections: 10, acquire_timeout, source: None, is_checked: true }
    }

    /// Sets the maximum number of connections.
    pub fn max_connections(mut self, max_connections: u32) -> Self {
        self.max_connections = max_connections.max(1);
        self
    }

    /// Sets how long a statement waits for a free connection; 800 ms by default. It should be below the
    /// cache's [`database_timeout`](crate::Builder::database_timeout): an issue that is given up on while it
    /// waits has an outcome that is unknown.
    pub fn acquire_timeout(mut self, span: Duration) -> Self {
        self.acquire_timeout = span;
        self
    }

    /// Has the URL read again by `source` whenever the server refuses the login, and by
    /// [`PostgresPool::reload`](crate::PostgresPool::reload). Only its password may be another one by then.
    pub fn url_source(mut self, source: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Returns whether the URL itself holds a password; one that is not usable is taken to.
    pub fn has_password(&self) -> bool {
        PostgresUrl::parse(&self.url).map_or(true, |url| url.has_password())
    }

    /// Returns the URL as people may read it: user, servers and database, and no password.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] if the URL is not usable.
    pub fn shown(&self) -> Result<String, ConnectError> {
        PostgresUrl::parse(&self.url)?.shown()
    }

    /// Takes it on trust that prepared statements stay with their connection, neither looking at the start
    /// nor later. A mix-up is then an error each time. For a test of just that, and for a program that
    /// prepares none.
    pub fn without_pooler_check(mut self) -> Self {
        self.is_checked = false;
        self
    }
}

/// The output leaves out the URL, which may hold a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &mut f.debug_struct("PostgresOptions");
        options.field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}
