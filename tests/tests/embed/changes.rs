//! A database of a program's own that tells of the changes which others commit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use leasehold::testing::InMemory;
use leasehold::{
    Answer, Changes, Database, IssueMode, RowChange, Secret, SecretCache, Stats, Status, WorkspaceId,
};
use leasehold_tests::MAX_WAIT;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::id;

/// Rows in memory, whose changes a test tells of.
#[derive(Clone)]
struct Announcing {
    rows: InMemory,
    /// The streams that are still to be asked for.
    streams: Arc<Mutex<VecDeque<Option<Changes>>>>,
}

impl Announcing {
    fn new() -> Self {
        let rows = InMemory::new();
        rows.store("a", "a1");
        rows.store("b", "b1");
        Self { rows, streams: Arc::default() }
    }

    /// Adds a stream, and returns the sender of its changes; `None` is a stream that panics.
    fn add_stream(&self) -> UnboundedSender<Option<RowChange>> {
        let (tx, mut rx) = unbounded_channel::<Option<RowChange>>();
        let changes = stream::poll_fn(move |context| {
            rx.poll_recv(context).map(|change| change.map(|change| change.expect("the test wants a panic")))
        });
        self.streams.lock().unwrap().push_back(Some(Box::pin(changes)));
        tx
    }

    async fn cache(&self) -> SecretCache {
        let builder = SecretCache::builder().database(self.clone()).database_timeout(MAX_WAIT);
        let cache = builder.build().await.expect("the default policy is good");
        for workspace in ["a", "b"] {
            assert_eq!(read(&cache, workspace).await.1, Status::Miss);
        }
        cache
    }
}

impl Database for Announcing {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        self.rows.select(workspace)
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: Instant,
    ) -> Answer<'a, Secret> {
        self.rows.issue(workspace, mode, minted, send_by)
    }

    fn changes(&self) -> Option<Changes> {
        self.streams.lock().unwrap().pop_front().flatten()
    }

    fn statements(&self) -> u64 {
        self.rows.statements()
    }
}

async fn read(cache: &SecretCache, workspace: &str) -> (String, Status) {
    let found = cache.read(&id(workspace)).await.expect("there is a secret");
    (found.secret.expose_str().expect("it is text").to_owned(), found.status)
}

/// Reads `a` in a task of its own.
fn read_in_task(cache: &SecretCache) -> JoinHandle<(String, Status)> {
    let cache = cache.clone();
    tokio::spawn(async move { read(&cache, "a").await })
}

/// Starts a read of `a`, which waits for the database, and has its row change meanwhile. The cache has taken
/// the change then: that of `b`, whose entry is gone, came after it.
async fn read_across_a_change(
    database: &Announcing,
    cache: &SecretCache,
    tx: &UnboundedSender<Option<RowChange>>,
) -> JoinHandle<(String, Status)> {
    cache.remove(&id("a"));
    database.rows.hold();
    let early = read_in_task(cache);
    until(cache, |stats| stats.in_flight == 1).await;
    for workspace in ["a", "b"] {
        tx.send(Some(RowChange::One(id(workspace)))).expect("the cache listens");
    }
    until(cache, |stats| stats.entries == 0).await;
    early
}

async fn until(cache: &SecretCache, reached: impl Fn(&Stats) -> bool) {
    wait(|| reached(&cache.stats())).await;
}

async fn wait(reached: impl Fn() -> bool) {
    let looks = async {
        while !reached() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(MAX_WAIT, looks).await.expect("it is reached in time");
}

#[tokio::test]
async fn a_change_takes_its_own_entry_out() {
    let database = Announcing::new();
    let tx = database.add_stream();
    let cache = database.cache().await;
    database.rows.store("a", "a2");
    assert_eq!(read(&cache, "a").await, ("a1".into(), Status::Hit), "nothing was announced yet");
    tx.send(Some(RowChange::One(id("a")))).expect("the cache listens");
    until(&cache, |stats| stats.entries == 1).await;
    assert_eq!(read(&cache, "a").await, ("a2".into(), Status::Miss));
    assert_eq!(read(&cache, "b").await, ("b1".into(), Status::Hit));
}

#[tokio::test]
async fn where_any_row_may_have_changed_every_entry_goes() {
    let database = Announcing::new();
    let tx = database.add_stream();
    let cache = database.cache().await;
    tx.send(Some(RowChange::Any)).expect("the cache listens");
    until(&cache, |stats| stats.entries == 0).await;
    assert_eq!(read(&cache, "b").await, ("b1".into(), Status::Miss));
}

#[tokio::test]
async fn what_was_being_read_when_a_row_changed_is_not_joined() {
    let database = Announcing::new();
    let tx = database.add_stream();
    let cache = database.cache().await;
    let early = read_across_a_change(&database, &cache, &tx).await;
    let selects = database.rows.selects();
    let late = read_in_task(&cache);
    wait(|| database.rows.selects() > selects).await;
    database.rows.release();
    assert_eq!((early.await.unwrap().1, late.await.unwrap().1), (Status::Miss, Status::Miss));
    assert_eq!(cache.stats().joined, 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_stream_has_ended_or_panicked_every_entry_goes_and_the_next_one_counts() {
    let database = Announcing::new();
    let first = database.add_stream();
    let second = database.add_stream();
    // The database has none to give for once.
    database.streams.lock().unwrap().push_back(None);
    let third = database.add_stream();
    let cache = database.cache().await;
    drop(first);
    until(&cache, |stats| stats.entries == 0).await;
    assert_eq!(read(&cache, "a").await.1, Status::Miss);
    second.send(None).expect("the cache listens");
    until(&cache, |stats| stats.entries == 0).await;
    assert_eq!(read(&cache, "a").await.1, Status::Miss);
    third.send(Some(RowChange::One(id("a")))).expect("the cache listens");
    until(&cache, |stats| stats.entries == 0).await;
}

#[tokio::test]
async fn a_stream_that_always_has_a_change_leaves_the_runtime_to_others() {
    const CHANGES: usize = 100_000;
    let database = Announcing::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let changes = stream::iter(0..CHANGES).map(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        RowChange::One(id("another"))
    });
    let changes: Changes = Box::pin(changes);
    database.streams.lock().unwrap().push_back(Some(changes));
    let _cache = database.cache().await;
    let before = taken.load(Ordering::SeqCst);
    tokio::task::yield_now().await;
    let at_once = taken.load(Ordering::SeqCst) - before;
    assert!(before < CHANGES && at_once < CHANGES / 10, "{before}, then {at_once} without a turn for others");
    wait(|| taken.load(Ordering::SeqCst) == CHANGES).await;
}

#[tokio::test]
async fn what_was_being_read_when_a_row_changed_is_delivered_and_not_stored() {
    let database = Announcing::new();
    let tx = database.add_stream();
    let cache = database.cache().await;
    let early = read_across_a_change(&database, &cache, &tx).await;
    database.rows.release();
    assert_eq!(early.await.unwrap().0, "a1");
    assert_eq!(cache.stats().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn the_stream_is_dropped_with_its_cache() {
    let database = Announcing::new();
    let tx = database.add_stream();
    let cache = database.cache().await;
    sleep(Duration::from_secs(60)).await;
    assert!(!tx.is_closed());
    drop(cache);
    timeout(Duration::from_secs(3), tx.closed()).await.expect("nothing holds it any more");
}
