//! The time of a hit, beside what a server would use otherwise: the same keys, values and order of requests for all.
//!
//! A peer checks a deadline on each hit and clones an `Arc<[u8]>`, as its interface wants; `with` borrows. The two maps
//! without a deadline are what a lookup costs at least: papaya alone, and hashbrown, which nobody else may write to.

use std::future::Future as _;
use std::hint::black_box;
use std::pin::pin;
use std::sync::{Arc, Barrier, RwLock};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use cached::ShardedTtlCache;
use leasehold::{SecretCache, WorkspaceId};
use tokio::runtime::Runtime;

use crate::fleet::{Access, SECRET, ids, warm};
use crate::report::{Report, Table, nanos, times};
use crate::turns::{Sample, Side, in_turns, now, ratio};

const TTL: Duration = Duration::from_secs(3600);
const ROUNDS: usize = 7;
/// Requests of one round on each thread.
const REQUESTS: usize = 400_000;

type Value = Arc<[u8]>;
type Fast = foldhash::fast::RandomState;

/// Every map, with the same entries.
struct Subjects {
    leasehold: SecretCache,
    papaya: papaya::HashMap<Box<str>, Value, Fast>,
    hashbrown: hashbrown::HashMap<Box<str>, Value, Fast>,
    moka: moka::sync::Cache<String, Value>,
    quick_cache: quick_cache::sync::Cache<String, (Instant, Value)>,
    foyer: foyer_memory::Cache<String, (Instant, Value)>,
    cached: ShardedTtlCache<String, Value>,
    dashmap: dashmap::DashMap<String, (Instant, Value)>,
    locked: RwLock<hashbrown::HashMap<String, (Instant, Value), Fast>>,
}

impl Subjects {
    fn new(runtime: &Runtime, ids: &[WorkspaceId]) -> Self {
        let room = ids.len() * 2;
        let subjects = Self {
            leasehold: runtime.block_on(warm(ids)),
            papaya: papaya::HashMap::builder().hasher(Fast::default()).build(),
            hashbrown: hashbrown::HashMap::default(),
            moka: moka::sync::Cache::builder().max_capacity(room as u64).time_to_live(TTL).build(),
            quick_cache: quick_cache::sync::Cache::new(room),
            foyer: foyer_memory::CacheBuilder::new(room).build(),
            cached: ShardedTtlCache::new(TTL),
            dashmap: dashmap::DashMap::new(),
            locked: RwLock::default(),
        };
        let deadline = now() + TTL;
        // Each its own allocation, as real values have.
        let value = || Value::from(SECRET.as_bytes());
        let Self { papaya, mut hashbrown, locked, .. } = subjects;
        let papaya_entries = papaya.pin();
        for id in ids {
            let key = || id.to_string();
            papaya_entries.insert(key().into(), value());
            hashbrown.insert(key().into(), value());
            subjects.moka.insert(key(), value());
            subjects.quick_cache.insert(key(), (deadline, value()));
            subjects.foyer.insert(key(), (deadline, value()));
            subjects.cached.set(key(), value());
            subjects.dashmap.insert(key(), (deadline, value()));
            locked.write().expect("nobody panics").insert(key(), (deadline, value()));
        }
        drop(papaya_entries);
        subjects.moka.run_pending_tasks();
        Self { papaya, hashbrown, locked, ..subjects }
    }

    /// Each way to a hit.
    fn sides<'a>(&'a self, requests: &'a [WorkspaceId], threads: usize) -> Vec<Side<'a>> {
        let fresh = |deadline: Instant| assert!(now() < deadline);
        let side = |name, hit: Box<dyn Fn(&WorkspaceId) + Sync + 'a>| {
            Side::new(name, move || on_threads(requests, threads, &*hit))
        };
        vec![
            side("with", Box::new(|id| assert_eq!(self.leasehold.with(id, last_byte), Some(b'A')))),
            side("get", Box::new(|id| drop(black_box(self.leasehold.get(id).expect("a hit"))))),
            side("read", Box::new(|id| read(&self.leasehold, id))),
            side(
                "papaya alone",
                Box::new(|id| {
                    let entries = self.papaya.pin();
                    assert_eq!(entries.get(id.as_str()).and_then(|value| value.last()), Some(&b'A'));
                }),
            ),
            side(
                "hashbrown, unsynchronised",
                Box::new(|id| {
                    assert_eq!(self.hashbrown.get(id.as_str()).and_then(|value| value.last()), Some(&b'A'));
                }),
            ),
            side("moka", Box::new(|id| drop(black_box(self.moka.get(id.as_str()).expect("a hit"))))),
            side(
                "quick_cache",
                Box::new(move |id| {
                    let (deadline, value) = self.quick_cache.get(id.as_str()).expect("a hit");
                    fresh(deadline);
                    black_box(value);
                }),
            ),
            side(
                "foyer",
                Box::new(move |id| {
                    let entry = self.foyer.get(id.as_str()).expect("a hit");
                    fresh(entry.value().0);
                    black_box(Arc::clone(&entry.value().1));
                }),
            ),
            side("cached", Box::new(|id| drop(black_box(self.cached.get(id.as_str()).expect("a hit"))))),
            side(
                "DashMap",
                Box::new(move |id| {
                    let entry = self.dashmap.get(id.as_str()).expect("a hit");
                    fresh(entry.0);
                    black_box(Arc::clone(&entry.1));
                }),
            ),
            side(
                "RwLock of a map",
                Box::new(move |id| {
                    let entries = self.locked.read().expect("nobody panics");
                    let (deadline, value) = entries.get(id.as_str()).expect("a hit");
                    fresh(*deadline);
                    black_box(Arc::clone(value));
                }),
            ),
        ]
    }
}

fn last_byte(secret: &leasehold::Secret) -> u8 {
    secret.expose()[42]
}

/// A read that hits is ready at once.
fn read(cache: &SecretCache, id: &WorkspaceId) {
    let read = pin!(cache.read(id));
    let Poll::Ready(Ok(lookup)) = read.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it was no hit");
    };
    black_box(lookup.secret);
}

/// The nanoseconds in which each of the threads makes one request.
fn on_threads(requests: &[WorkspaceId], threads: usize, hit: &(dyn Fn(&WorkspaceId) + Sync)) -> f64 {
    let together = Barrier::new(threads);
    let run = |offset: usize| {
        together.wait();
        let started = now();
        let (before, after) = requests.split_at(offset);
        after.iter().chain(before).for_each(hit);
        started.elapsed().as_nanos() as f64 / requests.len() as f64
    };
    thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> =
            (1..threads).map(|other| scope.spawn(move || run(other * requests.len() / threads))).collect();
        let own = run(0);
        others.into_iter().map(|other| other.join().expect("it ends")).fold(own, f64::max)
    })
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "A hit",
        "Nanoseconds for each hit; with two threads, in which each of them has one. `with` borrows the secret, `get` clones its \
         handle, `read` is the async call where it hits. Peers check a deadline and clone an `Arc<[u8]>`; the two maps that \
         do neither are what a lookup costs at least.",
    );
    let runtime = Runtime::new().expect("a runtime");
    let mut table = Table::new(&["workspaces", "access", "threads", "way", "ns a hit", "range", "to moka"]);
    for count in [1_000, 10_000, 1_000_000] {
        let ids = ids(count);
        let subjects = Subjects::new(&runtime, &ids);
        for access in [Access::Uniform, Access::Zipf] {
            let requests = access.order(&ids, REQUESTS);
            for threads in [1, 2] {
                let samples = in_turns(ROUNDS, subjects.sides(&requests, threads));
                let cell = format!("{count} workspaces, {}, {threads} threads", access.name());
                judge(report, &cell, count, &samples);
                for sample in &samples {
                    table.row([
                        count.to_string(),
                        access.name().to_owned(),
                        threads.to_string(),
                        sample.name.to_owned(),
                        nanos(sample.median),
                        format!("{} to {}", nanos(sample.least), nanos(sample.most)),
                        times(ratio(&samples, sample.name, "moka")),
                    ]);
                }
            }
        }
    }
    report.table(&table);
    one_key(report, &runtime);
}

fn judge(report: &mut Report, cell: &str, count: usize, samples: &[Sample]) {
    report.at_most(&format!("with, to papaya alone: {cell}"), ratio(samples, "with", "papaya alone"), 1.5);
    report.at_most(&format!("get, to moka: {cell}"), ratio(samples, "get", "moka"), 1.0 / 3.0);
    if count == 1_000_000 {
        let floor = ratio(samples, "with", "hashbrown, unsynchronised");
        report.at_most(&format!("with, to hashbrown: {cell}"), floor, 1.2);
    }
    for peer in ["moka", "quick_cache", "foyer", "cached", "DashMap", "RwLock of a map"] {
        for own in ["with", "get"] {
            report.at_most(&format!("{own}, to {peer}: {cell}"), ratio(samples, own, peer), 1.0);
        }
    }
}

/// All threads ask for the same workspace: what is shared shows.
fn one_key(report: &mut Report, runtime: &Runtime) {
    let ids = ids(1_000);
    let subjects = Subjects::new(runtime, &ids);
    let requests = vec![ids[500].clone(); REQUESTS / 4];
    let mut table = Table::new(&["threads, all for one workspace", "with", "get", "moka", "quick_cache"]);
    for threads in [1, 2, 4, 8, 16] {
        let chosen = ["with", "get", "moka", "quick_cache"];
        let mut sides = subjects.sides(&requests, threads);
        sides.retain(|side| chosen.contains(&side.name));
        let samples = in_turns(3, sides);
        let cells = samples.iter().map(|sample| format!("{} ns", nanos(sample.median)));
        table.row(std::iter::once(threads.to_string()).chain(cells));
    }
    report.table(&table);
}
