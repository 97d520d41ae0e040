//! PgBouncer in front of a PostgreSQL server, old or new, pooling by session, transaction or statement.
//!
//! Each pooler has a folder, a port and server connections of its own, and ends with its value. It knows
//! nothing of what connects to it. Its methods block for a moment: a test with concurrent work runs that on
//! other threads.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fmt, fs};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;

use crate::cluster::{Server, free_port, server_user};

/// Number of attempts. A port is chosen and then bound, and another process may take it between the two.
const ATTEMPTS: u32 = 5;
/// Words in the log once the configuration holds: at the start, and after SIGHUP.
const READY: &str = "process up";
const READ_AGAIN: &str = "re-reading config";
/// Settings that a test does not override. A server that came back is tried again soon, and the log is not
/// full of logins.
const SETTINGS: [(&str, &str); 6] = [
    ("default_pool_size", "12"),
    ("max_client_conn", "200"),
    ("server_login_retry", "1"),
    ("log_connections", "0"),
    ("log_disconnections", "0"),
    ("unix_socket_dir", ""),
];

/// The kinds of PgBouncer there are. `tests/pgbouncer` finds one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A version below 1.21: in transaction mode it loses prepared statements. Debian 12 has 1.18.
    Old,
    /// A version from 1.21 on: it keeps them, unless `max_prepared_statements` is 0. Debian 13 has 1.24.
    New,
}

/// The span for which a client has a server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The whole time for which it is connected.
    Session,
    /// One transaction.
    Transaction,
    /// One statement.
    Statement,
}

/// A running PgBouncer.
pub struct Pooler {
    program: PathBuf,
    home: TempDir,
    /// The user that it runs as, where the test runs as root: it refuses to be root.
    user: Option<(u32, u32)>,
    /// The server, with the user that logs in there. The same user and password log in here.
    server: PgConnectOptions,
    database: String,
    password: String,
    port: u16,
    settings: Mutex<Vec<(String, String)>>,
    process: Mutex<Option<Server>>,
}

impl Version {
    fn program(self) -> Result<PathBuf> {
        let variable = match self {
            Self::Old => "LEASEHOLD_TEST_PGBOUNCER_OLD",
            Self::New => "LEASEHOLD_TEST_PGBOUNCER_NEW",
        };
        env::var_os(variable).map(PathBuf::from).with_context(|| {
            format!("{variable} is not set: run the tests with tests/run, which says why where there is none")
        })
    }
}

impl Mode {
    /// Returns the word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

impl Pooler {
    /// Starts a pooler in front of the database that `server` names. A setting is one of PgBouncer's own, and
    /// comes after 12 server connections and no startup parameter that is ignored.
    pub fn start(
        version: Version,
        mode: Mode,
        server: &PgConnectOptions,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("leasehold-pooler.").tempdir()?;
        let user = server_user()?;
        let password = password(server)?;
        fs::write(home.path().join("users"), format!("\"{}\" \"{password}\"\n", server.get_username()))?;
        if let Some((uid, gid)) = user {
            chown(home.path(), Some(uid), Some(gid))?;
            chown(home.path().join("users"), Some(uid), Some(gid))?;
        }
        let database = server.get_database().context("the server's database has no name")?.to_owned();
        let pooler = Self {
            program: version.program()?,
            home,
            user,
            server: server.clone(),
            database,
            password,
            port: 0,
            settings: Mutex::default(),
            process: Mutex::new(None),
        };
        pooler.keep(&SETTINGS);
        pooler.keep(&[("pool_mode", mode.word())]);
        pooler.keep(settings);
        pooler.started()
    }

    /// Changes settings while it runs, as an operator does with a reload. Clients stay connected.
    pub fn reload(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.keep(settings);
        self.configure()?;
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process.as_ref().context("the pooler is not running")?;
        process.signal(Signal::HUP)?;
        // It reads the file when it logs that it reads it, before it looks at any client again.
        process.says(READ_AGAIN)
    }

    /// Changes the mode while it runs. See [`reload`](Self::reload).
    pub fn switch(&self, mode: Mode) -> Result<()> {
        self.reload(&[("pool_mode", mode.word())])
    }

    /// Returns how to connect through it.
    pub fn options(&self) -> PgConnectOptions {
        self.server.clone().host("127.0.0.1").port(self.port).ssl_mode(PgSslMode::Disable)
    }

    /// Returns the URL to connect with, with the password. It has no parameters, like a URL that is written
    /// by hand.
    pub fn url(&self) -> String {
        let user = self.server.get_username();
        format!("postgres://{user}:{}@127.0.0.1:{}/{}", self.password, self.port, self.database)
    }

    fn started(mut self) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            self.port = free_port()?;
            self.configure()?;
            match Server::start(self.command(), READY) {
                Err(error) if format!("{error:#}").contains("Address already in use") => {}
                Err(error) => return Err(error.context("PgBouncer")),
                Ok(process) => {
                    self.process = Mutex::new(Some(process));
                    return Ok(self);
                }
            }
        }
        bail!("{ATTEMPTS} free ports in a row were taken by somebody else");
    }

    /// Returns the command. It stays in the test's process group: what ends the tests ends it too.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("pgbouncer.ini").current_dir(self.home.path()).env_clear().stdin(Stdio::null());
        // A program that was unpacked is a script.
        command.env("PATH", "/usr/bin:/bin");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn keep(&self, settings: &[(&str, &str)]) {
        let mut kept = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in settings {
            kept.retain(|(known, _)| known != name);
            kept.push(((*name).to_owned(), (*value).to_owned()));
        }
    }

    fn configure(&self) -> Result<()> {
        let mut file = format!(
            "[databases]\n{} = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             auth_type = scram-sha-256\nauth_file = {}\n",
            self.database,
            self.server.get_host(),
            self.server.get_port(),
            self.port,
            self.home.path().join("users").display()
        );
        for (name, value) in self.settings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            file.push_str(&format!("{name} = {value}\n"));
        }
        let path = self.home.path().join("pgbouncer.ini");
        fs::write(&path, file)?;
        if let Some((uid, gid)) = self.user {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

/// The output leaves out the passwords.
impl fmt::Debug for Pooler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooler").field("home", &self.home.path()).field("port", &self.port).finish()
    }
}

/// Returns the password out of the URL: the driver offers it nowhere else.
fn password(server: &PgConnectOptions) -> Result<String> {
    let url = server.to_url_lossy();
    let password = url.password().context("the server's URL has no password")?;
    // It is written as base64url, two characters of which a URL escapes.
    let password = password.replace("%2D", "-").replace("%5F", "_");
    ensure!(!password.contains(['%', '"']), "the server's password is more than a word");
    Ok(password)
}
