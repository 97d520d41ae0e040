//! Events between two statements: G1, G3, G5 and G6 with the moments chosen by the test.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{
    Clock as _, DatabaseError, Error, ManualClock, Policy, SecretCache, Status, SystemClock, WorkspaceId,
};
use leasehold_tests::scripted::{Fault, Gate, Scripted};

const W: &str = "w";

struct TestBed {
    cache: SecretCache,
    database: Scripted,
    clock: Arc<ManualClock>,
    id: WorkspaceId,
}

async fn bench() -> TestBed {
    let database = Scripted::new();
    database.store(W, Some("old"));
    let clock = Arc::new(ManualClock::new());
    let cache = SecretCache::builder()
        .database(database.clone())
        .clock(Arc::clone(&clock))
        .policy(Policy::from_bytes(leasehold_policies::TTL))
        .build()
        .await
        .expect("the default policy is good");
    TestBed { cache, database, clock, id: WorkspaceId::new(W).unwrap() }
}

impl TestBed {
    async fn read(&self) -> Result<(String, Status), Error> {
        let lookup = self.cache.read(&self.id).await?;
        Ok((lookup.secret.expose_str().unwrap().to_string(), lookup.status))
    }

    fn read_in_background(&self) -> tokio::task::JoinHandle<Result<String, Error>> {
        let (cache, id) = (self.cache.clone(), self.id.clone());
        tokio::spawn(async move { Ok(cache.read(&id).await?.secret.expose_str().unwrap().to_string()) })
    }
}

/// Lets the paused time of the runtime go on, a second at a time, and the housekeeping with it.
async fn seconds(count: u32) {
    for _ in 0..count {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_select_that_was_sent_before_an_issue_is_neither_stored_nor_joined_after_it() {
    let bench = bench().await;
    bench.database.close(Gate::AfterSelect);
    let early = bench.read_in_background();
    bench.database.arrivals(1).await;
    let issued = bench.cache.issue(&bench.id).await.unwrap();
    let issued = issued.expose_str().unwrap().to_string();
    // A reader that starts now is answered without waiting for the flight that is still held up.
    assert_eq!(bench.read().await, Ok((issued.clone(), Status::Hit)));
    bench.database.open(Gate::AfterSelect);
    assert_eq!(early.await.unwrap(), Ok("old".into()), "it began before the issue");
    // It has delivered something else than is stored, and only the database knows which is newer.
    assert_eq!(bench.read().await, Ok((issued.clone(), Status::Miss)));
    assert_eq!(bench.read().await, Ok((issued, Status::Hit)));
    bench.clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn an_absence_told_after_a_commit_is_not_followed_by_what_was_committed() {
    let bench = bench().await;
    bench.database.close(Gate::AfterIssue);
    let (cache, id) = (bench.cache.clone(), bench.id.clone());
    let issuer = tokio::spawn(async move { cache.issue(&id).await.map(drop) });
    bench.database.arrivals(1).await;
    bench.database.store(W, None);
    assert_eq!(bench.read().await, Err(Error::Absent), "another writer has taken it back");
    bench.database.open(Gate::AfterIssue);
    issuer.await.unwrap().unwrap();
    assert_eq!(bench.read().await, Err(Error::Absent), "it was answered that there is none");
}

#[tokio::test]
async fn a_thousand_readers_of_a_cold_key_share_one_select() {
    let bench = bench().await;
    bench.database.close(Gate::BeforeSelect);
    let readers: Vec<_> = (0..1000).map(|_| bench.read_in_background()).collect();
    bench.database.arrivals(1).await;
    bench.database.open(Gate::BeforeSelect);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), Ok("old".into()));
    }
    assert_eq!(bench.database.selects(), 1);
}

#[tokio::test]
async fn reads_that_find_nothing_and_end_after_a_heal_are_given_the_healed_secret_by_one_more() {
    let bench = bench().await;
    bench.database.store(W, None);
    let read_or_issue = || {
        let (cache, id) = (bench.cache.clone(), bench.id.clone());
        tokio::spawn(async move { cache.read_or_issue(&id).await.map(|found| (found.secret, found.status)) })
    };
    bench.database.close(Gate::BeforeIssue);
    let first = read_or_issue();
    bench.database.arrivals(1).await;
    // Other callers read before the heal, and are answered after it.
    bench.database.close(Gate::AfterSelect);
    let late: Vec<_> = (0..15).map(|_| read_or_issue()).collect();
    bench.database.arrivals(2).await;
    bench.database.open(Gate::BeforeIssue);
    let healed = first.await.unwrap().unwrap();
    let stored = bench.database.stored(W).unwrap();
    assert_eq!((healed.0.expose_str(), healed.1), (Some(&*stored), Status::Healed));
    assert_eq!(bench.read().await, Ok((stored.clone(), Status::Hit)));
    bench.database.open(Gate::AfterSelect);
    // They heal too, together, and replace nothing.
    for late in late {
        assert_eq!(late.await.unwrap().unwrap().0.expose_str(), Some(&*stored));
    }
    assert_eq!((bench.database.stored(W), bench.database.issues()), (Some(stored.clone()), 2));
    assert_eq!(bench.read().await, Ok((stored, Status::Hit)));
}

#[tokio::test]
async fn a_lost_acknowledgement_is_an_unknown_outcome_and_voids_the_entry() {
    let bench = bench().await;
    bench.read().await.unwrap();
    bench.database.fault(Some(Fault::LosesAnswer));
    let error = bench.cache.issue(&bench.id).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    bench.database.fault(None);
    let (secret, status) = bench.read().await.unwrap();
    assert_eq!(status, Status::Miss);
    assert_eq!(Some(secret), bench.database.stored(W));
}

#[tokio::test]
async fn a_refused_issue_changes_nothing() {
    let bench = bench().await;
    bench.read().await.unwrap();
    bench.database.fault(Some(Fault::Fails(DatabaseError::Unavailable("down".into()))));
    assert_eq!(bench.cache.issue(&bench.id).await.unwrap_err(), Error::Unavailable("down".into()));
    assert_eq!(bench.read().await, Ok(("old".into(), Status::Hit)));
}

#[tokio::test]
async fn a_caller_that_is_dropped_cancels_neither_a_read_nor_an_issue() {
    let bench = bench().await;
    bench.database.close(Gate::BeforeSelect);
    let reader = bench.read_in_background();
    bench.database.arrivals(1).await;
    let other = bench.read_in_background();
    reader.abort();
    bench.database.open(Gate::BeforeSelect);
    assert_eq!(other.await.unwrap(), Ok("old".into()));
    assert_eq!(bench.database.selects(), 1);

    bench.database.close(Gate::BeforeIssue);
    let (cache, id) = (bench.cache.clone(), bench.id.clone());
    let issuer = tokio::spawn(async move { cache.issue(&id).await.map(drop) });
    bench.database.arrivals(2).await;
    issuer.abort();
    bench.database.open(Gate::BeforeIssue);
    // The next issue waits for its turn, so it ends after the one whose caller is gone.
    let second = bench.cache.issue(&bench.id).await.unwrap();
    assert_eq!(bench.database.issues(), 2);
    assert_eq!(bench.read().await, Ok((second.expose_str().unwrap().into(), Status::Hit)));
}

#[tokio::test]
async fn concurrent_issues_leave_the_cache_holding_what_the_database_holds() {
    let bench = bench().await;
    let issuers: Vec<_> = (0..50)
        .map(|_| {
            let (cache, id) = (bench.cache.clone(), bench.id.clone());
            tokio::spawn(async move { cache.issue(&id).await.map(drop) })
        })
        .collect();
    for issuer in issuers {
        issuer.await.unwrap().unwrap();
    }
    assert_eq!(bench.database.issues(), 50);
    let (secret, status) = bench.read().await.unwrap();
    assert_eq!((Some(secret), status), (bench.database.stored(W), Status::Hit));
}

#[tokio::test(start_paused = true)]
async fn an_issue_that_is_late_is_unknown_and_nothing_is_stored_until_it_has_ended() {
    let bench = bench().await;
    bench.database.close(Gate::BeforeIssue);
    let error = bench.cache.issue(&bench.id).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    // The old value is still in the database, and may be replaced at any moment: it is read each time.
    for _ in 0..3 {
        assert_eq!(bench.read().await, Ok(("old".into(), Status::Miss)));
    }
    // The next issue waits for the end of the late one, and is not sent before it.
    assert_eq!(bench.cache.issue(&bench.id).await.unwrap_err(), Error::Overloaded);
    assert_eq!(bench.database.issues(), 1);
    bench.database.open(Gate::BeforeIssue);
    let next = bench.cache.issue(&bench.id).await.unwrap();
    assert_eq!(bench.database.stored(W).as_deref(), next.expose_str());
    assert_eq!(bench.read().await, Ok((next.expose_str().unwrap().into(), Status::Hit)));
}

#[tokio::test(start_paused = true)]
async fn a_read_of_a_silent_database_fails_typed_within_its_deadline() {
    let bench = bench().await;
    bench.database.close(Gate::BeforeSelect);
    let started = tokio::time::Instant::now();
    assert_eq!(bench.read().await, Err(Error::Timeout));
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_workspace_removed_while_it_is_issued_or_read_leaves_no_entry() {
    let bench = bench().await;
    for gate in [Gate::AfterSelect, Gate::AfterIssue] {
        bench.cache.reset();
        bench.database.store(W, Some("old"));
        bench.database.close(gate);
        let (cache, id) = (bench.cache.clone(), bench.id.clone());
        let issues = matches!(gate, Gate::AfterIssue);
        let before = bench.database.arrived();
        let caller = tokio::spawn(async move {
            if issues { cache.issue(&id).await.map(drop) } else { cache.read(&id).await.map(drop) }
        });
        bench.database.arrivals(before + 1).await;
        bench.database.delete(W);
        bench.cache.remove(&bench.id);
        bench.database.open(gate);
        caller.await.unwrap().unwrap();
        assert_eq!(bench.cache.stats().entries, 0, "{gate:?}");
        assert_eq!(bench.read().await, Err(Error::Absent), "{gate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_loses_every_entry() {
    let bench = bench().await;
    bench.read().await.unwrap();
    seconds(2).await;
    assert_eq!(bench.read().await.unwrap().1, Status::Hit);
    bench.clock.suspend(Duration::from_secs(600));
    seconds(2).await;
    assert_eq!(bench.read().await.unwrap().1, Status::Miss);
}

#[tokio::test(start_paused = true)]
async fn entries_of_deleted_workspaces_leave_by_themselves() {
    let bench = bench().await;
    bench.read().await.unwrap();
    bench.database.delete(W);
    bench.clock.advance(Duration::from_secs(301));
    assert_eq!(bench.cache.stats().entries, 1);
    seconds(31).await;
    // The sweep has a thread of its own, which no paused clock waits for.
    let clock = SystemClock::new();
    let begun = clock.now();
    while bench.cache.stats().entries > 0 {
        assert!(clock.now().saturating_since(begun) < Duration::from_secs(10), "it has not been swept");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_cache_stays_within_its_capacity() {
    let database = Scripted::new();
    let policy = Policy::from_bytes(leasehold_policies::TTL);
    let cache =
        SecretCache::builder().database(database.clone()).policy(policy).capacity(100).build().await.unwrap();
    for n in 0..1000 {
        let id = WorkspaceId::new(format!("w{n}")).unwrap();
        database.store(id.as_str(), Some("a"));
        cache.read(&id).await.unwrap();
        assert!(cache.stats().entries <= 100);
    }
    let stats = cache.stats();
    assert_eq!(stats.entries + stats.evicted, 1000);
}
