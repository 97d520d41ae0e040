//! A database that is down, as the log and the clients see it: the cause once, a count while it lasts, and a
//! line when it is over.
//!
//! The cluster is the test's own and is really stopped. The answers to heartbeats meanwhile are the business
//! of `http/outage.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::server::{Client, Launch, Server, no_body};
use leasehold_tests::{MAX_WAIT, postgres::TestDatabase};
use serde_json::json;
use sqlx::ConnectOptions as _;
use tokio::time::Instant;

/// Number of clients that beat, each as fast as it is answered.
const CLIENTS: usize = 4;

/// Settings with which every heartbeat asks the database, and lets its token in for as long as it is down.
const ALWAYS: [&str; 4] = ["--setting", "ttl=0s", "--token-setting", "ttl=0s"];

/// Words for a proxy that closes a connection before a word.
const WITHOUT_SERVER: &str = "as a proxy whose server is down does";

/// Heartbeats that go on until they are told to stop.
struct Beats {
    is_over: AtomicBool,
    /// Number of heartbeats without a secret.
    failed: AtomicU64,
    /// The longest that one took, in milliseconds.
    longest: AtomicU64,
}

impl Beats {
    fn run(self: &Arc<Self>, client: &Client, token: &str) -> tokio::task::JoinHandle<Result<()>> {
        let (beats, client, token) = (Arc::clone(self), client.clone(), token.to_owned());
        tokio::task::spawn_blocking(move || {
            while !beats.is_over.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let answer = client.heartbeat("w", &token)?.json(200)?;
                let took = u64::try_from(begun.elapsed().as_millis())?;
                if answer["secret_error"] == json!("unavailable") {
                    beats.failed.fetch_add(1, Ordering::SeqCst);
                    beats.longest.fetch_max(took, Ordering::SeqCst);
                }
            }
            Ok(())
        })
    }
}

/// Waits until the log has these words.
fn logs(server: &Server, words: &str) -> Result<()> {
    let begun = Instant::now();
    while !server.log()?.contains(words) {
        ensure!(begun.elapsed() < MAX_WAIT, "no {words:?} in {}", server.log()?);
        server.get("/healthz")?;
    }
    Ok(())
}

fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_stopped_is_told_once_with_its_cause_then_counted_and_told_when_it_is_back()
-> Result<()> {
    let cluster = Arc::new(Cluster::create(&[])?);
    let server = Launch::new(cluster.options().to_url_lossy().as_str())?.arguments(ALWAYS).server()?;
    let token = server.create("w")?;
    server.delivered("w", &token)?;
    let stopped = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || stopped.stop(Stop::Fast)).await??;
    let beats = Arc::new(Beats {
        is_over: AtomicBool::new(false),
        failed: AtomicU64::new(0),
        longest: AtomicU64::new(0),
    });
    let beating: Vec<_> = (0..CLIENTS).map(|_| beats.run(&server, &token)).collect();
    logs(&server, "the database still fails")?;
    let during = server.log()?;
    let told = warnings(&during);
    ensure!(told.len() <= 3, "{} lines: {told:#?}", told.len());
    ensure!(told[0].contains("the database fails") && told[0].contains("connection refused"), "{}", told[0]);
    let begun = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || begun.start()).await??;
    let back = Instant::now();
    let mut unready = 0;
    while server.get("/readyz")?.status != 200 {
        unready += 1;
        ensure!(back.elapsed() < Duration::from_secs(4), "not ready {:?} after the return", back.elapsed());
    }
    server.delivered("w", &token)?;
    beats.is_over.store(true, Ordering::SeqCst);
    for beating in beating {
        beating.await??;
    }
    logs(&server, "the database answers again")?;
    let log = server.stop()?.log;
    let over = log.lines().find(|line| line.contains("answers again")).context("no end")?;
    let failed = beats.failed.load(Ordering::SeqCst);
    let in_all: u64 =
        over.split("in_all=").nth(1).and_then(|rest| rest.split(' ').next()).context("no count")?.parse()?;
    ensure!(failed >= 200 && in_all == failed + unready, "{failed} and {unready} failed: {over}");
    ensure!(warnings(&log).len() <= 6, "{:#?}", warnings(&log));
    let longest = beats.longest.load(Ordering::SeqCst);
    println!("{failed} heartbeats failed, the slowest after {longest} ms; {over}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_fails_at_once_while_connections_are_refused() -> Result<()> {
    let cluster = Arc::new(Cluster::create(&[])?);
    let server = Launch::new(cluster.options().to_url_lossy().as_str())?.arguments(ALWAYS).server()?;
    let token = server.create("w")?;
    let stopped = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || stopped.stop(Stop::Fast)).await??;
    server.heartbeat("w", &token)?;
    // The quickest of several: a busy machine makes any of them slow.
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let refused = server.admin("POST", "/workspaces", no_body())?.refusal(503, "unavailable")?;
        quickest = quickest.min(begun.elapsed());
        ensure!(refused["message"].to_string().contains("connection refused"), "{refused}");
    }
    ensure!(quickest < Duration::from_millis(200), "{quickest:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_slow_is_no_line_for_each_statement() -> Result<()> {
    let database = TestDatabase::create().await?;
    let server = Launch::new(database.url())?.arguments(ALWAYS).server()?;
    let token = server.create("w")?;
    let mut holder = database.pool().begin().await?;
    sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    for _ in 0..3 {
        server.heartbeat("w", &token)?;
    }
    holder.rollback().await?;
    server.delivered("w", &token)?;
    let log = server.stop()?.log;
    let told = warnings(&log);
    ensure!(told.len() == 1 && told[0].contains("the database did not answer in time"), "{told:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_was_never_sent_is_not_in_doubt() -> Result<()> {
    let database = TestDatabase::create().await?;
    let (proxy, address) = Proxy::start(&database.options()).await?;
    let server = Launch::new(address.to_url_lossy().as_str())?.server()?;
    server.create("before")?;
    // Nothing moves any more, on the connections that there are and on new ones.
    proxy.silence(true);
    server.admin("POST", "/workspaces", no_body())?.refusal(503, "unavailable")?;
    server.admin("DELETE", "/workspaces/before", no_body())?.refusal(503, "unavailable")?;
    proxy.silence(false);
    proxy.forget();
    server.create("after")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_a_server_is_not_taken_for_a_server_that_breaks_the_protocol() -> Result<()> {
    let database = TestDatabase::create().await?;
    let (proxy, address) = Proxy::start(&database.options()).await?;
    let server = Launch::new(address.to_url_lossy().as_str())?.arguments(ALWAYS).server()?;
    let token = server.create("w")?;
    proxy.refuse(true);
    proxy.cut();
    let refused = server.admin("POST", "/workspaces", no_body())?.refusal(503, "unavailable")?;
    ensure!(refused["message"].to_string().contains(WITHOUT_SERVER), "{refused}");
    server.heartbeat("w", &token)?;
    let log = server.log()?;
    ensure!(log.contains(WITHOUT_SERVER) && !log.contains("protocol"), "{log}");
    // The same at the start, where the driver asks for TLS first.
    for mode in ["prefer", "disable", "require"] {
        let url = format!("postgres://u@{}/d?sslmode={mode}", proxy.address());
        let ended = Launch::new(&url)?.run_to_completion()?;
        ensure!(ended.code == Some(1) && ended.log.contains(WITHOUT_SERVER), "{mode}: {}", ended.log);
    }
    Ok(())
}
