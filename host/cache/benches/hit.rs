//! The time of a hit, beside what a server would use otherwise: the same keys, values and order of access for all.
//!
//! `cargo bench -p leasehold --bench hit` prints nanoseconds for each hit on one thread, and for two threads the time in
//! which both do one hit each. Every peer checks a deadline on each read and clones an `Arc<[u8]>`, as their interfaces want; `with` borrows.

#![allow(missing_docs, reason = "a benchmark has no interface")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use leasehold::{Answer, Database, IssueMode, Policy, Secret, SecretCache, WorkspaceId};
use tokio::runtime::Runtime;

const TTL: Duration = Duration::from_secs(3600);

/// 43 characters, as a minted secret has.
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A database that holds a secret for everyone.
struct Full;

impl Database for Full {
    fn select<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async { Ok(Some(Secret::new(SECRET))) })
    }

    fn issue<'a>(&'a self, _: &'a WorkspaceId, _: IssueMode, minted: Secret) -> Answer<'a, Secret> {
        Box::pin(async { Ok(minted) })
    }

    fn statements(&self) -> u64 {
        0
    }
}

/// 36-byte ids in an order that no prefetcher guesses, the same in every run.
fn ids(count: usize) -> Vec<WorkspaceId> {
    let mut ids: Vec<_> = (0..count)
        .map(|n| WorkspaceId::new(format!("{n:08x}-0000-4000-8000-{:012x}", n * 7919)).unwrap())
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for index in (1..ids.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ids.swap(index, (state >> 33) as usize % (index + 1));
    }
    ids
}

fn leasehold(runtime: &Runtime, ids: &[WorkspaceId]) -> SecretCache {
    runtime.block_on(async {
        let policy = Policy::from_bytes(leasehold_policies::TTL).setting("ttl", "1h");
        let cache = SecretCache::builder()
            .database(Full)
            .policy(policy)
            .capacity(ids.len() * 2)
            .build()
            .await
            .unwrap();
        for id in ids {
            cache.read(id).await.unwrap();
        }
        cache
    })
}

/// Runs `hit` for every id in turn, on as many threads as asked, each beginning elsewhere.
fn measure(
    bencher: &mut criterion::Bencher<'_>,
    ids: &[WorkspaceId],
    threads: usize,
    hit: impl Fn(&WorkspaceId) + Sync,
) {
    bencher.iter_custom(|iterations| {
        let run = |offset: usize| {
            let mut order = ids.iter().cycle().skip(offset);
            for _ in 0..iterations {
                hit(order.next().unwrap());
            }
        };
        let started = Instant::now();
        thread::scope(|scope| {
            for other in 1..threads {
                scope.spawn(move || run(other * ids.len() / threads));
            }
            run(0);
        });
        started.elapsed()
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let runtime = Runtime::new().unwrap();
    for count in [1_000, 10_000, 1_000_000] {
        let ids = ids(count);
        let value: Arc<[u8]> = SECRET.as_bytes().into();

        let cache = leasehold(&runtime, &ids);
        let moka = moka::sync::Cache::<String, Arc<[u8]>>::builder()
            .max_capacity(count as u64 * 2)
            .time_to_live(TTL)
            .build();
        let quick = quick_cache::sync::Cache::<String, (Instant, Arc<[u8]>)>::new(count * 2);
        let locked = RwLock::new(HashMap::<String, (Instant, Arc<[u8]>)>::new());
        let deadline = Instant::now() + TTL;
        for id in &ids {
            // Each its own allocation, as real values have.
            let value = || Arc::from(value.to_vec());
            moka.insert(id.to_string(), value());
            quick.insert(id.to_string(), (deadline, value()));
            locked.write().unwrap().insert(id.to_string(), (deadline, value()));
        }
        moka.run_pending_tasks();

        for threads in [1, 2] {
            let mut group = criterion.benchmark_group(format!("hit/{count}/{threads}-threads"));
            let name = |name| BenchmarkId::from_parameter(name);
            group.bench_function(name("leasehold-with"), |b| {
                measure(b, &ids, threads, |id| {
                    assert_eq!(cache.with(id, |secret| secret.expose()[42]), Some(b'A'))
                });
            });
            group.bench_function(name("leasehold-get"), |b| {
                measure(b, &ids, threads, |id| drop(black_box(cache.get(id).unwrap())));
            });
            group.bench_function(name("moka-ttl"), |b| {
                measure(b, &ids, threads, |id| drop(black_box(moka.get(id.as_str()).unwrap())));
            });
            group.bench_function(name("quick_cache-deadline"), |b| {
                measure(b, &ids, threads, |id| {
                    let (deadline, value) = quick.get(id.as_str()).unwrap();
                    assert!(Instant::now() < deadline);
                    black_box(value);
                });
            });
            group.bench_function(name("rwlock-hashmap-deadline"), |b| {
                measure(b, &ids, threads, |id| {
                    let map = locked.read().unwrap();
                    let (deadline, value) = map.get(id.as_str()).unwrap();
                    assert!(Instant::now() < *deadline);
                    black_box(Arc::clone(value));
                });
            });
            group.finish();
        }
    }
    criterion.final_summary();
}
