//! The life of a server from the first start to SIGTERM: what it makes and keeps, and how it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use leasehold_tests::Engine;
use leasehold_tests::server::{Launch, no_body};

#[test]
fn the_admin_token_is_made_once_and_used_again_after_a_restart() -> Result<()> {
    let launch = Launch::bare()?;
    let file = launch.folder().join("leasehold.admin-token");
    let server = launch.server()?;
    let token = fs::read_to_string(&file)?;
    let log = server.log()?;
    assert!(log.contains("leasehold.admin-token (new)") && !log.contains(token.trim_end()), "{log}");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let workspace = server.client(token.trim_end()).create("w")?;
    let secret = server.delivered("w", &workspace)?;
    server.admin("GET", "/admin/stats", no_body())?.refusal(401, "unauthorized")?;
    server.stop()?;
    let server = launch.server()?;
    assert_eq!(fs::read_to_string(&file)?, token);
    assert!(server.log()?.contains("leasehold.admin-token") && !server.log()?.contains("(new)"));
    assert_eq!(server.client(token.trim_end()).stat("entries")?, 0);
    assert_eq!(server.delivered("w", &workspace)?, secret, "what was committed is there after a restart");
    server.stop()?;
    Ok(())
}

#[test]
fn what_the_server_makes_is_its_owners_alone() -> Result<()> {
    let launch = Launch::bare()?;
    let server = launch.server()?;
    let mut made = Vec::new();
    for entry in fs::read_dir(launch.folder())? {
        let entry = entry?;
        assert_eq!(entry.metadata()?.permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
        made.push(entry.file_name());
    }
    assert!(made.iter().any(|name| name == "leasehold.db"), "{made:?}");
    server.stop()?;
    Ok(())
}

#[test]
fn the_log_follows_its_filter_and_stdout_has_one_line() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let quiet = launch.clone().variable("LEASEHOLD_LOG", "error").server()?;
    quiet.create("w")?;
    let ended = quiet.stop()?;
    assert_eq!((ended.stdout.as_str(), ended.log.as_str()), ("", ""));
    let usual = launch.server()?;
    usual.create("v")?;
    let ended = usual.stop()?;
    assert_eq!(ended.stdout, "");
    for words in ["the policy is active", "created a workspace", "SIGTERM", "every request was answered"] {
        assert!(ended.log.contains(words), "no {words:?} in {}", ended.log);
    }
    Ok(())
}

/// A connection that is kept for more than one request.
struct Connection(TcpStream);

impl Connection {
    /// Connects, and waits for an answer: from then on the server knows of it.
    fn open(address: std::net::SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Self(stream);
        connection.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
        connection.read_past(r#"{"status":"ok"}"#)?;
        Ok(connection)
    }

    /// Begins a heartbeat without its body. The server asks for that once the handler waits for it.
    fn begin(&mut self, token: &str, body: &str) -> Result<()> {
        self.write(&format!(
            "POST /registry/heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))?;
        self.read_past("100 Continue\r\n\r\n")?;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.0.write_all(text.as_bytes()).context("writing")
    }

    /// Reads until these words have come, and returns what came until then.
    fn read_past(&mut self, words: &str) -> Result<String> {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with(words) {
            self.0.read_exact(&mut byte).with_context(|| format!("waiting for {words:?} after {text:?}"))?;
            text.push(char::from(byte[0]));
        }
        Ok(text)
    }

    fn read_to_end(&mut self) -> Result<String> {
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }
}

#[tokio::test]
async fn sigterm_lets_a_request_in_flight_finish_and_takes_no_new_one() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = engine.empty().await?;
        let server = Launch::new(database.url())?.server()?;
        let (address, token) = (server.address(), server.create("w")?);
        let (mut busy, mut idle) = (Connection::open(address)?, Connection::open(address)?);
        let body = r#"{"workspace_id":"w"}"#;
        busy.begin(&token, body)?;
        server.terminate()?;
        assert_eq!(idle.read_to_end()?, "", "an idle connection is closed once the server stops");
        assert!(TcpStream::connect(address).is_err(), "a new connection was accepted");
        busy.write(body)?;
        let answer = busy.read_to_end()?;
        let stored =
            database.text("SELECT platform_inbound_secret FROM workspaces").await?.context("no secret")?;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&stored), "{answer}");
        let ended = server.wait()?;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.log.contains("every request was answered"), "{}", ended.log);
        assert!(ended.log.contains("the database is closed"), "{}", ended.log);
    }
    Ok(())
}

#[test]
fn a_second_sigterm_does_not_wait_for_the_request_in_flight() -> Result<()> {
    let server = Launch::new("sqlite://test.db?mode=rwc")?.server()?;
    let (mut busy, mut idle) = (Connection::open(server.address())?, Connection::open(server.address())?);
    busy.begin("token", "a body that never comes")?;
    server.terminate()?;
    idle.read_to_end()?;
    server.terminate()?;
    let ended = server.wait()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("stopped without waiting"), "{}", ended.log);
    Ok(())
}
