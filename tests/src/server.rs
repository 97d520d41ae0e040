//! The real server as a child process: its command line, its environment, its output, its end.
//!
//! Nothing of the test's own environment reaches it, so that a password or a filter of the user that runs the
//! tests changes nothing. Every wait has a bound, and no process outlives the value that stands for it.

mod binary;
mod client;
mod process;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

pub use self::client::{Answer, Client, no_body};
pub use self::process::Ended;
use self::process::Process;

/// The admin token of every server that is not given another one.
pub const ADMIN_TOKEN: &str = "correct-horse-battery-staple";

/// The description of a server that is to be started. It can be started again, in the same folder.
#[derive(Clone, Debug)]
pub struct Launch {
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    script: Option<&'static str>,
}

/// A server that has yet to come up, or may never. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Starting {
    process: Process,
    /// Holds the working directory for as long as the server may use it.
    _folder: Arc<TempDir>,
}

/// A server that listens. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    client: Client,
    /// Holds the working directory for as long as the server may use it.
    _folder: Arc<TempDir>,
}

impl Launch {
    /// Describes `leasehold` with these arguments and nothing else, in an empty folder.
    pub fn alone<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let folder = Arc::new(tempfile::tempdir().context("creating a temporary folder")?);
        Ok(Self { folder, arguments: Vec::new(), variables: Vec::new(), script: None }.arguments(arguments))
    }

    /// Describes `leasehold serve` on a free port, with the database and the admin token that it makes for
    /// itself.
    pub fn bare() -> Result<Self> {
        Self::alone(["serve", "--listen", "127.0.0.1:0"])
    }

    /// Describes the same with a database and with [`ADMIN_TOKEN`].
    pub fn new(database: &str) -> Result<Self> {
        // Its password is not for the command line, where every user of the machine sees it.
        let launch = Self::bare()?.variable("LEASEHOLD_DATABASE", database);
        Ok(launch.variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN))
    }

    /// Adds arguments.
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Describes `leasehold` with other arguments and nothing else, in the same folder.
    pub fn beside<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let folder = Arc::clone(&self.folder);
        Self { folder, arguments: Vec::new(), variables: Vec::new(), script: None }.arguments(arguments)
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server by a script of the shell, which has to end with `exec "$0" "$@"`.
    pub fn by(mut self, script: &'static str) -> Self {
        self.script = Some(script);
        self
    }

    /// Returns the working directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the server and waits until it listens.
    pub fn server(&self) -> Result<Server> {
        let mut process = self.process()?;
        let Some(line) = process.next_line()? else {
            let ended = process.wait()?;
            bail!("the server ended with code {:?}:\n{}", ended.code, ended.log);
        };
        let address =
            line.strip_prefix("listening on http://").with_context(|| format!("it said {line:?}"))?;
        let address: SocketAddr = address.parse().with_context(|| format!("it said {line:?}"))?;
        let client = Client::new(address, ADMIN_TOKEN);
        Ok(Server { process, client, _folder: Arc::clone(&self.folder) })
    }

    /// Starts the server, and does not wait for anything.
    pub fn begin(&self) -> Result<Starting> {
        Ok(Starting { process: self.process()?, _folder: Arc::clone(&self.folder) })
    }

    /// Runs the binary until it ends by itself.
    pub fn run_to_completion(&self) -> Result<Ended> {
        self.process()?.wait()
    }

    /// Starts the server and kills it with SIGKILL once it listens or this span is over, whichever comes
    /// first.
    pub fn killed_within(&self, span: Duration) -> Result<Ended> {
        let mut process = self.process()?;
        process.line_within(span);
        process.signal(Signal::KILL)?;
        process.wait()
    }

    fn process(&self) -> Result<Process> {
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let leasehold = binary::built()?;
        let Some(script) = self.script else {
            return Process::start(leasehold, &self.arguments, variables, self.folder());
        };
        let leasehold = leasehold.to_str().context("the path of the server is not text")?;
        let mut arguments = vec!["-c".to_owned(), script.to_owned(), leasehold.to_owned()];
        arguments.extend_from_slice(&self.arguments);
        Process::start(Path::new("/bin/sh"), &arguments, variables, self.folder())
    }
}

/// Returns the path of the program, once it is up to date.
pub fn binary() -> Result<&'static Path> {
    binary::built()
}

impl Starting {
    /// Returns the next line that it writes to stdout, or `None` once there will be none.
    pub fn next_line(&mut self) -> Result<Option<String>> {
        self.process.next_line()
    }

    /// Returns the id of the process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Sends SIGKILL, and waits until the process has ended.
    pub fn killed(mut self) -> Result<Ended> {
        self.process.signal(Signal::KILL)?;
        self.process.wait()
    }

    /// Returns what it has written to stderr so far.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Sends SIGTERM, and waits until the process has ended.
    pub fn terminated(mut self) -> Result<Ended> {
        self.process.signal(Signal::TERM)?;
        self.process.wait()
    }

    /// Waits until the process has ended by itself.
    pub fn wait(mut self) -> Result<Ended> {
        self.process.wait()
    }
}

impl Server {
    /// Starts a server on this database.
    pub fn start(database: &str) -> Result<Self> {
        Launch::new(database)?.server()
    }

    /// Returns a client with this admin token in place of [`ADMIN_TOKEN`].
    pub fn client(&self, admin_token: &str) -> Client {
        Client::new(self.client.address(), admin_token)
    }

    /// Returns the id of the process that it runs in.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Returns what it has written to stderr so far. A line that was written before an answer is in here
    /// after that answer.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Keeps files of the server from growing beyond this many bytes from now on; `None` lifts that. The
    /// signal that comes with it ends the server unless its [script](Launch::by) ignores it: `trap '' XFSZ`.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        self.process.limit_files(bytes)
    }

    /// Gives the server so many bytes of address space beyond what it has from now on; `None` lifts that.
    pub fn limit_memory(&self, more: Option<u64>) -> Result<()> {
        self.process.limit_memory(more)
    }

    /// Sends SIGTERM, and does not wait for its effect.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Sends a signal that has no method of its own.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Sends SIGKILL, which no process can catch, and waits until it has ended.
    pub fn kill(self) -> Result<Ended> {
        self.process.signal(Signal::KILL)?;
        let ended = self.wait()?;
        ensure!(ended.code.is_none(), "it ended by itself with {:?}:\n{}", ended.code, ended.log);
        Ok(ended)
    }

    /// Waits until the process has ended.
    pub fn wait(mut self) -> Result<Ended> {
        self.process.wait()
    }

    /// Ends the server as a service manager does, and makes sure that it ended well.
    pub fn stop(self) -> Result<Ended> {
        self.terminate()?;
        let ended = self.wait()?;
        ensure!(ended.code == Some(0), "after SIGTERM it ended with {:?}:\n{}", ended.code, ended.log);
        Ok(ended)
    }
}

/// A server answers requests through its client.
impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
