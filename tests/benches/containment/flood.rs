//! A flood of unknown ids: a million of them, each a SELECT that finds nothing. Nothing may stay behind, and
//! the hits of known workspaces may not suffer.
//!
//! The database answers at once: that is the worst case for the rest, because nothing slows the flood down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::testing::InMemory;
use leasehold::{Policy, SecretCache, WorkspaceId};
use tokio::runtime::{Builder, Runtime};

use crate::measure::{Footprint, compare, verdict};
use crate::neighbour::{hit_from_thread, room};

const UNKNOWN: u64 = 1_000_000;
const PHASES: u64 = 5;

/// A database that holds the secret of one workspace, `hot`.
pub(crate) fn hot() -> InMemory {
    let database = InMemory::new();
    database.store("hot", "stored");
    database
}

pub(crate) fn run(percent: u64) -> bool {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let policy = Policy::from_bytes(leasehold_policies::TTL).setting("ttl", "1h");
    let cache = runtime
        .block_on(crate::builder().database(hot()).policy(policy).build())
        .expect("the default policy is good");
    let hot = WorkspaceId::new("hot").expect("a usable id");
    runtime.block_on(cache.read(&hot)).expect("the row is there");
    let each = UNKNOWN * percent / 100 / PHASES;
    let mut spans = room();
    // A phase to warm up.
    phase(&runtime, &cache, &hot, 0, each, &mut Vec::new(), &mut spans);
    let before = Footprint::of("self");
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for number in 1..=PHASES {
        idle.push(hit_from_thread(&cache, &hot, &mut spans));
        phase(&runtime, &cache, &hot, number * each, each, &mut busy, &mut spans);
    }
    let after = Footprint::of("self");
    let stats = cache.stats();
    let is_empty = stats.entries == 1;
    println!("{} reads found nothing; entries {} {}", stats.absent, stats.entries, verdict(is_empty));
    let good = before.compare("this process", after) & is_empty;
    good & compare("a hit from a thread of its own", &mut idle, &mut busy)
}

/// Times hits for as long as it takes to read so many unknown ids.
fn phase(
    runtime: &Runtime,
    cache: &SecretCache,
    hot: &WorkspaceId,
    from: u64,
    count: u64,
    p99s: &mut Vec<Duration>,
    spans: &mut Vec<Duration>,
) {
    let over = Arc::new(AtomicBool::new(false));
    let flooding = runtime.spawn({
        let (cache, over) = (cache.clone(), Arc::clone(&over));
        async move {
            flood(&cache, from, count).await;
            over.store(true, Ordering::SeqCst);
        }
    });
    while !over.load(Ordering::SeqCst) {
        p99s.push(hit_from_thread(cache, hot, spans));
    }
    runtime.block_on(flooding).expect("it ends");
}

/// Reads so many unknown ids, 64 at a time.
async fn flood(cache: &SecretCache, from: u64, count: u64) {
    let readers = (0..64).map(|reader| {
        let cache = cache.clone();
        tokio::spawn(async move {
            for n in (from + reader..from + count).step_by(64) {
                let id = WorkspaceId::new(format!("unknown-{n:032}")).expect("a usable id");
                assert!(cache.read(&id).await.is_err(), "nobody has it");
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.expect("it ends");
    }
}
