//! The cost of swaps to the readers beside them; and whether a thousand swaps leave anything behind.
//!
//! Two shipped policies that accept each other's entries are swapped in turns, each of them rehearsed. In the
//! library two threads read; over HTTP two clients read and a third one swaps, and the server's own memory is
//! measured: this process is full of samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use leasehold::testing::InMemory;
use leasehold::{Policy, SecretCache, WorkspaceId};
use leasehold_tests::server::{Client, Server};
use leasehold_tests::sqlite;
use tokio::runtime::{Builder, Runtime};

use crate::measure::{Footprint, now, percentile, verdict};

const SWAPS: u64 = 1_000;
/// Swaps before the first look at memory.
const WARM: u64 = 100;
const WORKSPACES: u64 = 100;
const READERS: usize = 2;
const PHASES: u64 = 5;
const MAX_RATIO: f64 = 2.0;

pub(crate) fn run(percent: u64) -> bool {
    in_the_library(percent) & over_http(percent)
}

fn component(n: u64) -> &'static [u8] {
    if n.is_multiple_of(2) { leasehold_policies::RESILIENT } else { leasehold_policies::TTL }
}

fn policy(n: u64) -> Policy {
    Policy::from_bytes(component(n))
}

fn in_the_library(percent: u64) -> bool {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let ids: Vec<_> =
        (0..WORKSPACES).map(|n| WorkspaceId::new(format!("hot-{n}")).expect("usable")).collect();
    let database = InMemory::new();
    ids.iter().for_each(|id| database.store(id.as_str(), "stored"));
    let cache = SecretCache::builder().database(database).policy(policy(1));
    let cache = runtime.block_on(cache.build()).expect("the policy is good");
    for id in &ids {
        runtime.block_on(cache.read(id)).expect("the row is there");
    }
    let selects = cache.stats().selects;
    let (mut idle, mut busy, mut took) = (Vec::new(), Vec::new(), Vec::new());
    let swaps = SWAPS * percent / 100 / PHASES;
    let mut count = 0;
    for _ in 0..PHASES {
        let span = Duration::from_secs(1);
        idle.push(percentile(&mut reads(&runtime, &cache, &ids, || pause(span)), 99));
        let spans = reads(&runtime, &cache, &ids, || {
            for _ in 0..swaps {
                let began = now();
                runtime.block_on(cache.swap(policy(count))).expect("both are good");
                took.push(now() - began);
                count += 1;
            }
        });
        busy.push(percentile(&mut { spans }, 99));
    }
    let good = good_ratio("a read", &mut idle, &mut busy);
    let extra = cache.stats().selects - selects;
    let median = percentile(&mut took, 50);
    println!("  {count} swaps, {median:?} each in the median; {extra} SELECTs more {}", verdict(extra == 0));
    good & (extra == 0)
}

/// Reads on threads of their own while `work` is done, timed one by one.
fn reads(runtime: &Runtime, cache: &SecretCache, ids: &[WorkspaceId], work: impl FnOnce()) -> Vec<Duration> {
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                threads.spawn(|| {
                    let mut spans = Vec::with_capacity(1 << 22);
                    runtime.block_on(async {
                        while !over.load(Ordering::SeqCst) {
                            for id in ids {
                                let began = now();
                                cache.read(id).await.expect("the row is there");
                                if spans.len() < spans.capacity() {
                                    spans.push(now() - began);
                                }
                            }
                            tokio::task::yield_now().await;
                        }
                    });
                    spans
                })
            })
            .collect();
        work();
        over.store(true, Ordering::SeqCst);
        readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect()
    })
}

fn over_http(percent: u64) -> bool {
    let runtime = Runtime::new().expect("a runtime");
    let database = runtime.block_on(sqlite::TestDatabase::create()).expect("a file");
    let server = Server::start(database.url()).expect("it starts");
    let tokens: Arc<Vec<_>> = Arc::new(
        (0..10)
            .map(|n| (format!("w{n}"), server.create(&format!("w{n}")).expect("it can be created")))
            .collect(),
    );
    tokens.iter().for_each(|(id, token)| drop(server.delivered(id, token).expect("it is delivered")));
    let statements = server.stat("statements").expect("it has stats");
    let (mut idle, mut busy, mut count) = (Vec::new(), Vec::new(), 0);
    let (process, mut before) = (server.process_id().to_string(), None);
    let swaps = SWAPS * percent / 100 / PHASES;
    for _ in 0..PHASES {
        idle.push(percentile(&mut heartbeats(&server, &tokens, || pause(Duration::from_secs(1))), 99));
        let mut spans = heartbeats(&server, &tokens, || {
            for _ in 0..swaps {
                server
                    .admin("PUT", "/admin/policy", component(count).to_vec())
                    .and_then(|answer| answer.json(200))
                    .expect("it is taken");
                count += 1;
                if count == WARM.min(swaps) {
                    before = Some(Footprint::of(&process));
                }
            }
        });
        busy.push(percentile(&mut spans, 99));
    }
    let extra = server.stat("statements").expect("it has stats") - statements;
    println!("  {count} swaps over HTTP, {extra} statements more {}", verdict(extra == 0));
    let before = before.expect("there were so many");
    let is_flat = before.compare(&format!("the server since swap number {WARM}"), Footprint::of(&process));
    good_ratio("a heartbeat over HTTP", &mut idle, &mut busy) & is_flat & (extra == 0)
}

fn heartbeats(server: &Server, tokens: &[(String, String)], work: impl FnOnce()) -> Vec<Duration> {
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        let clients: Vec<_> = (0..READERS)
            .map(|_| {
                let (client, over) = (Client::clone(server), &over);
                threads.spawn(move || {
                    let mut spans = Vec::new();
                    while !over.load(Ordering::SeqCst) {
                        for (id, token) in tokens {
                            let began = now();
                            client.delivered(id, token).expect("no heartbeat fails");
                            spans.push(now() - began);
                        }
                    }
                    spans
                })
            })
            .collect();
        work();
        over.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    })
}

/// Lets the other threads go on for a while.
fn pause(span: Duration) {
    let (_alive, never) = mpsc::channel::<()>();
    // Nothing is ever sent: it times out.
    let _ = never.recv_timeout(span);
}

/// Prints the medians of both sides, and returns whether the second is at most twice the first.
fn good_ratio(what: &str, idle: &mut [Duration], busy: &mut [Duration]) -> bool {
    let (idle, busy) = (percentile(idle, 50), percentile(busy, 50));
    let ratio = busy.as_secs_f64() / idle.as_secs_f64();
    let good = ratio <= MAX_RATIO;
    println!(
        "  {what:50} p99 idle {idle:>10.1?}  swapped {busy:>10.1?}  ratio {ratio:>6.2} {}",
        verdict(good)
    );
    good
}
