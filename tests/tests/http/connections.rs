//! Connections that are slow, many or old: what each may take, and that none of them keeps others out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use leasehold_tests::server::{ADMIN_TOKEN, Launch, Server};
use leasehold_tests::{MAX_WAIT, Tier, until};
use rustix::process::{Pid, Signal, kill_process};

const DATABASE: &str = "sqlite://test.db?mode=rwc";
const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

fn launch(arguments: &[&str]) -> Result<Launch> {
    Ok(Launch::new(DATABASE)?.arguments(arguments.iter().copied()))
}

/// A connection to a server.
struct Connection(TcpStream);

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(MAX_WAIT))?;
        stream.set_write_timeout(Some(MAX_WAIT))?;
        Ok(Self(stream))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Sends a request, and returns its answer's first bytes.
    fn ask(&mut self) -> Result<String> {
        self.send(ASK)?;
        let mut answer = [0; 4096];
        let length = self.0.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// Reads until the server closes the connection.
    fn closed(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn is_good(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200")
}

#[test]
fn an_idle_connection_outlasts_slow_headers_and_ends_at_its_own_time() -> Result<()> {
    let server = launch(&["--header-timeout", "300ms", "--keep-alive", "1h"])?.server()?;
    let mut kept = Connection::open(server.address())?;
    assert!(is_good(&kept.ask()?));
    let mut slow = Connection::open(server.address())?;
    slow.send(b"GET /healthz HT")?;
    slow.closed().context("slow headers were waited for")?;
    let mut silent = Connection::open(server.address())?;
    silent.closed().context("a client that says nothing was waited for")?;
    let mut second = Connection::open(server.address())?;
    assert!(is_good(&second.ask()?));
    second.send(b"GET /hea")?;
    second.closed().context("slow headers of a second request were waited for")?;
    assert!(is_good(&kept.ask()?), "the idle connection was closed with the slow ones");
    server.stop()?;
    let server = launch(&["--header-timeout", "1h", "--keep-alive", "300ms"])?.server()?;
    let mut kept = Connection::open(server.address())?;
    assert!(is_good(&kept.ask()?));
    kept.closed().context("an idle connection stayed")?;
    server.stop()?;
    Ok(())
}

#[test]
fn by_default_an_idle_connection_is_kept_longer_than_balancers_keep_theirs() -> Result<()> {
    let shown = Launch::alone(["config", "show"])?.run_to_completion()?.stdout;
    assert!(shown.lines().any(|line| line.starts_with("keep-alive = \"75s\"")), "{shown}");
    Ok(())
}

#[test]
fn a_client_that_never_reads_is_dropped_and_the_others_are_answered() -> Result<()> {
    let server = launch(&["--write-timeout", "500ms"])?.server()?;
    let mut stuck = Connection::open(server.address())?;
    stuck.0.set_nonblocking(true)?;
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    // Its answers fill every buffer on the way, then the server stops reading, then it ends the connection.
    until("the server gives up on it", || match stuck.0.write(&request) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(_) => Ok(true),
    })?;
    assert!(is_good(&Connection::open(server.address())?.ask()?));
    server.stop()?;
    Ok(())
}

/// Starts a server with little room, and fills it with connections of every kind that serve nothing.
fn crowded(many: usize) -> Result<(Server, Vec<Connection>)> {
    let server =
        launch(&["--max-connections", "64", "--header-timeout", "1h", "--write-timeout", "1h"])?.server()?;
    let mut crowd = Vec::new();
    for n in 0..many {
        let mut connection = Connection::open(server.address())?;
        match n % 3 {
            // Answered, and not read.
            0 => connection.send(ASK)?,
            1 => connection.send(b"G")?,
            _ => {}
        }
        crowd.push(connection);
    }
    Ok((server, crowd))
}

#[test]
fn connections_that_do_nothing_keep_nobody_out() -> Result<()> {
    let (server, crowd) = crowded(300)?;
    let token = server.create("w")?;
    for _ in 0..50 {
        assert_eq!(server.get("/healthz")?.status, 200);
        assert_eq!(server.heartbeat("w", &token)?.status, 200);
    }
    let log = server.log()?;
    assert_eq!(log.matches("idle and slow ones are ended").count(), 1, "{log}");
    assert!(log.matches("new ones are refused").count() <= 1, "{log}");
    let metrics = server.get("/metrics")?.text;
    let number = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse::<u64>().unwrap_or_default()
    };
    assert!(number("leasehold_connections_evicted_total ") > 200, "{metrics}");
    assert!((1..=64).contains(&number("leasehold_connections ")), "{metrics}");
    drop(crowd);
    server.stop()?;
    Ok(())
}

#[test]
fn clients_wait_in_the_queue_of_a_server_that_is_held_up() -> Result<()> {
    let server = launch(&[])?.server()?;
    let pid = Pid::from_raw(server.process_id().cast_signed()).context("no id")?;
    kill_process(pid, Signal::STOP)?;
    let waiting: Result<Vec<_>> = (0..400)
        .map(|_| Ok(TcpStream::connect_timeout(&server.address(), Duration::from_secs(5))?))
        .collect();
    kill_process(pid, Signal::CONT)?;
    assert_eq!(waiting.context("the queue is too short")?.len(), 400);
    server.stop()?;
    Ok(())
}

#[test]
fn with_a_delay_readiness_ends_first_and_clients_are_answered_until_it_is_over() -> Result<()> {
    let server = launch(&["--shutdown-delay", "3s"])?.server()?;
    let token = server.create("w")?;
    let mut kept = Connection::open(server.address())?;
    assert!(is_good(&kept.ask()?));
    server.terminate()?;
    until("it is not ready", || Ok(server.get("/readyz")?.status == 503))?;
    assert_eq!(server.get("/healthz")?.status, 200);
    assert_eq!(server.heartbeat("w", &token)?.status, 200, "a new connection was refused within the delay");
    let last = kept.ask()?;
    assert!(is_good(&last) && last.to_lowercase().contains("connection: close"), "{last}");
    let ended = server.wait()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    Ok(())
}

/// A service manager that holds the port, and the server behind it.
struct Activated {
    manager: Child,
    _stdin: ChildStdin,
    address: SocketAddr,
    server: Option<Pid>,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    _folder: tempfile::TempDir,
}

impl Activated {
    fn start() -> Result<Self> {
        use std::io::BufRead as _;
        let folder = tempfile::tempdir()?;
        let program = leasehold_tests::server::binary()?;
        let mut manager = Command::new(env!("CARGO_BIN_EXE_activate"))
            .arg(program)
            .args(["serve", "--listen", "systemd", "--database", DATABASE])
            .current_dir(folder.path())
            .env_clear()
            .env("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = manager.stdin.take().context("stdin is not piped")?;
        let stdout = manager.stdout.take().context("stdout is not piped")?;
        let mut lines = std::io::BufReader::new(stdout).lines();
        let first = lines.next().context("it said nothing")??;
        let address = first.strip_prefix("socket ").context("it said something else")?.parse()?;
        Ok(Self { manager, _stdin: stdin, address, server: None, lines, _folder: folder })
    }

    /// Waits for the next start, and returns the id of the process.
    fn started(&mut self) -> Result<Pid> {
        let line = self.lines.next().context("it has ended")??;
        let Some(id) = line.strip_prefix("started ") else { bail!("it said {line:?}") };
        self.server = Pid::from_raw(id.parse()?);
        self.server.context("no id")
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // First the manager, which would start another server. A failure means that it has ended already.
        let _ = self.manager.kill();
        let _ = self.manager.wait();
        if let Some(server) = self.server {
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

#[test]
fn with_a_socket_of_the_service_manager_a_restart_refuses_nobody() -> Result<()> {
    let restarts = Tier::current().pick(3, 20);
    let mut activated = Activated::start()?;
    let mut server = activated.started()?;
    let mut asked = 0;
    for _ in 0..restarts {
        for _ in 0..20 {
            let answer = Connection::open(activated.address)?.ask()?;
            ensure!(is_good(&answer), "request {asked}: {answer}");
            asked += 1;
        }
        kill_process(server, Signal::TERM)?;
        for _ in 0..20 {
            let mut connection = Connection::open(activated.address)?;
            let answer = connection.ask()?;
            ensure!(is_good(&answer), "request {asked}, within a restart: {answer:?}");
            asked += 1;
        }
        server = activated.started()?;
    }
    Ok(())
}
