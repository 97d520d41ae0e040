//! What an entry takes of resident memory, all overhead counted: a process of its own for each map, before it is filled and
//! after.

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leasehold::{SecretCache, WorkspaceId};
use tokio::runtime::{Builder, Runtime};

use crate::fleet::{Full, SECRET, id, policy};
use crate::report::{Report, Table};
use crate::turns::now;

const ENTRIES: usize = 1_000_000;
/// How often every value is replaced.
const ROUNDS: usize = 100;
const TTL: Duration = Duration::from_secs(3600);

/// The argument with which this program measures one map and prints what it found.
pub(crate) const ALONE: &str = "--memory-of";

/// What a process measured, in bytes.
struct Measured {
    filled: f64,
    /// After each value was replaced for the first time.
    once: f64,
    /// As it is, and once the allocator has let go of what it was given back.
    replaced: [f64; 2],
    removed: [f64; 2],
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Memory",
        "Resident bytes for each of 1,000,000 entries with 36-byte ids and 43-byte secrets, each map in a process of its own: \
         once it is filled, after every value was replaced once, after that was repeated (a hundred times; five times at a \
         million), and after all were removed. glibc's allocator keeps for itself much of what it is given back; the last two are shown as they are and, \
         behind the arrow, once `malloc_trim` has told it to let go: what is left then is held by the map.",
    );
    let mut table = Table::new(&["map", "bytes per entry", "replaced once", "replaced often", "all removed"]);
    for (name, entries) in [
        ("leasehold", 10_000),
        ("leasehold", 100_000),
        ("leasehold", ENTRIES),
        ("moka", ENTRIES),
        ("quick_cache", ENTRIES),
    ] {
        let Measured { filled, once, replaced, removed } = measure(name, entries);
        let each = |bytes: f64| format!("{:.0}", bytes / entries as f64);
        let both = |[kept, held]: [f64; 2]| format!("{} → {}", each(kept), each(held));
        let map = format!("{name}, {entries} entries");
        if name == "leasehold" && entries == ENTRIES {
            report.at_most("bytes per entry", filled / entries as f64, 200.0);
        }
        if name == "leasehold" && entries >= ENTRIES / 10 {
            let goals = [
                ("resident after replacing every value often, to once", replaced[0] / once, 1.05),
                ("held by the map after replacing every value often, to filled", replaced[1] / filled, 1.05),
                ("resident after removing all, to filled", removed[0] / filled, 0.2),
                ("held by the map after removing all, to filled", removed[1] / filled, 0.2),
            ];
            for (what, measured, bound) in goals {
                report.at_most(&format!("{what}: {entries} entries"), measured, bound);
            }
        }
        table.row([map, each(filled), each(once), both(replaced), both(removed)]);
    }
    report.table(&table);
}

/// The resident megabytes of so many entries.
pub(crate) fn filled_mb(entries: usize) -> f64 {
    numbers("filled", entries).next().expect("one number") / 1e6
}

fn measure(name: &str, entries: usize) -> Measured {
    let mut numbers = numbers(name, entries);
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{name}: it printed too little"));
    Measured { filled: next(), once: next(), replaced: [next(), next()], removed: [next(), next()] }
}

/// What a process of its own prints.
fn numbers(name: &str, entries: usize) -> impl Iterator<Item = f64> {
    let own = env::current_exe().expect("this program has a path");
    let output = Command::new(own).args([ALONE, name, &entries.to_string()]).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("it prints numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    numbers.into_iter()
}

/// Fills one map in this process, and prints what it takes.
pub(crate) fn alone(words: &[String]) {
    let [name, entries] = words else { panic!("expected the name of a map and a count") };
    let entries = entries.parse().expect("a count");
    match name.as_str() {
        "filled" => {
            let (_, before) = runtime().block_on(fill(entries));
            println!("{}", resident() - before);
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
    println!("{filled} {once} {} {} {} {}", replaced[0], replaced[1], removed[0], removed[1]);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A cache of so many entries, and what was resident before it had them.
async fn fill(entries: usize) -> (SecretCache, f64) {
    let builder = SecretCache::builder().database(Full).policy(policy());
    let cache = builder.build().await.expect("the default policy");
    // What is made once is there already.
    cache.read(&id(0)).await.expect("everyone has a secret");
    let before = resident();
    for number in 0..entries {
        cache.read(&id(number)).await.expect("everyone has a secret");
    }
    (cache, before)
}

fn leasehold(entries: usize) -> Measured {
    runtime().block_on(async {
        let (cache, before) = fill(entries).await;
        let filled = resident() - before;
        let mut once = None;
        for _ in 0..rounds(entries) {
            for number in 0..entries {
                cache.issue(&id(number)).await.expect("it is stored");
            }
            once.get_or_insert_with(|| resident() - before);
        }
        let once = once.expect("there are rounds");
        let replaced = kept_and_held(before);
        cache.reset();
        // The collector lets go of what a reset removed at the next write.
        cache.read(&id(0)).await.expect("everyone has a secret");
        Measured { filled, once, replaced, removed: kept_and_held(before) }
    })
}

fn peer(entries: usize, insert: impl Fn(&WorkspaceId), clear: impl Fn(), settle: impl Fn()) -> Measured {
    insert(&id(0));
    let before = resident();
    let fill = || {
        (0..entries).for_each(|number| insert(&id(number)));
        settle();
    };
    fill();
    let filled = resident() - before;
    fill();
    let once = resident() - before;
    (1..rounds(entries)).for_each(|_| fill());
    let replaced = kept_and_held(before);
    clear();
    settle();
    Measured { filled, once, replaced, removed: kept_and_held(before) }
}

/// A hundred million issues would take an hour: the millions of entries are replaced five times.
fn rounds(entries: usize) -> usize {
    if entries >= ENTRIES { ROUNDS / 20 } else { ROUNDS }
}

/// What is resident beyond `before`, and what is left of it when the allocator has let go of what it was given back.
fn kept_and_held(before: f64) -> [f64; 2] {
    let kept = resident() - before;
    // SAFETY: it takes a number and touches memory that nobody uses.
    unsafe { malloc_trim(0) };
    [kept, resident() - before]
}

unsafe extern "C" {
    /// glibc's own.
    fn malloc_trim(pad: usize) -> i32;
}

/// The resident memory of this process, in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as f64
}
