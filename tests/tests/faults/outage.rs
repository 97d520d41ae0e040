//! A database that is down under load: for some real seconds, and for sixty of a clock that the test moves.
//!
//! Hot workspaces are covered by a lease throughout and cold ones by none. A miss fails by its type and in
//! its time, and no failure is taken for absence. Once the database is back every read is answered, and there
//! was never a crowd at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{DatabaseError, Error, ManualClock, SecretCache, Status, WorkspaceId};
use leasehold_tests::Tier;
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::scripted::{Fault, Gate, Scripted};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Limits, MAX_SELECTS, TestBed, builder, id, within};

/// Maximum time that a miss may take by default.
const DEADLINE: Duration = Duration::from_secs(1);

/// Returns whether this is an error that a miss may be answered with while the database is down.
fn is_outage(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Timeout | Error::Overloaded)
}

struct Outage {
    database: Scripted,
    clock: Arc<ManualClock>,
    cache: SecretCache,
    hot: Vec<WorkspaceId>,
}

/// The behaviour of the database while it is down.
#[derive(Clone, Copy, Debug)]
enum Down {
    /// The database refuses at once.
    Refusing,
    /// The database does not answer, and carries out what it was sent once it is back.
    Silent,
}

impl Outage {
    async fn new() -> Result<Self> {
        let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
        let cache = builder()
            .database(database.clone())
            .clock(Arc::clone(&clock))
            .max_selects(MAX_SELECTS as usize)
            .build()
            .await?;
        let outage = Self { database, clock, cache, hot: names("hot", 30) };
        for key in &outage.hot {
            outage.database.store(key.as_str(), Some("hot"));
            outage.cache.read(key).await?;
        }
        Ok(outage)
    }

    fn begin(&self, down: Down) {
        match down {
            Down::Refusing => {
                let refused = DatabaseError::Unavailable("connection refused".into());
                self.database.fault(Some(Fault::Fails(refused)));
            }
            Down::Silent => self.database.close(Gate::BeforeSelect),
        }
    }

    fn end(&self) {
        self.database.fault(None);
        self.database.open(Gate::BeforeSelect);
    }

    /// Lets time pass on both clocks.
    async fn advance(&self, span: Duration) {
        self.clock.advance(span);
        tokio::time::advance(span).await;
        // A task that was woken by that gets to its end, before more time passes.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Checks that every read within its lease is answered, from the cache.
    async fn hot_is_served(&self) -> Result<()> {
        for key in &self.hot {
            let found = self.cache.read(key).await.with_context(|| format!("{key} within its lease"))?;
            ensure!(found.status == Status::Hit, "{:?}", found.status);
        }
        Ok(())
    }

    /// Reads a workspace that is not cached, and returns how long it took.
    fn miss(&self, key: WorkspaceId) -> tokio::task::JoinHandle<(Result<(), Error>, Duration)> {
        let cache = self.cache.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            (cache.read(&key).await.map(drop), started.elapsed())
        })
    }
}

fn names(prefix: &str, count: usize) -> Vec<WorkspaceId> {
    (0..count).map(|n| id(&format!("{prefix}{n}"))).collect()
}

async fn down_for_a_minute(down: Down, misses_a_second: usize) -> Result<()> {
    let outage = Outage::new().await?;
    let cold = names("cold", 60 * misses_a_second);
    for key in &cold {
        outage.database.store(key.as_str(), Some("cold"));
    }
    outage.begin(down);
    let mut misses = Vec::new();
    for second in cold.chunks(misses_a_second) {
        misses.extend(second.iter().map(|key| outage.miss(key.clone())));
        for _ in 0..10 {
            outage.advance(Duration::from_millis(100)).await;
            outage.hot_is_served().await?;
        }
    }
    for miss in misses {
        let (answer, took) = within("a miss", miss).await??;
        let error = answer.err().context("the database is down, and a secret")?;
        ensure!(is_outage(&error), "{down:?}: {error}");
        ensure!(took <= DEADLINE + Duration::from_millis(100), "{down:?}: {took:?}");
    }
    outage.end();
    let back = Instant::now();
    let mut left = cold;
    while !left.is_empty() {
        let reads: Vec<_> = left.drain(..).map(|key| (key.clone(), outage.miss(key))).collect();
        outage.advance(Duration::from_millis(1)).await;
        for (key, read) in reads {
            match within("a read", read).await??.0 {
                Ok(()) => {}
                // There is no room for all of them at once, which says nothing about the database.
                Err(Error::Overloaded) => left.push(key),
                Err(error) => anyhow::bail!("{down:?}: the database is back: {error}"),
            }
        }
        ensure!(back.elapsed() <= Duration::from_secs(1), "not all are served {:?} later", back.elapsed());
    }
    let peak = outage.database.peak();
    ensure!(peak <= MAX_SELECTS, "{down:?}: {peak} statements at once");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_a_database_costs_misses_a_typed_error_in_time_and_hits_nothing() -> Result<()> {
    down_for_a_minute(Down::Refusing, 40).await
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_silence_costs_misses_a_typed_error_in_time_and_hits_nothing() -> Result<()> {
    down_for_a_minute(Down::Silent, 4).await
}

/// A statement that was sent to a database that does not answer is still in flight there when its caller has
/// been answered so. It counts: or a minute of silence is a minute's misses at once.
#[tokio::test(start_paused = true)]
async fn a_minute_of_silence_does_not_pile_up_statements() -> Result<()> {
    down_for_a_minute(Down::Silent, 40).await
}

/// State that the tasks of the load and the test share.
struct Load {
    over: AtomicBool,
    /// True once the server is back: a read that begins from then on has to be answered.
    back: AtomicBool,
    hits: AtomicU64,
    /// One permit for each miss that has failed.
    failed: Semaphore,
    served: AtomicU64,
}

impl Load {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            over: AtomicBool::new(false),
            back: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            failed: Semaphore::new(0),
            served: AtomicU64::new(0),
        })
    }
}

async fn hit(bench: Arc<TestBed>, hot: Vec<WorkspaceId>, load: Arc<Load>) -> Result<()> {
    // The pace of a load, not a wait for anything.
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    while !load.over.load(Ordering::SeqCst) {
        pace.tick().await;
        for key in &hot {
            let found = bench.cache.read(key).await.with_context(|| format!("{key} within its lease"))?;
            ensure!(found.status == Status::Hit, "{:?}", found.status);
        }
        load.hits.fetch_add(hot.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}

/// Sends misses one after the other, each of an entry that has just been dropped.
async fn miss(bench: Arc<TestBed>, key: WorkspaceId, load: Arc<Load>) -> Result<()> {
    let mut served = 0;
    while served < 3 && !load.over.load(Ordering::SeqCst) {
        bench.cache.remove(&key);
        let (back, started) = (load.back.load(Ordering::SeqCst), Instant::now());
        let answer = bench.cache.read(&key).await;
        let took = started.elapsed();
        match answer {
            Ok(_) => {
                load.served.fetch_add(1, Ordering::SeqCst);
                served += u32::from(back);
            }
            Err(error) => {
                ensure!(is_outage(&error), "{error}");
                ensure!(!back, "a read that began when the server was back: {error} after {took:?}");
                load.failed.add_permits(1);
            }
        }
        // The same span again is for a machine that has other things to do.
        ensure!(took < 2 * DEADLINE, "a miss took {took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_that_is_down_under_load_is_missed_by_misses_only_and_served_from_when_it_is_back()
-> Result<()> {
    const MISSING: u32 = 20;
    let cluster = Arc::new(Cluster::create(&[])?);
    let bench = Arc::new(TestBed::new(cluster.options(), cluster.options(), Limits::default_ones()).await?);
    let hot = bench.rows("hot", 100).await?;
    for key in &hot {
        bench.read(key).await?;
    }
    for (outage, how) in [Stop::Immediate, Stop::Fast].into_iter().cycle().enumerate() {
        if outage as u64 == Tier::current().pick(1, 20) {
            break;
        }
        let load = Load::new();
        let hitting = tokio::spawn(hit(Arc::clone(&bench), hot.clone(), Arc::clone(&load)));
        let cold = bench.rows(&format!("cold{outage}-"), i32::try_from(MISSING)?).await?;
        let missing: Vec<_> = cold
            .into_iter()
            .map(|key| tokio::spawn(miss(Arc::clone(&bench), key, Arc::clone(&load))))
            .collect();
        let server = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || server.stop(how)).await??;
        // Each miss takes most of its second, so this is how long the outage lasts: some three seconds.
        let misses = 4 * MISSING;
        let failed =
            within("misses of a server that is down", load.failed.acquire_many(misses)).await.map(drop);
        let server = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || server.start()).await??;
        load.back.store(true, Ordering::SeqCst);
        for reader in missing {
            within("a reader after the outage", reader).await???;
        }
        failed?;
        load.over.store(true, Ordering::SeqCst);
        within("the hits", hitting).await???;
        let [hits, served] = [&load.hits, &load.served].map(|count| count.load(Ordering::SeqCst));
        let failed = load.failed.available_permits();
        println!("{how:?}: {hits} hits, {failed} misses failed, {served} were served");
        ensure!(hits >= 10_000, "only {hits} hits");
    }
    Ok(())
}
