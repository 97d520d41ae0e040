//! The resident memory of an entry, all overhead counted: each map has a process of its own, which is
//! measured before it is filled and after.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leasehold::{SecretCache, WorkspaceId};
use tokio::runtime::{Builder, Runtime};

use crate::fleet::{Full, SECRET, id, policy};
use crate::report::{Report, Table};
use crate::turns::now;

const ENTRIES: usize = 1_000_000;
/// Replacements of every value.
const ROUNDS: usize = 100;
const TTL: Duration = Duration::from_secs(3600);

/// The argument with which this program measures one map and prints what it found.
pub(crate) const ALONE: &str = "--memory-of";

/// Time after which the allocator has released free memory: it says ten seconds.
const SETTLED: Duration = Duration::from_secs(12);

/// Measurements of one process, in bytes, each once the allocator has settled.
struct Measured {
    filled: f64,
    /// Memory after each value was replaced for the first time.
    once: f64,
    replaced: f64,
    removed: f64,
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Memory",
        "Resident bytes for each of 1,000,000 entries with 36-byte ids and 43-byte secrets, each map in a \
         process of its own: once it is filled, after every value was replaced once, after that was repeated \
         (a hundred times; five times at a million), and after all were removed. Each is measured 12 seconds \
         later: jemalloc, the server's allocator, gives back in 10 what is free, where glibc's keeps much of \
         it.",
    );
    let mut table = Table::new(&[
        "map",
        "allocator",
        "bytes per entry",
        "replaced once",
        "replaced often",
        "all removed",
    ]);
    let maps = [
        ("leasehold", 10_000),
        ("leasehold", 100_000),
        ("leasehold", ENTRIES),
        ("moka", ENTRIES),
        ("quick_cache", ENTRIES),
    ];
    for allocator in ["jemalloc", "glibc"] {
        // The processes run side by side: nothing of this depends on time.
        let running = maps.map(|(name, entries)| (name, entries, start(allocator, name, entries)));
        for (name, entries, child) in running {
            let Measured { filled, once, replaced, removed } = measured(child);
            let each = |bytes: f64| format!("{:.0}", bytes / entries as f64);
            if name == "leasehold" && entries == ENTRIES {
                report.at_most(&format!("bytes per entry, {allocator}"), filled / entries as f64, 200.0);
            }
            if name == "leasehold" && entries >= ENTRIES / 10 {
                let goals = [
                    ("resident after replacing every value often, to once", replaced / once, 1.05),
                    ("resident after removing all, to filled", removed / filled, 0.2),
                ];
                for (what, measured, bound) in goals {
                    report.at_most(&format!("{what}: {entries} entries, {allocator}"), measured, bound);
                }
            }
            let map = format!("{name}, {entries} entries");
            table.row([map, allocator.to_owned(), each(filled), each(once), each(replaced), each(removed)]);
        }
    }
    report.table(&table);
}

/// Returns the resident megabytes of so many entries.
pub(crate) fn filled_mb(entries: usize) -> f64 {
    numbers(start("glibc", "filled", entries)).next().expect("one number") / 1e6
}

fn measured(child: Child) -> Measured {
    let mut numbers = numbers(child);
    let mut next = || numbers.next().expect("four numbers");
    Measured { filled: next(), once: next(), replaced: next(), removed: next() }
}

/// Starts a process of its own for one map: of this program, or of the one beside it that has jemalloc.
fn start(allocator: &str, name: &str, entries: usize) -> Child {
    let own = env::current_exe().expect("this program has a path");
    let program = if allocator == "jemalloc" { own.with_file_name("benchmarks-jemalloc") } else { own };
    let mut command = Command::new(program);
    command.args([ALONE, name, &entries.to_string()]).stdout(Stdio::piped()).spawn().expect("it starts")
}

/// Returns the numbers that a process prints.
fn numbers(child: Child) -> impl Iterator<Item = f64> {
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("it prints numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    numbers.into_iter()
}

/// Fills one map in this process, and prints its memory.
pub(crate) fn alone(words: &[String]) {
    let [name, entries] = words else { panic!("expected the name of a map and a count") };
    let entries = entries.parse().expect("a count");
    match name.as_str() {
        "filled" => {
            let (cache, before) = runtime().block_on(fill(entries));
            println!("{}", settled() - before);
            drop(cache);
        }
        "leasehold" => print(leasehold(entries)),
        "moka" => {
            let map = moka::sync::Cache::builder().max_capacity(entries as u64 * 2).time_to_live(TTL).build();
            let insert =
                |key: &WorkspaceId| map.insert(key.to_string(), Arc::<[u8]>::from(SECRET.as_bytes()));
            print(peer(entries, insert, || map.invalidate_all(), || map.run_pending_tasks()));
        }
        "quick_cache" => {
            let map = quick_cache::sync::Cache::<String, (Instant, Arc<[u8]>)>::new(entries * 2);
            let insert =
                |key: &WorkspaceId| map.insert(key.to_string(), (now() + TTL, SECRET.as_bytes().into()));
            print(peer(entries, insert, || map.clear(), || {}));
        }
        other => panic!("no map is called {other}"),
    }
}

fn print(Measured { filled, once, replaced, removed }: Measured) {
    println!("{filled} {once} {replaced} {removed}");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Returns a cache of so many entries, and the resident memory before it had them.
async fn fill(entries: usize) -> (SecretCache, f64) {
    let builder = SecretCache::builder().database(Full).policy(policy());
    let cache = builder.build().await.expect("the default policy");
    // Everything that is made once is made by this read.
    cache.read(&id(0)).await.expect("everyone has a secret");
    let before = settled();
    for number in 0..entries {
        cache.read(&id(number)).await.expect("everyone has a secret");
    }
    (cache, before)
}

fn leasehold(entries: usize) -> Measured {
    runtime().block_on(async {
        let (cache, before) = fill(entries).await;
        let filled = settled() - before;
        let mut once = None;
        for _ in 0..rounds(entries) {
            for number in 0..entries {
                cache.issue(&id(number)).await.expect("it is stored");
            }
            once.get_or_insert_with(|| settled() - before);
        }
        let once = once.expect("there are rounds");
        let replaced = settled() - before;
        cache.reset();
        // The collector frees what a reset removed at the next write.
        cache.read(&id(0)).await.expect("everyone has a secret");
        Measured { filled, once, replaced, removed: settled() - before }
    })
}

fn peer(entries: usize, insert: impl Fn(&WorkspaceId), clear: impl Fn(), settle: impl Fn()) -> Measured {
    insert(&id(0));
    let before = settled();
    let fill = || {
        (0..entries).for_each(|number| insert(&id(number)));
        settle();
    };
    fill();
    let filled = settled() - before;
    fill();
    let once = settled() - before;
    (1..rounds(entries)).for_each(|_| fill());
    let replaced = settled() - before;
    clear();
    settle();
    Measured { filled, once, replaced, removed: settled() - before }
}

/// Returns the number of replacements. A hundred million issues would take an hour: the millions of entries
/// are replaced five times.
fn rounds(entries: usize) -> usize {
    if entries >= ENTRIES { ROUNDS / 20 } else { ROUNDS }
}

/// Returns the resident memory of this process once the allocator has released free memory, in bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "the allocator goes by the clock, and says nothing when it is done"
)]
fn settled() -> f64 {
    std::thread::sleep(SETTLED);
    resident()
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as f64
}
