//! A heartbeat, beside an answer that is always the same: over loopback with keep-alive, as many at once as
//! there are processors.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::Stopwatch;
use super::turns::{Side, Turn};
use crate::{Cli, Command, Server};

const ADMIN_TOKEN: &str = "of-this-benchmark-alone-and-of-nobody-else";

pub(super) fn sides<'a>(runtime: &'a Runtime, folder: &Path) -> anyhow::Result<Vec<Side<'a>>> {
    let database = format!("sqlite://{}?mode=rwc", folder.join("served.db").display());
    let state = folder.join("state").display().to_string();
    let words =
        ["leasehold", "serve", "--listen", "127.0.0.1:0", "--database", &database, "--state-dir", &state];
    let Command::Serve(serve) = Cli::try_parse_from(words)?.command else {
        anyhow::bail!("`leasehold serve` is another command");
    };
    let token = Some(ADMIN_TOKEN.to_owned());
    let server =
        runtime.block_on(Server::start(&serve, token, folder)).context("the server does not start")?;
    let address = server.address().context("the server has no port")?;
    runtime.spawn(server.run_quietly(std::future::pending(), std::future::pending()));
    let heartbeat = runtime.block_on(register(address)).context("a workspace cannot be registered")?;
    let constant = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    let clients = std::thread::available_parallelism().map_or(1, usize::from);
    let side = |name: &str, request: Vec<u8>| Side {
        what: "a heartbeat",
        name: format!("{name}, {clients} clients"),
        at_once: clients,
        measure: Box::new(move |span| runtime.block_on(ask_from(clients, address, &request, span))),
    };
    Ok(vec![side("an answer that is always the same", constant), side("with its secret", heartbeat)])
}

/// Registers a workspace, and returns the bytes of its heartbeat.
async fn register(address: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let create = request("/workspaces", ADMIN_TOKEN, "{\"id\":\"w\"}");
    let created = ask(&mut stream, &create, &mut [0; 4096], "HTTP/1.1 201").await?;
    let token = created.split("\"auth_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(request("/registry/heartbeat", token.context("no token in the answer")?, "{\"workspace_id\":\"w\"}"))
}

fn request(path: &str, token: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends the request again and again over several connections at once.
async fn ask_from(
    clients: usize,
    address: SocketAddr,
    request: &[u8],
    span: Duration,
) -> anyhow::Result<Turn> {
    let asking: Vec<_> = (0..clients)
        .map(|_| {
            let request = request.to_vec();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (mut buffer, mut stopwatch) = ([0; 4096], Stopwatch::of(span));
                while !stopwatch.is_over() {
                    ask(&mut stream, &request, &mut buffer, "HTTP/1.1 200").await?;
                    stopwatch.lap();
                }
                anyhow::Ok(stopwatch.nanos)
            })
        })
        .collect();
    let mut nanos = Vec::new();
    for client in asking {
        nanos.extend(client.await??);
    }
    Ok(nanos.into())
}

/// Sends a request, and returns the answer, which is small and arrives whole.
async fn ask(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut [u8],
    expected: &str,
) -> anyhow::Result<String> {
    stream.write_all(request).await?;
    let length = stream.read(buffer).await?;
    let answer = buffer.get(..length).unwrap_or_default();
    anyhow::ensure!(answer.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(answer));
    Ok(String::from_utf8_lossy(answer).into_owned())
}
