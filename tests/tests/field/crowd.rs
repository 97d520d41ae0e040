//! Thousands of connections that never read and hundreds that send a byte now and then, beside heartbeats of
//! others: what those take then, against what they take alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use leasehold_tests::Tier;
use leasehold_tests::server::Launch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Time that an answer may take before it counts as none.
const MAX_ANSWER: Duration = Duration::from_secs(10);
/// Requests of a client that never reads: their answers fill every buffer on the way.
const UNREAD: usize = 60;

/// Asks over a connection of its own, and returns how long the answer took.
async fn ask(address: SocketAddr, request: &[u8]) -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = [0; 1024];
    let length = timeout(MAX_ANSWER, stream.read(&mut answer)).await??;
    ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
    Ok(begun.elapsed())
}

/// Sends a request again and again, and returns the 99th of a hundred durations.
async fn slow_ones(address: SocketAddr, requests: &[Vec<u8>], count: usize) -> Result<Duration> {
    let mut durations = Vec::new();
    for n in 0..count {
        durations.push(ask(address, &requests[n % requests.len()]).await?);
    }
    durations.sort();
    Ok(durations[count * 99 / 100])
}

/// A client that asks without end and never reads.
async fn never_reads(address: SocketAddr) -> Result<()> {
    loop {
        let mut stream = TcpStream::connect(address).await?;
        // It ends when the server has had enough.
        let _ = stream.write_all(&b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(UNREAD)).await;
        let _ = stream.readable().await;
        sleep(Duration::from_secs(5)).await;
    }
}

/// A client that sends a byte of a request each second.
async fn drips(address: SocketAddr) -> Result<()> {
    loop {
        let mut stream = TcpStream::connect(address).await?;
        for byte in b"GET /healthz HTTP/1.1\r\nhost: a-host-with-a-long-name\r\n".chunks(1) {
            let is_over = stream.write_all(byte).await.is_err();
            sleep(Duration::from_secs(1)).await;
            if is_over {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_never_reads_keeps_nobody_from_their_answers() -> Result<()> {
    let (unread, slow, count) = match Tier::current() {
        Tier::Gate => (60, 20, 200),
        Tier::Long => (5_000, 500, 2_000),
    };
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let server = launch.server()?;
    let token = server.create("w")?;
    let body = "{\"workspace_id\":\"w\"}";
    let heartbeat = format!(
        "POST /registry/heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    let requests = [heartbeat.into_bytes(), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()];
    let address = server.address();
    let alone = slow_ones(address, &requests, count).await?;
    let mut crowd = JoinSet::new();
    for _ in 0..unread {
        crowd.spawn(never_reads(address));
    }
    for _ in 0..slow {
        crowd.spawn(drips(address));
    }
    // Every request is answered, whatever the crowd does meanwhile; how fast is for the long form to say.
    let beside = slow_ones(address, &requests, count).await?;
    println!("{unread} that never read and {slow} that drip: p99 {beside:?}, {alone:?} without them");
    crowd.abort_all();
    server.stop()?;
    Ok(())
}
