//! The connection to a PostgreSQL server: its URL, the pool's limits, and the first login.
//!
//! Nothing here may print the URL, which holds a password. Messages name the server by what was parsed from
//! it.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Row as _};
use tokio::time::timeout;

use super::failure::describe;
use crate::ConnectError;

/// Maximum time for the first connection, and again for the look at the table.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait of a statement for a connection: short, since a caller that waits behind it can be asked to
/// come again. It is below the second that a load waits by default, so that a statement that was never sent
/// is not taken for a late one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(800);
/// Maximum time that a connection that goes back may take for a sign of life: nothing waits for it, but it
/// takes up a place in the pool.
pub(super) const RETURN_TIMEOUT: Duration = Duration::from_secs(1);
/// The time after which the driver calls a statement slow.
const SLOW: Duration = Duration::from_secs(1);
/// The server's own limit: no statement of ours takes 30 s unless it waits for a lock that is not released.
const STATEMENT_TIMEOUT: (&str, &str) = ("statement_timeout", "30s");

/// The parameters of a URL that the driver knows.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The origin of a pool's connections, read again for each change of the password.
pub(super) struct ServerOrigin {
    /// The URL, which may hold a password.
    url: String,
    /// Whether the other end takes the startup parameter `options`, which a pooler may refuse.
    takes_options: bool,
}

impl ServerOrigin {
    /// Connects once, outside any pool: a pool would try again and again, and then report no more than that
    /// time is up.
    pub(super) async fn find(url: &str) -> Result<Self, ConnectError> {
        let mut origin = Self { url: url.to_owned(), takes_options: true };
        let options = origin.options()?;
        let attempt = async {
            let is_limited = match login(&options).await {
                Err(error) if refuses_parameter(&error) => {
                    origin.takes_options = false;
                    login(&origin.options()?).await
                }
                connected => connected,
            };
            // A pooler may also accept the parameter and drop it.
            origin.takes_options &= is_limited
                .map_err(|error| ConnectError::Unreachable { reason: describe(&error).into_owned() })?;
            Ok(())
        };
        match timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(())) => Ok(origin),
            Ok(Err(error)) => Err(at(&options, error)),
            Err(_elapsed) => {
                let reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
                Err(at(&options, ConnectError::Unreachable { reason }))
            }
        }
    }

    pub(super) fn takes_options(&self) -> bool {
        self.takes_options
    }

    /// Reads the URL, and the files that belong to it.
    pub(super) fn options(&self) -> Result<PgConnectOptions, ConnectError> {
        // No number of ours has a fraction, and a pooler refuses a parameter that it does not know.
        let options = unhurried(parse(&self.url)?).extra_float_digits(None);
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("leasehold"),
        };
        if !self.takes_options {
            return Ok(options);
        }
        // The driver logs notices, and a trigger may put anything into one.
        let options = options.options([("client_min_messages", "error")]);
        let chosen = options.get_options().is_some_and(|given| given.contains(STATEMENT_TIMEOUT.0));
        Ok(if chosen { options } else { options.options([STATEMENT_TIMEOUT]) })
    }
}

/// Has the driver log a slow statement at the level of all others: a database that is slow would be a warning
/// for each.
fn unhurried(options: PgConnectOptions) -> PgConnectOptions {
    match "debug".parse() {
        Ok(level) => options.log_slow_statements(level, SLOW),
        Err(_) => options,
    }
}

/// Logs in once. Returns whether statements have a time limit there.
async fn login(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    // This is no prepared statement: it is not known yet what is in between.
    let limit = "SELECT current_setting('statement_timeout') AS value";
    let rows = sqlx::raw_sql(limit).fetch_all(&mut connection).await?;
    let limit: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
    // The server ends the session when the socket closes, polite farewell or not.
    let _ = connection.close().await;
    Ok(limit.is_some_and(|limit| limit != "0"))
}

/// Returns whether a pooler refuses a startup parameter. It has no code of its own for that.
fn refuses_parameter(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("unsupported startup parameter"))
}

fn parse(url: &str) -> Result<PgConnectOptions, ConnectError> {
    let refuse = |reason: String| ConnectError::Url { reason };
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => {}
        Some(_) => return Err(refuse("its scheme is not postgres://".to_owned())),
        None => return Err(refuse("it does not begin with postgres://".to_owned())),
    }
    // The driver would log a parameter that it does not know, with its value.
    let query =
        url.split_once('#').map_or(url, |(before, _)| before).split_once('?').map_or("", |(_, query)| query);
    if query.contains('@') {
        let expected = "it has an @ behind a ?; expected any of @ : / ? # % in the user or the password, and \
                        any @ in a parameter, written as %40 %3A %2F %3F %23 %25";
        return Err(refuse(expected.to_owned()));
    }
    let names = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    for name in names {
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") && !name.starts_with("options%5B") {
            // A text that is no name may be a part of something else.
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'));
            let which = if is_name {
                format!("parameter {name:?}")
            } else {
                "parameter, which is no name".to_owned()
            };
            return Err(refuse(format!(
                "it has the unknown {which}; expected one of {}, options[NAME]",
                PARAMETERS.join(", ")
            )));
        }
    }
    url.parse().map_err(|error| {
        let problem = match error {
            sqlx::Error::Configuration(problem) => problem.to_string(),
            _ => "it cannot be parsed".to_owned(),
        };
        refuse(format!(
            "{problem}; expected postgres://user:password@host:port/database, with any of @ : / ? # % in the \
             user or the password written as %40 %3A %2F %3F %23 %25"
        ))
    })
}

/// Adds the name of the server to the error.
pub(super) fn at(options: &PgConnectOptions, error: ConnectError) -> ConnectError {
    let server = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    match error {
        ConnectError::Unreachable { reason } => {
            ConnectError::Unreachable { reason: format!("{server}: {reason}") }
        }
        ConnectError::Pooler(reason) => ConnectError::Pooler(format!("{server}: {reason}")),
        error => error,
    }
}

/// Makes the pool that all statements share. It opens connections as they are needed.
pub(super) fn pool(
    options: PgConnectOptions,
    max_connections: u32,
    acquire_timeout: Duration,
    sets_limit: bool,
) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        // Each connection is asked for a sign of life when it is taken, within a time limit.
        .test_before_acquire(false);
    let pool = if sets_limit {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql("SET statement_timeout = '30s'").execute(connection).await.map(drop)
            })
        })
    } else {
        pool
    };
    pool.connect_lazy_with(options)
}

/// Gives a connection back to its pool, which asks for a sign of life first, and by itself would wait for it
/// without a limit.
pub(super) fn give_back(mut connection: PoolConnection<Postgres>) {
    let returned = connection.return_to_pool();
    // A connection that is silent is closed, and its place is free.
    tokio::spawn(async move { timeout(RETURN_TIMEOUT, returned).await });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_the_driver_does_not_know_is_refused_by_name_alone() {
        for (url, name) in [
            ("postgres://u@h/d?sslpassword=hunter2", "sslpassword"),
            ("postgres://u@h/d?sslmode=disable&secret=hunter2", "secret"),
            ("postgres://u@h/d?hunter=2#x", "hunter"),
            ("postgres://u@h/d?a=b&c", "a"),
            ("postgres://u@h/d?SSLMODE=hunter2", "SSLMODE"),
        ] {
            let error = parse(url).expect_err("it is refused").to_string();
            assert!(error.contains(&format!("unknown parameter {name:?}")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_question_mark_in_a_password_is_not_taken_for_a_parameter() {
        for url in
            ["postgres://ann:pa?hunter2@h/d", "postgres://ann:pa?hun=ter2@h/d", "postgres://h/d?hun.ter2"]
        {
            let error = parse(url).expect_err("it is refused").to_string();
            assert!(!error.contains("hun"), "{error}");
        }
    }

    #[test]
    fn parameters_that_the_driver_knows_are_taken() {
        for query in [
            "",
            "sslmode=disable",
            "options[search_path]=a&application_name=x",
            "options%5Ba%5D=b",
            "&host=x",
        ] {
            assert!(parse(&format!("postgres://u@h/d?{query}")).is_ok(), "{query}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[tokio::test]
    async fn a_url_that_requires_tls_is_refused_in_words_where_the_build_has_none() {
        // The server answers nothing: the driver looks at its own features first.
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        for mode in ["require", "verify-ca", "verify-full"] {
            let found = ServerOrigin::find(&format!("postgres://u@{address}/d?sslmode={mode}")).await;
            let error = found.err().expect("it is refused").to_string();
            assert!(error.contains("built without the feature tls"), "{mode}: {error}");
        }
    }
}
