//! What stands before the routes: requests that are no HTTP, that are too large, and clients that send all
//! they have before they read a word.
//!
//! The clients are sockets that do just what is written here, and Python's urllib where there is a Python.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::Engine;
use leasehold_tests::server::no_body;
use serde_json::Value;

use super::{TestBed, W};

/// Size of a body that no socket's buffers hold.
const EIGHT_MEBIBYTES: usize = 8 << 20;

/// Sends all of it, then reads the one answer: its status, its head and its body.
fn exchange(address: SocketAddr, request: &[u8]) -> Result<(u16, String, Value)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request).context("sending")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading")?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no head: {answer:?}"))?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let body = serde_json::from_str(body).with_context(|| format!("no JSON: {answer:?}"))?;
    Ok((status, head.to_ascii_lowercase(), body))
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_is_told_that_it_is_too_much() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    let mut request = format!(
        "POST /registry/heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {EIGHT_MEBIBYTES}\r\n\r\n"
    )
    .into_bytes();
    request.resize(request.len() + EIGHT_MEBIBYTES, b' ');
    for _ in 0..20 {
        let (status, _, body) = exchange(bench.server.address(), &request)?;
        ensure!(status == 413 && body["error"]["code"] == "body_too_large", "{status} {body}");
    }
    // Without a token the body is not even looked at.
    let stranger = String::from_utf8_lossy(&request).replacen("authorization", "x-authorization", 1);
    let (status, _, body) = exchange(bench.server.address(), stranger.as_bytes())?;
    ensure!(status == 401 && body["error"]["code"] == "unauthorized", "{status} {body}");
    Ok(())
}

const URLLIB: &str = "
import sys, urllib.request, urllib.error
request = urllib.request.Request(sys.argv[1], data=b' ' * (8 << 20), method='POST')
request.add_header('Authorization', 'Bearer ' + sys.argv[2])
for _ in range(20):
    try:
        urllib.request.urlopen(request, timeout=60)
        sys.exit('it was taken')
    except urllib.error.HTTPError as error:
        if error.code != 413 or b'body_too_large' not in error.read():
            sys.exit('another answer: %s' % error)
";

#[tokio::test]
async fn pythons_urllib_is_told_that_its_body_is_too_large() -> Result<()> {
    let has_python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !has_python.is_ok_and(|status| status.success()) {
        println!("there is no python3 here; the test above has a client of the same kind");
        return Ok(());
    }
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    let url = format!("http://{}/registry/heartbeat", bench.server.address());
    let output = Command::new("python3").args(["-c", URLLIB, &url, &token]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_the_one_shape_of_errors() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let many: String = (0..101).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(600 << 10));
    let head = "GET /healthz HTTP/1.1\r\n";
    for (request, status, code) in [
        (format!("{head}host: x\r\n{many}\r\n"), 431, "headers_too_large"),
        (format!("{head}host: x\r\n{large}\r\n"), 431, "headers_too_large"),
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("{head}host: x\r\nno colon\r\n\r\n"), 400, "malformed_request"),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(70_000)), 414, "path_too_long"),
    ] {
        let shown: String = request.chars().take(60).collect();
        let (answered, head, body) = exchange(bench.server.address(), request.as_bytes())?;
        ensure!(answered == status && body["error"]["code"] == code, "{shown:?}: {answered} {body}");
        ensure!(body["error"]["message"].as_str().is_some_and(|words| words.len() > 20), "{body}");
        ensure!(head.contains("content-type: application/json"), "{head}");
        ensure!(head.contains("connection: close"), "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_of_http_1_1_names_its_host_once() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let ask = |line: &str, hosts: &str| {
        let request = format!("GET /healthz {line}\r\n{hosts}connection: close\r\n\r\n");
        exchange(bench.server.address(), request.as_bytes())
    };
    for hosts in ["", "host: x\r\nhost: x\r\n"] {
        let (status, _, body) = ask("HTTP/1.1", hosts)?;
        ensure!(status == 400 && body["error"]["code"] == "invalid_host", "{hosts:?}: {status} {body}");
    }
    ensure!(ask("HTTP/1.1", "host: x\r\n")?.0 == 200);
    ensure!(ask("HTTP/1.0", "")?.0 == 200, "HTTP/1.0 has no such rule");
    Ok(())
}

#[tokio::test]
async fn each_503_says_when_to_come_back_and_not_to_all_the_same() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    bench.break_table().await?;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = bench.server.admin("POST", "/workspaces", no_body())?;
        answer.refusal(503, "unavailable")?;
        let after = answer.header("retry-after").context("no Retry-After")?.to_owned();
        ensure!(["1", "2", "3"].contains(&after.as_str()), "{after}");
        seen.insert(after);
    }
    ensure!(seen.len() > 1, "all come back together: {seen:?}");
    Ok(())
}
