//! The growth of the work with keys, with threads and with the size of a fleet: each as a curve, with the
//! exponent of the power that fits it best. An exponent of 1 is linear.

use std::hint::black_box;
use std::thread;

use leasehold::SecretCache;
use tokio::runtime::Runtime;

use crate::fleet::{Full, ids, policy, warm};
use crate::report::{Report, Table};
use crate::turns::now;
use crate::{batch, memory, server, storms};

const KEYS: [usize; 4] = [1_000, 10_000, 100_000, 300_000];
const THREADS: [usize; 5] = [1, 2, 4, 8, 16];
const HITS_OF_A_THREAD: usize = 400_000;
const CONNECTIONS: [usize; 5] = [1, 4, 16, 64, 256];
const FLEETS: [usize; 3] = [1_000, 5_000, 25_000];
const ENTRIES: [usize; 4] = [10_000, 100_000, 300_000, 1_000_000];
/// Callers that make a fleet's first reads.
const CALLERS: usize = 512;
/// Largest exponent of a good curve. Above it a curve is worse than linear by more than the wait for memory.
const LINEAR: f64 = 1.2;

/// A name, and a function from an amount of work to its cost.
type Curve<'a> = (&'static str, Box<dyn Fn(usize) -> f64 + 'a>);

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Growth",
        "Milliseconds for work on so many keys, for so many threads that make 400,000 hits each, and for one \
         heartbeat over each of so many connections, the best of three; then the loads of a fleet's busiest \
         second under `resilient`, and the resident memory of so many entries. The exponent is that of the \
         power which fits the curve best: 1 is linear. Of 100,000 keys and more the processor's caches hold \
         a part, and what touches each key once waits for memory then: that is what is above 1.",
    );
    let runtime = Runtime::new().expect("a runtime");
    let curves: Vec<Curve<'_>> = vec![
        ("reads that miss, one after the other", Box::new(|count| misses(&runtime, count))),
        ("a hit of each key", Box::new(|count| hits(&runtime, count))),
        ("a swap, and each key leased anew", Box::new(|count| swap(&runtime, count))),
        ("a swap alone", Box::new(|count| swap_alone(&runtime, count))),
        ("removal of each key", Box::new(|count| removals(&runtime, count))),
        ("reset", Box::new(|count| reset(&runtime, count))),
        ("a sweep", Box::new(|count| sweep(&runtime, count))),
        ("twice as many keys as it has room for", Box::new(|count| evictions(&runtime, count))),
        ("first reads of a fleet, over PostgreSQL", Box::new(|count| batch::together_ms(count, CALLERS))),
    ];
    tabulate(report, "ms", "keys", &KEYS, 3, curves);
    let shared = runtime.block_on(warm(&ids(1_000)));
    let contended = shared.clone();
    let curves: Vec<Curve<'_>> = vec![
        ("hits of 1,000 keys by all threads", Box::new(move |threads| on_threads(&shared, threads, 1_000))),
        ("hits of one key by all threads", Box::new(move |threads| on_threads(&contended, threads, 1))),
    ];
    tabulate(report, "ms", "threads", &THREADS, 3, curves);
    let heartbeats = server::Heartbeats::start();
    let curves: Vec<Curve<'_>> =
        vec![("a heartbeat over each", Box::new(|connections| heartbeats.ms_for_one_over_each(connections)))];
    tabulate(report, "ms", "connections", &CONNECTIONS, 3, curves);
    let curves: Vec<Curve<'_>> =
        vec![("in the busiest second", Box::new(|count| storms::busiest_second_of_resilient(count) as f64))];
    tabulate(report, "loads", "workspaces", &FLEETS, 1, curves);
    let curves: Vec<Curve<'_>> = vec![("resident", Box::new(memory::filled_mb))];
    tabulate(report, "MB", "entries", &ENTRIES, 1, curves);
}

/// Measures each curve at each point, the best of so many rounds.
fn tabulate(
    report: &mut Report,
    unit: &str,
    what: &str,
    points: &[usize],
    rounds: usize,
    curves: Vec<Curve<'_>>,
) {
    let heads: Vec<String> = points.iter().map(|point| format!("{point} {what}")).collect();
    let heads = std::iter::once(unit).chain(heads.iter().map(String::as_str)).chain(["exponent"]);
    let mut table = Table::new(&heads.collect::<Vec<_>>());
    for (name, curve) in curves {
        let best = |point: usize| (0..rounds).map(|_| curve(point)).fold(f64::MAX, f64::min);
        let taken: Vec<f64> = points.iter().map(|point| best(*point)).collect();
        let exponent = exponent(points, &taken);
        let cells = taken.iter().map(|taken| format!("{taken:.2}"));
        table.row(std::iter::once(name.to_owned()).chain(cells).chain([format!("{exponent:.2}")]));
        report.at_most(&format!("exponent over {what}: {name}"), exponent, LINEAR);
    }
    report.table(&table);
}

/// Returns the slope of the straight line that fits the logarithms best.
fn exponent(points: &[usize], taken: &[f64]) -> f64 {
    let logarithms: Vec<(f64, f64)> =
        points.iter().zip(taken).map(|(point, taken)| ((*point as f64).ln(), taken.ln())).collect();
    let count = logarithms.len() as f64;
    let mean_x = logarithms.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logarithms.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = logarithms.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    covariance / logarithms.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}

fn misses(runtime: &Runtime, count: usize) -> f64 {
    let ids = ids(count);
    let cache = runtime.block_on(async {
        let builder = SecretCache::builder().database(Full).policy(policy()).capacity(count * 2);
        builder.build().await.expect("the default policy")
    });
    ms(|| read_all(runtime, &cache, &ids))
}

fn hits(runtime: &Runtime, count: usize) -> f64 {
    let ids = ids(count);
    let cache = runtime.block_on(warm(&ids));
    ms(|| {
        for id in &ids {
            assert!(cache.with(id, |secret| black_box(secret.expose()[0])).is_some());
        }
    })
}

fn swap(runtime: &Runtime, count: usize) -> f64 {
    let ids = ids(count);
    let cache = runtime.block_on(warm(&ids));
    ms(|| {
        runtime.block_on(cache.swap(policy())).expect("the same policy again");
        read_all(runtime, &cache, &ids);
    })
}

fn swap_alone(runtime: &Runtime, count: usize) -> f64 {
    let cache = runtime.block_on(warm(&ids(count)));
    ms(|| drop(runtime.block_on(cache.swap(policy())).expect("the same policy again")))
}

fn removals(runtime: &Runtime, count: usize) -> f64 {
    let ids = ids(count);
    let cache = runtime.block_on(warm(&ids));
    ms(|| ids.iter().for_each(|id| cache.remove(id)))
}

fn reset(runtime: &Runtime, count: usize) -> f64 {
    let cache = runtime.block_on(warm(&ids(count)));
    ms(|| cache.reset())
}

fn sweep(runtime: &Runtime, count: usize) -> f64 {
    let cache = runtime.block_on(warm(&ids(count)));
    ms(|| cache.sweep())
}

fn evictions(runtime: &Runtime, count: usize) -> f64 {
    let ids = ids(count * 2);
    let cache = runtime.block_on(async {
        let builder = SecretCache::builder().database(Full).policy(policy()).capacity(count);
        builder.build().await.expect("the default policy")
    });
    ms(|| read_all(runtime, &cache, &ids))
}

fn read_all(runtime: &Runtime, cache: &SecretCache, ids: &[leasehold::WorkspaceId]) {
    let (cache, ids) = (cache.clone(), ids.to_vec());
    let reading = runtime.spawn(async move {
        for id in &ids {
            cache.read(id).await.expect("everyone has a secret");
        }
    });
    runtime.block_on(reading).expect("it ends");
}

/// Has each thread make so many hits, on the first so many keys.
fn on_threads(cache: &SecretCache, threads: usize, keys: usize) -> f64 {
    let ids = ids(keys);
    let hit = |offset: usize| {
        for id in ids.iter().cycle().skip(offset).take(HITS_OF_A_THREAD) {
            assert!(cache.with(id, |secret| black_box(secret.expose()[0])).is_some());
        }
    };
    ms(|| {
        thread::scope(|scope| {
            for number in 0..threads {
                scope.spawn(move || hit(number * keys / threads));
            }
        });
    })
}

fn ms(work: impl FnOnce()) -> f64 {
    let started = now();
    work();
    started.elapsed().as_secs_f64() * 1e3
}
