//! The cost of a neighbour's hits while the policy spins in calls about other workspaces, beside their cost
//! while it does not.
//!
//! Four neighbours are measured: a thread of its own, whose hits share nothing with the runtime; a task on
//! the runtime on which the policy spins, by the time of the hit alone; the same with the time that it waits
//! for a worker; and a client over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leasehold::{SecretCache, WorkspaceId};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::server::{ADMIN_TOKEN, Launch, Server};
use leasehold_tests::{hostile, sqlite};
use tokio::runtime::{Builder, Runtime};

use crate::flood;
use crate::measure::{compare, now, percentile};

const PHASES: u64 = 7;
/// Calls that spin at the same time: as many as workers, which is harder than the single one that must be
/// borne.
const SPINNERS: u64 = 2;

pub(crate) fn run(percent: u64) -> bool {
    let mut good = true;
    for does in ["spins-but-for-hot", "fills-but-for-hot"] {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let policy = hostile::does(does, &Marker::new());
        let cache = runtime.block_on(crate::builder().database(flood::hot()).policy(policy).build());
        let cache = cache.expect("the policy can be configured");
        let hot = WorkspaceId::new("hot").expect("a usable id");
        runtime.block_on(cache.read(&hot)).expect("the row is there");
        // The 99th percentile of each phase.
        let mut sides: [[Vec<Duration>; 3]; 2] = Default::default();
        let mut spans = room();
        for phase in 0..(PHASES * percent / 100).max(3) * 2 {
            let side = &mut sides[phase as usize % 2];
            let spinners = (phase % 2 == 1).then(|| Spinners::start(&runtime, &cache));
            side[0].push(hit_from_thread(&cache, &hot, &mut spans));
            side[1].push(percentile(&mut hit_from_task(&runtime, &cache, &hot), 99));
            side[2].push(percentile(&mut hit_from_new_task(&runtime, &cache, &hot), 99));
            if let Some(spinners) = spinners {
                spinners.stop(&runtime);
            }
        }
        let [mut idle, mut busy] = sides;
        let calls = cache.stats().policy_faults;
        println!("{does}: {calls} calls were ended");
        let names = [
            "a hit from a thread",
            "a hit in a task of the same runtime",
            "the same, with its wait for a worker",
        ];
        for (index, name) in names.into_iter().enumerate() {
            good &= compare(&format!("  {name}"), &mut idle[index], &mut busy[index]);
        }
    }
    good & over_http(percent)
}

/// Tasks that read other workspaces, one after the other.
struct Spinners {
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Spinners {
    fn start(runtime: &Runtime, cache: &SecretCache) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let spin = |n: u64| {
            let (cache, over) = (cache.clone(), Arc::clone(&over));
            let id = WorkspaceId::new(format!("other-{n}")).expect("a usable id");
            runtime.spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    assert!(cache.read(&id).await.is_err(), "it has no row");
                }
            })
        };
        let tasks = (0..SPINNERS).map(spin).collect();
        Self { over, tasks }
    }

    fn stop(self, runtime: &Runtime) {
        self.over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            runtime.block_on(task).expect("it ends");
        }
    }
}

/// Makes hits for a fifth of a second, timed one by one. The buffer is the caller's, so that it counts as
/// memory before and after alike.
pub(crate) fn hit_from_thread(cache: &SecretCache, hot: &WorkspaceId, spans: &mut Vec<Duration>) -> Duration {
    let end = now() + Duration::from_millis(200);
    spans.clear();
    while now() < end && spans.len() < spans.capacity() {
        let before = now();
        assert_eq!(cache.with(hot, |secret| secret.expose().len()), Some(6));
        spans.push(now() - before);
    }
    percentile(spans, 99)
}

/// Room for the hits of one phase, all of it touched.
pub(crate) fn room() -> Vec<Duration> {
    vec![Duration::MAX; 1 << 20]
}

fn hit_from_task(runtime: &Runtime, cache: &SecretCache, hot: &WorkspaceId) -> Vec<Duration> {
    let (cache, hot) = (cache.clone(), hot.clone());
    let task = runtime.spawn(async move {
        let end = now() + Duration::from_millis(200);
        let mut spans = Vec::with_capacity(1 << 20);
        while now() < end {
            let before = now();
            cache.read(&hot).await.expect("it is cached");
            spans.push(now() - before);
            tokio::task::yield_now().await;
        }
        spans
    });
    runtime.block_on(task).expect("it ends")
}

fn hit_from_new_task(runtime: &Runtime, cache: &SecretCache, hot: &WorkspaceId) -> Vec<Duration> {
    let end = now() + Duration::from_millis(400);
    let mut spans = Vec::new();
    while now() < end {
        let (cache, hot) = (cache.clone(), hot.clone());
        let before = now();
        let task = runtime.spawn(async move {
            cache.read(&hot).await.expect("it is cached");
            now()
        });
        spans.push(runtime.block_on(task).expect("it ends") - before);
    }
    spans
}

/// Sends heartbeats to the real server, while other clients ask it for secrets about which the policy spins.
fn over_http(percent: u64) -> bool {
    let runtime = Runtime::new().expect("a runtime");
    let database = runtime.block_on(sqlite::TestDatabase::create()).expect("a file");
    // This policy behaves in its rehearsal, or the server would not start with it.
    let settings = ["--setting", "does=spins-but-for-hot", "--setting", "spares=rehearsal-"];
    let launch = Launch::new(database.url()).expect("a folder").arguments(settings);
    let component = launch.folder().join("hostile.wasm");
    std::fs::write(&component, hostile::COMPONENT).expect("a file");
    let path = component.to_str().expect("text").to_owned();
    let server = launch.arguments(["--policy", &path]).server().expect("it starts");
    let token = server.create("hot").expect("it can be created");
    for n in 0..SPINNERS {
        server.create(&format!("other-{n}")).expect("it can be created");
    }
    // The 99th percentile of each phase.
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for phase in 0..(PHASES * percent / 100).max(3) * 2 {
        if phase % 2 == 0 {
            idle.push(percentile(&mut heartbeats(&server, &token), 99));
            continue;
        }
        let over = AtomicBool::new(false);
        thread::scope(|threads| {
            for n in 0..SPINNERS {
                let (client, over) = (server.client(ADMIN_TOKEN), &over);
                threads.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let _ = client.secret(&format!("other-{n}"));
                    }
                });
            }
            busy.push(percentile(&mut heartbeats(&server, &token), 99));
            over.store(true, Ordering::SeqCst);
        });
    }
    let faults = server.stat("policy_faults").expect("it has stats");
    println!("over HTTP: {faults} calls were ended");
    faults > 0 && compare("  a heartbeat over HTTP", &mut idle, &mut busy)
}

fn heartbeats(server: &Server, token: &str) -> Vec<Duration> {
    let end = now() + Duration::from_millis(500);
    let mut spans = Vec::new();
    while now() < end {
        let before = now();
        server.delivered("hot", token).expect("it is delivered");
        spans.push(now() - before);
    }
    spans
}
