//! A PostgreSQL cluster of a test's own, to be stopped, crashed and started again.
//!
//! The cluster that `tests/run` starts is shared, so no test may stop it; this one has an owner. It keeps its
//! port and its data while it is down. It knows nothing of what connects to it. Whatever becomes of the test,
//! the server ends with the fixture. Its methods block: a test with load of its own calls them from another
//! thread.

mod standby;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use std::{env, fmt};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;

/// The variable in which `tests/run` names the folder that holds the server's programs.
const VARIABLE: &str = "LEASEHOLD_TEST_POSTGRES_BIN";
/// Number of attempts. A port is chosen and then bound, and another process may take it between the two.
const ATTEMPTS: u32 = 5;
/// Time limit: longer than a start, a recovery or a stop takes on a busy machine.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Words in the log of a server that has started, one that may only be read included.
const READY: &str = "ready to accept ";
/// Settings of every cluster. Nothing here is kept for longer than a test, so nothing has to be on a disk
/// unless a test says so.
const SETTINGS: [&str; 3] = ["fsync=off", "listen_addresses=127.0.0.1", "log_checkpoints=off"];

/// The manner in which the server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended with a message, their statements rolled back.
    Fast,
    /// Sessions are cut off as in a crash, and the next start recovers.
    Immediate,
}

/// A cluster whose only user is its superuser. It is running when it is created.
pub struct Cluster {
    bin: PathBuf,
    home: TempDir,
    /// The user that the server runs as, where the test runs as root: the server refuses to be root.
    user: Option<(u32, u32)>,
    password: String,
    settings: Vec<String>,
    port: u16,
    server: Mutex<Option<Server>>,
}

/// A server process of any kind that logs to stderr. It ends with this value.
pub(crate) struct Server {
    child: Child,
    /// Lines that it logs. The channel ends when the last of its processes has.
    log: Receiver<String>,
}

impl Cluster {
    /// Creates and starts a cluster. A setting reads `name=value`.
    pub fn create(settings: &[&str]) -> Result<Self> {
        let bin = env::var_os(VARIABLE).map(PathBuf::from).with_context(|| {
            format!("{VARIABLE} is not set: run the tests with tests/run, which knows where PostgreSQL is")
        })?;
        let password = random_word()?;
        let settings = SETTINGS.iter().chain(settings).map(ToString::to_string).collect();
        let cluster = Self::in_new_folder(bin, password, settings)?;
        cluster.initialize()?;
        cluster.started()
    }

    /// Returns a cluster whose data folder has yet to be made.
    fn in_new_folder(bin: PathBuf, password: String, settings: Vec<String>) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("leasehold-cluster.").tempdir()?;
        let user = server_user()?;
        fs::write(home.path().join("password"), &password)?;
        if let Some((uid, gid)) = user {
            chown(home.path(), Some(uid), Some(gid))?;
            chown(home.path().join("password"), Some(uid), Some(gid))?;
        }
        Ok(Self { bin, home, user, password, settings, port: 0, server: Mutex::new(None) })
    }

    /// Returns the cluster, running on a port that was free.
    fn started(mut self) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            self.port = free_port()?;
            match self.start() {
                Err(error) if format!("{error:#}").contains("could not bind") => {}
                started => return started.map(|()| self),
            }
        }
        bail!("{ATTEMPTS} free ports in a row were taken by somebody else");
    }

    /// Starts the server, recovers what it has to, and returns when it accepts connections.
    pub fn start(&self) -> Result<()> {
        let mut server = self.server();
        ensure!(server.is_none(), "the server is running already");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.arg("-k").arg(self.home.path());
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        let started = Server::start(command, READY)?;
        *server = Some(started);
        Ok(())
    }

    /// Stops the server, and returns when the last of its processes has ended.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mut server = self.server().take().context("the server is not running")?;
        server.signal(match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        })?;
        server.wait()
    }

    /// Stops the server and starts it again.
    pub fn restart(&self, how: Stop) -> Result<()> {
        self.stop(how)?;
        self.start()
    }

    /// Returns how to connect to the database `postgres`, running or not.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("leasehold")
            .password(&self.password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
    }

    fn initialize(&self) -> Result<()> {
        let output = self
            .command("initdb")
            .args(["--username=leasehold", "--auth=password", "--encoding=UTF8", "--no-locale"])
            .args(["--no-sync", "--no-instructions", "--pgdata"])
            .arg(self.data())
            .arg("--pwfile")
            .arg(self.home.path().join("password"))
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Returns a program of the server, in the cluster's folder, as the cluster's user. It stays in the
    /// test's process group: what ends the tests ends it too.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.home.path()).env_clear().stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        // A panic elsewhere leaves a server that still has to be ended.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Starts the server, and waits until it has logged these words.
    pub(crate) fn start(mut command: Command, ready: &str) -> Result<Self> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("stderr is not piped")?;
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // No thread listens while the server runs or once it has been given up.
                let _ = sender.send(line);
            }
        });
        let mut server = Self { child, log };
        if let Err(error) = server.says(ready) {
            server.end();
            return Err(error.context("the server did not start"));
        }
        Ok(server)
    }

    /// Waits until the server logs these words. Lines that were logged before the last such wait do not
    /// count.
    pub(crate) fn says(&self, words: &str) -> Result<()> {
        let mut said = Vec::new();
        loop {
            match self.log.recv_timeout(MAX_WAIT) {
                Ok(line) if line.contains(words) => return Ok(()),
                Ok(line) => said.push(line),
                Err(error) => bail!("it did not say {words:?} ({error}): {}", said.join("\n")),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("sending the server a signal")
    }

    /// Waits until the server and all its processes have closed the log.
    fn wait(&mut self) -> Result<()> {
        loop {
            match self.log.recv_timeout(MAX_WAIT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("the server does not stop"),
            }
        }
        self.child.wait()?;
        Ok(())
    }

    /// Ends the server whatever it is doing.
    fn end(&mut self) {
        // It may have ended already, and where it has not, the last resort follows. The program that runs the
        // tests may have them ignore SIGQUIT, and PgBouncer with them: it has no handler of its own.
        let _ = self.signal(Signal::QUIT);
        let _ = self.signal(Signal::TERM);
        if self.wait().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// The output leaves out the password.
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("home", &self.home.path()).field("port", &self.port).finish()
    }
}

/// Returns the ids of a user with few files, where the test runs as root: `postgres`, or else `nobody`, which
/// always exists.
pub(crate) fn server_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let fields: Vec<&str> = users
            .lines()
            .map(|line| line.split(':').collect())
            .find(|fields: &Vec<&str>| fields.first() == Some(&name))?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    let user = find("postgres").or_else(|| find("nobody"));
    user.map(Some).context("there is neither a user postgres nor a user nobody to run the server as")
}

/// Returns a port that is free and that no system hands out by itself, so that it is still free after a stop.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let mut bytes = [0; 2];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let port = 20_000 + u16::from_le_bytes(bytes) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("50 random ports on 127.0.0.1 are all taken");
}

fn random_word() -> Result<String> {
    let mut bytes = [0; 18];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
