//! Heartbeats over HTTP on loopback with keep-alive, beside a constant answer of the same server, and beside
//! the server itself with a policy that caches nothing, on PostgreSQL.

use std::net::SocketAddr;
use std::time::Duration;

use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{Launch, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::fleet::ids;
use crate::report::{Report, Table, times};
use crate::stores;
use crate::turns::now;

const ROUNDS: usize = 21;
const SPAN: Duration = Duration::from_millis(250);
const CONNECTIONS: usize = 8;
const WORKSPACES: usize = 64;

/// Measurements of one round of one side.
struct Round {
    per_second: f64,
    /// Processor time of the server for each request, in microseconds.
    processor: f64,
    /// Latencies in microseconds: the median, the 99th and the 99.9th percentile.
    latencies: [f64; 3],
}

/// One server, and the requests that are sent to it.
struct Side {
    name: &'static str,
    process: u32,
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    rounds: Vec<Round>,
}

impl Side {
    fn new(name: &'static str, server: &Server, requests: Vec<Vec<u8>>) -> Self {
        let (process, address) = (server.process_id(), server.address());
        Self { name, process, address, requests, rounds: Vec::new() }
    }
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "The server",
        "Requests over loopback, 8 connections with keep-alive, one client thread beside the server's two on \
         two cores. The constant is the answer of `/healthz` from the same server. Ratios are medians over \
         the rounds.",
    );
    let runtime = runtime();
    let database = empty_database(&runtime);
    let (cached, uncached) = (start(&database, "ttl"), start(&database, "passthrough"));
    let heartbeats = heartbeats(&cached, WORKSPACES);
    let constant = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    let mut sides = [
        Side::new("a constant", &cached, vec![constant]),
        Side::new("a heartbeat, cached", &cached, heartbeats.clone()),
        Side::new("a heartbeat, passthrough", &uncached, heartbeats),
    ];
    for round in 0..=ROUNDS {
        for turn in 0..sides.len() {
            let side = &mut sides[(round + turn) % 3];
            let measured = runtime.block_on(load(side, CONNECTIONS));
            if round > 0 {
                side.rounds.push(measured);
            }
        }
    }
    let mut table = Table::new(&[
        "",
        "requests/s",
        "range",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "processor µs",
        "to the constant",
    ]);
    let per_second = |side: &Side| median(side.rounds.iter().map(|round| round.per_second));
    // Ratios are taken round by round: the machine has good and bad seconds, and both sides of a round have
    // the same.
    let ratio = |side: &Side, to: &Side| {
        let rounds = side.rounds.iter().zip(&to.rounds);
        median(rounds.map(|(round, to)| round.per_second / to.per_second))
    };
    for side in &sides {
        let all = || side.rounds.iter().map(|round| round.per_second);
        let latency =
            |index: usize| format!("{:.0}", median(side.rounds.iter().map(|round| round.latencies[index])));
        table.row([
            side.name.to_owned(),
            format!("{:.0}", per_second(side)),
            format!("{:.0} to {:.0}", all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max)),
            latency(0),
            latency(1),
            latency(2),
            format!("{:.1}", median(side.rounds.iter().map(|round| round.processor))),
            times(ratio(side, &sides[0])),
        ]);
    }
    report.table(&table);
    let [constant, cached, uncached] = &sides;
    report.at_least("heartbeats, to a constant answer", ratio(cached, constant), 0.85);
    report.at_least("heartbeats, to passthrough on PostgreSQL", ratio(cached, uncached), 5.0);
}

/// A server with a policy that caches, and heartbeats for it.
pub(crate) struct Heartbeats {
    runtime: Runtime,
    side: Side,
    _server: Server,
    _database: TestDatabase,
}

impl Heartbeats {
    pub(crate) fn start() -> Self {
        let runtime = runtime();
        let database = empty_database(&runtime);
        let server = start(&database, "ttl");
        let side = Side::new("a heartbeat, cached", &server, heartbeats(&server, WORKSPACES));
        Self { runtime, side, _server: server, _database: database }
    }

    /// Returns the milliseconds in which each of so many connections has one heartbeat answered.
    pub(crate) fn ms_for_one_over_each(&self, connections: usize) -> f64 {
        let round = self.runtime.block_on(load(&self.side, connections));
        connections as f64 / round.per_second * 1e3
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Creates a PostgreSQL database in which a server finds no table.
fn empty_database(runtime: &Runtime) -> TestDatabase {
    let (database, _) = runtime.block_on(stores::postgres(&ids(1))).expect("a database");
    let dropped = async { sqlx::raw_sql("DROP TABLE workspaces").execute(database.pool()).await };
    runtime.block_on(dropped).expect("no table");
    database
}

fn start(database: &TestDatabase, policy: &str) -> Server {
    let launch = Launch::new(database.url()).expect("a folder").arguments(["--policy", policy]);
    launch.server().expect("it starts")
}

/// Returns a heartbeat for each of so many new workspaces.
fn heartbeats(server: &Server, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| heartbeat(server, &format!("w{number}"))).collect()
}

/// Returns the bytes of a heartbeat for a new workspace.
fn heartbeat(server: &Server, id: &str) -> Vec<u8> {
    let token = server.create(id).expect("it can be created");
    let body = format!("{{\"workspace_id\":\"{id}\"}}");
    format!(
        "POST /registry/heartbeat HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends requests for a while, over so many connections at once.
async fn load(side: &Side, connections: usize) -> Round {
    let Side { process, address, ref requests, .. } = *side;
    let (started, spent) = (now(), processor_nanos(process));
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            let mut own: Vec<Vec<u8>> = requests.iter().skip(number).step_by(connections).cloned().collect();
            if own.is_empty() {
                own.push(requests[0].clone());
            }
            tokio::spawn(async move { ask(address, &own).await })
        })
        .collect();
    let mut spans = Vec::new();
    for client in clients {
        spans.extend(client.await.expect("it ends"));
    }
    let (per_second, spent) =
        (spans.len() as f64 / started.elapsed().as_secs_f64(), processor_nanos(process) - spent);
    let processor = spent as f64 / spans.len() as f64 / 1e3;
    spans.sort_by(f64::total_cmp);
    let percentile = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize];
    Round { per_second, processor, latencies: [0.5, 0.99, 0.999].map(percentile) }
}

/// Returns the processor time that a process has used, in all of its threads.
fn processor_nanos(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanos = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).expect("Linux says so");
        stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("nanoseconds")
    };
    threads.map(|thread| nanos(thread.expect("a thread"))).sum()
}

/// Sends requests over one connection, and returns the microseconds of each.
async fn ask(address: SocketAddr, requests: &[Vec<u8>]) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let (mut spans, mut buffer) = (Vec::new(), vec![0; 4096]);
    let end = now() + SPAN;
    for request in requests.iter().cycle() {
        let asked = now();
        if asked > end {
            break;
        }
        stream.write_all(request).await.expect("it is sent");
        // Answers are small: each arrives whole.
        let length = stream.read(&mut buffer).await.expect("it answers");
        assert!(
            buffer[..length].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&buffer[..length])
        );
        spans.push(asked.elapsed().as_nanos() as f64 / 1e3);
    }
    spans
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
