//! The time of a hit, beside the maps that a server would use otherwise: the same keys, values and order of
//! requests for all.
//!
//! A peer checks a deadline on each hit and clones an `Arc<[u8]>`, as its interface wants; `with` borrows.
//! The two maps without a deadline are the minimum cost of a lookup: papaya alone, and hashbrown, which no
//! other thread may write to. All have the same hash where they leave the choice, and the same clock where
//! they leave the deadline to their user.

use std::future::Future as _;
use std::pin::pin;
use std::sync::{Arc, Barrier, RwLock};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use cached::ShardedTtlCache;
use leasehold::{SecretCache, WorkspaceId};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

use crate::fleet::{Access, SECRET, ids, warm};
use crate::report::{Report, Table, nanos, times};
use crate::turns::{Sample, Side, in_turns, now, ratio};

const TTL: Duration = Duration::from_secs(3600);
const ROUNDS: usize = 7;
/// Requests of one round on each thread.
const REQUESTS: usize = 400_000;

/// The id that is asked for, as the cache takes it and as a map of strings does: the same bytes.
#[derive(Clone, Copy)]
struct Request<'a> {
    id: &'a WorkspaceId,
    text: &'a str,
}

type Value = Arc<[u8]>;
type Fast = foldhash::fast::RandomState;

/// Every map, with the same entries.
struct Subjects {
    leasehold: SecretCache,
    papaya: papaya::HashMap<Box<str>, Value, Fast>,
    hashbrown: hashbrown::HashMap<Box<str>, Value, Fast>,
    moka: moka::sync::Cache<String, Value, Fast>,
    // Its default hash is the same one.
    quick_cache: quick_cache::sync::Cache<String, (Duration, Value)>,
    foyer: foyer_memory::Cache<String, (Duration, Value), Fast>,
    // It hashes with ahash.
    cached: ShardedTtlCache<String, Value>,
    dashmap: dashmap::DashMap<String, (Duration, Value), Fast>,
    locked: RwLock<hashbrown::HashMap<String, (Duration, Value), Fast>>,
}

impl Subjects {
    /// Fills one map after the other: the memory of a map lies together, as it does where there is no other
    /// map.
    fn new(runtime: &Runtime, ids: &[WorkspaceId]) -> Self {
        let room = ids.len() * 2;
        let deadline = coarse_now() + TTL;
        // Each value is an allocation of its own, as real ones are.
        let value = || Value::from(SECRET.as_bytes());
        let fill = |insert: &mut dyn FnMut(String)| ids.iter().for_each(|id| insert(id.to_string()));

        let leasehold = runtime.block_on(warm(ids));
        let papaya = papaya::HashMap::builder().hasher(Fast::default()).build();
        fill(&mut |key| drop(papaya.pin().insert(key.into(), value()).cloned()));
        // An iteration has papaya complete its growth, as the cache's sweep does.
        assert!(papaya.pin().iter().next().is_some());
        let mut hashbrown = hashbrown::HashMap::default();
        fill(&mut |key| drop(hashbrown.insert(key.into(), value())));
        let moka = moka::sync::Cache::builder().max_capacity(room as u64).time_to_live(TTL);
        let moka = moka.build_with_hasher(Fast::default());
        fill(&mut |key| moka.insert(key, value()));
        moka.run_pending_tasks();
        let quick_cache = quick_cache::sync::Cache::new(room);
        fill(&mut |key| quick_cache.insert(key, (deadline, value())));
        let foyer = foyer_memory::CacheBuilder::new(room).with_hash_builder(Fast::default()).build();
        fill(&mut |key| drop(foyer.insert(key, (deadline, value()))));
        let cached = ShardedTtlCache::new(TTL);
        fill(&mut |key| drop(cached.set(key, value())));
        let dashmap = dashmap::DashMap::with_hasher(Fast::default());
        fill(&mut |key| drop(dashmap.insert(key, (deadline, value()))));
        let mut locked = hashbrown::HashMap::default();
        fill(&mut |key| drop(locked.insert(key, (deadline, value()))));
        let locked = RwLock::new(locked);
        Self { leasehold, papaya, hashbrown, moka, quick_cache, foyer, cached, dashmap, locked }
    }

    /// Returns every kind of hit.
    fn sides<'a>(&'a self, requests: &'a [Request<'a>], threads: usize) -> Vec<Side<'a>> {
        let fresh = |deadline: Duration| assert!(coarse_now() < deadline);
        let side = |name, hit: Box<dyn Fn(&Request<'a>) -> u8 + Sync + 'a>| {
            Side::new(name, move || {
                // One round that is not timed: the processor's caches hold what the side before has left,
                // which may be the same map's.
                on_threads(requests, threads, &*hit);
                on_threads(requests, threads, &*hit)
            })
        };
        vec![
            side("with", Box::new(|asked| self.leasehold.with(asked.id, last_byte).expect("a hit"))),
            side("get", Box::new(|asked| last_byte(&self.leasehold.get(asked.id).expect("a hit")))),
            side("read", Box::new(|asked| read(&self.leasehold, asked.id))),
            side("papaya alone", Box::new(|asked| last(self.papaya.pin().get(asked.text).expect("a hit")))),
            side(
                "hashbrown, unsynchronised",
                Box::new(|asked| last(self.hashbrown.get(asked.text).expect("a hit"))),
            ),
            side("moka", Box::new(|asked| last(&self.moka.get(asked.text).expect("a hit")))),
            side(
                "quick_cache",
                Box::new(move |asked| {
                    let (deadline, value) = self.quick_cache.get(asked.text).expect("a hit");
                    fresh(deadline);
                    last(&value)
                }),
            ),
            side(
                "foyer",
                Box::new(move |asked| {
                    let entry = self.foyer.get(asked.text).expect("a hit");
                    fresh(entry.value().0);
                    last(&Arc::clone(&entry.value().1))
                }),
            ),
            side("cached", Box::new(|asked| last(&self.cached.get(asked.text).expect("a hit")))),
            side(
                "DashMap",
                Box::new(move |asked| {
                    let entry = self.dashmap.get(asked.text).expect("a hit");
                    fresh(entry.0);
                    last(&Arc::clone(&entry.1))
                }),
            ),
            side(
                "RwLock of a map",
                Box::new(move |asked| {
                    let entries = self.locked.read().expect("nobody panics");
                    let (deadline, value) = entries.get(asked.text).expect("a hit");
                    fresh(*deadline);
                    last(&Arc::clone(value))
                }),
            ),
        ]
    }
}

fn last(value: &Value) -> u8 {
    value[SECRET.len() - 1]
}

fn last_byte(secret: &leasehold::Secret) -> u8 {
    secret.expose()[SECRET.len() - 1]
}

/// Polls a read once: a hit is ready at once.
fn read(cache: &SecretCache, id: &WorkspaceId) -> u8 {
    let read = pin!(cache.read(id));
    let Poll::Ready(Ok(lookup)) = read.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it was no hit");
    };
    last_byte(&lookup.secret)
}

/// Returns the time of the clock that the cache's hits use: it lags by some milliseconds, and costs less than
/// a lookup.
fn coarse_now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

fn requests(order: &[WorkspaceId]) -> Vec<Request<'_>> {
    order.iter().map(|id| Request { id, text: id.as_str() }).collect()
}

/// Returns the nanoseconds for which a request keeps one of the processor's cores, from the start of the
/// first thread to the end of the last one.
///
/// Which request is next depends on the byte that the one before has found. A server does not know its next
/// request either; a processor that knows it looks up several at once.
fn on_threads<'a>(
    requests: &[Request<'a>],
    threads: usize,
    hit: &(dyn Fn(&Request<'a>) -> u8 + Sync),
) -> f64 {
    let together = Barrier::new(threads);
    let run = |offset: usize| {
        together.wait();
        let (started, mut at) = (now(), offset);
        for _ in requests {
            at += 1 + usize::from(hit(&requests[at]) ^ SECRET.as_bytes()[0]);
            if at >= requests.len() {
                at -= requests.len();
            }
        }
        (started, now())
    };
    let spans: Vec<_> = thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> =
            (1..threads).map(|other| scope.spawn(move || run(other * requests.len() / threads))).collect();
        let own = run(0);
        others.into_iter().map(|other| other.join().expect("it ends")).chain([own]).collect()
    });
    let started = spans.iter().map(|(started, _)| *started).min().expect("there is one");
    let ended = spans.iter().map(|(_, ended)| *ended).max().expect("there is one");
    let cores = thread::available_parallelism().map_or(1, Into::into).min(threads);
    (ended - started).as_nanos() as f64 * cores as f64 / (threads * requests.len()) as f64
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "A hit",
        "Nanoseconds for which a hit keeps a core. `with` borrows the secret, `get` clones its handle, \
         `read` is the async call where it hits. Each request is known once the one before has its answer, \
         and each round makes all of its requests once before it is timed. Peers check a deadline and clone \
         an `Arc<[u8]>`; the two maps that do neither are what a lookup costs at least. All hash with \
         foldhash, but for `cached`, which has ahash. Where the deadline is the user's own to check it is \
         held against the same coarse clock as a lease; moka and `cached` read clocks of their own.",
    );
    let runtime = Runtime::new().expect("a runtime");
    let mut table = Table::new(&["workspaces", "access", "threads", "way", "ns a hit", "range", "to moka"]);
    for count in [1_000, 10_000, 1_000_000] {
        let ids = ids(count);
        let subjects = Subjects::new(&runtime, &ids);
        for access in [Access::Uniform, Access::Zipf] {
            let order = access.order(&ids, REQUESTS);
            let requests = requests(&order);
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

/// Has all threads ask for the same workspace: the cost of shared state shows.
fn one_key(report: &mut Report, runtime: &Runtime) {
    let ids = ids(1_000);
    let subjects = Subjects::new(runtime, &ids);
    let order = vec![ids[500].clone(); REQUESTS / 4];
    let requests = requests(&order);
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
