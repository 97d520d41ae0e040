//! The origin of a pool's connections: the URL, which of its servers is connected to, and what that takes.
//!
//! A server is chosen by logging in to each in the order of the URL, until one is of the wanted kind. All
//! connections go to one server, the chosen one, until another look chooses another. Nothing here may print
//! the URL, which holds a password.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

use super::failure::describe;
use super::startup::value_of;
use super::url::{PostgresUrl, SessionKind, WantedSession, place, refuse};
use crate::ConnectError;

/// The time after which the driver calls a statement slow.
const SLOW: Duration = Duration::from_secs(1);
/// The server's own limit: no statement of ours takes 30 s unless it waits for a lock that is not released.
const STATEMENT_TIMEOUT: (&str, &str) = ("statement_timeout", "30s");

/// A way to read the URL again. `None` where it cannot be read.
pub(super) type UrlSource = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The origin of a pool's connections, read again for each change of the password.
pub(super) struct ServerOrigin {
    url: Mutex<Arc<PostgresUrl>>,
    source: Option<UrlSource>,
    /// The number of the server that is connected to.
    chosen: AtomicUsize,
    /// Whether the other end takes the startup parameter `options`, which a pooler may refuse.
    takes_options: AtomicBool,
}

/// The outcome of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerChoice {
    /// The server is the one that it was.
    Same,
    /// The server is another one.
    Another,
}

/// The observations of a login.
struct LoggedIn {
    takes_options: bool,
    session: SessionKind,
}

/// The reason why there is no session of a server.
enum LoginFailure {
    /// The next server may have one.
    OfServer(String),
    /// The login is refused, as it would be by the others.
    OfLogin(String),
    Other(ConnectError),
}

impl ServerOrigin {
    /// Chooses a server of the URL, with so much time for each.
    pub(super) async fn find(
        url: &str,
        source: Option<UrlSource>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let url = Mutex::new(Arc::new(PostgresUrl::parse(url)?));
        let origin = Self { url, source, chosen: AtomicUsize::new(0), takes_options: AtomicBool::new(true) };
        origin.choose(limit).await?;
        Ok(origin)
    }

    pub(super) fn takes_options(&self) -> bool {
        // Relaxed, here and below: each is a fact by itself.
        self.takes_options.load(Ordering::Relaxed)
    }

    /// Returns whether it may not always be the same server that is connected to.
    pub(super) fn has_choice(&self) -> bool {
        self.url().has_choice()
    }

    pub(super) fn wanted(&self) -> WantedSession {
        self.url().wanted()
    }

    /// Returns the options of the chosen server, with the password as it is in its file now.
    pub(super) fn options(&self) -> Result<PgConnectOptions, ConnectError> {
        options(&self.url(), self.chosen.load(Ordering::Relaxed), self.takes_options())
    }

    /// Reads the URL again, where that is possible, and returns the options.
    pub(super) fn renewed(&self) -> Result<PgConnectOptions, ConnectError> {
        if let Some(source) = &self.source {
            let text = source().ok_or_else(|| refuse("it cannot be read again".to_owned()))?;
            let url = PostgresUrl::parse(&text)?;
            if !url.is_same_but_for_the_password(&self.url()) {
                let words = "it differs in more than its password from what it was at the start, and that \
                             takes a restart; expected the same user, host, database and parameters";
                return Err(refuse(words.to_owned()));
            }
            *self.url.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(url);
        }
        self.options()
    }

    /// Logs in to the servers in their order until one is of the wanted kind, with so much time for each. A
    /// refused login ends it: the other servers would be asked with the same password.
    pub(super) async fn choose(&self, limit: Duration) -> Result<ServerChoice, ConnectError> {
        let url = self.url();
        let mut failures = Vec::new();
        let mut second = None;
        for server in 0..url.len() {
            let at = place(&options(&url, server, true)?);
            // Outside any pool: a pool would try again and again, and then report no more than that time is
            // up.
            match timeout(limit, log_in_either_way(&url, server)).await {
                Ok(Ok(login)) if url.wanted().fits(login.session) => return Ok(self.take(server, &login)),
                Ok(Ok(login)) => {
                    failures.push(format!("{at} is {}", login.session.words()));
                    second.get_or_insert((server, login));
                }
                Ok(Err(LoginFailure::OfServer(reason))) => failures.push(format!("{at}: {reason}")),
                Ok(Err(LoginFailure::OfLogin(reason))) => {
                    return Err(ConnectError::Unreachable { reason: format!("{at}: {reason}") });
                }
                Ok(Err(LoginFailure::Other(error))) => return Err(error),
                Err(_elapsed) => failures.push(format!("{at}: no answer within {} s", limit.as_secs())),
            }
        }
        match second {
            Some((server, login)) if !url.wanted().is_strict() => Ok(self.take(server, &login)),
            _ => {
                let wanted = match url.wanted() {
                    WantedSession::Any => String::new(),
                    wanted => format!("no server is {}, as target_session_attrs wants it: ", wanted.name()),
                };
                Err(ConnectError::Unreachable { reason: format!("{wanted}{}", failures.join("; ")) })
            }
        }
    }

    fn take(&self, server: usize, login: &LoggedIn) -> ServerChoice {
        self.takes_options.store(login.takes_options, Ordering::Relaxed);
        let before = self.chosen.swap(server, Ordering::Relaxed);
        if before == server { ServerChoice::Same } else { ServerChoice::Another }
    }

    fn url(&self) -> Arc<PostgresUrl> {
        Arc::clone(&self.url.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn options(url: &PostgresUrl, server: usize, takes_options: bool) -> Result<PgConnectOptions, ConnectError> {
    // No number of ours has a fraction, and a pooler refuses a parameter that it does not know.
    let options = unhurried(url.options(server)?).extra_float_digits(None);
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("leasehold"),
    };
    if !takes_options {
        return Ok(options);
    }
    // The driver logs notices, and a trigger may put anything into one.
    let options = options.options([("client_min_messages", "error")]);
    let given = options.get_options().and_then(|given| value_of(given, STATEMENT_TIMEOUT.0));
    Ok(if given.is_some() { options } else { options.options([STATEMENT_TIMEOUT]) })
}

/// Has the driver log a slow statement at the level of all others: a database that is slow would be a warning
/// for each.
fn unhurried(options: PgConnectOptions) -> PgConnectOptions {
    match "debug".parse() {
        Ok(level) => options.log_slow_statements(level, SLOW),
        Err(_) => options,
    }
}

/// Returns whether the URL says that statements have no time limit.
fn is_unlimited(options: &PgConnectOptions) -> bool {
    let given = options.get_options().and_then(|given| value_of(given, STATEMENT_TIMEOUT.0));
    given.is_some_and(|limit| limit.trim_end_matches(|unit: char| !unit.is_ascii_digit()).parse() == Ok(0))
}

/// Logs in once, and where a pooler refuses the startup parameter `options`, once more without it.
async fn log_in_either_way(url: &PostgresUrl, server: usize) -> Result<LoggedIn, LoginFailure> {
    let mut takes_options = true;
    let with = |takes_options| options(url, server, takes_options).map_err(LoginFailure::Other);
    let logged_in = match log_in(&with(true)?).await {
        Err(error) if refuses_parameter(&error) => {
            takes_options = false;
            log_in(&with(false)?).await
        }
        logged_in => logged_in,
    };
    match logged_in {
        Ok((is_limited, session)) => {
            // A pooler may also accept the parameter and drop it.
            let is_kept = is_limited || is_unlimited(&with(true)?);
            Ok(LoggedIn { takes_options: takes_options && is_kept, session })
        }
        Err(error) if refuses_login(&error) => Err(LoginFailure::OfLogin(describe(&error).into_owned())),
        Err(error) => Err(LoginFailure::OfServer(describe(&error).into_owned())),
    }
}

/// Logs in once. Returns whether statements have a time limit there, and what session it is.
async fn log_in(options: &PgConnectOptions) -> Result<(bool, SessionKind), sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    // This is no prepared statement: it is not known yet what is in between.
    let look = "SELECT current_setting('statement_timeout') AS value, pg_is_in_recovery()::text, \
                current_setting('transaction_read_only')";
    let rows = sqlx::raw_sql(look).fetch_all(&mut connection).await?;
    let text = |column: usize| rows.first().and_then(|row| row.try_get::<String, _>(column).ok());
    // The server ends the session when the socket closes, polite farewell or not.
    let _ = connection.close().await;
    let is_limited = text(0).is_some_and(|limit| limit != "0");
    let is_standby = text(1).as_deref() == Some("true");
    Ok((is_limited, SessionKind { is_standby, is_read_only: text(2).as_deref() == Some("on") }))
}

/// Returns whether a pooler refuses a startup parameter. It has no code of its own for that.
fn refuses_parameter(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("unsupported startup parameter"))
}

/// Returns whether the server refuses the login with the name and the password that it was given.
fn refuses_login(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("28"))
}

#[cfg(not(feature = "tls"))]
#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_requires_tls_is_refused_in_words_where_the_build_has_none() {
        // The server answers nothing: the driver looks at its own features first.
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgres://u@{address}/d?sslmode={mode}");
            let found = ServerOrigin::find(&url, None, Duration::from_secs(5)).await;
            let error = found.err().expect("it is refused").to_string();
            assert!(error.contains("built without the feature tls"), "{mode}: {error}");
        }
    }
}
