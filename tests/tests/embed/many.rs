//! Many workspaces at once, from one caller: no read is rejected, and no other caller is kept out.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use anyhow::Result;
use leasehold::{
    Answer, Database, DatabaseError, Error, IssueMode, Policy, Secret, SecretCache, Status, WorkspaceId,
};
use leasehold_tests::Engine;
use leasehold_tests::scripted::{Gate, Scripted};

use super::{cache, id};
use crate::database::on_both;

on_both! {
    many_are_answered_in_their_order_and_absence_is_the_matter_of_one,
}

fn ids(count: usize) -> Vec<WorkspaceId> {
    (0..count).map(|n| id(&format!("w{n}"))).collect()
}

/// Returns a database in which each workspace's secret is its own id.
fn rows(ids: &[WorkspaceId]) -> Scripted {
    let database = Scripted::new();
    ids.iter().for_each(|id| database.store(id.as_str(), Some(id.as_str())));
    database
}

#[track_caller]
fn assert_own(ids: &[WorkspaceId], answers: &[Result<leasehold::Lookup, Error>]) {
    assert_eq!(ids.len(), answers.len());
    for (id, answer) in ids.iter().zip(answers) {
        let found = answer.as_ref().map(|found| found.secret.expose_str().expect("text"));
        assert_eq!(found, Ok(id.as_str()));
    }
}

async fn many_are_answered_in_their_order_and_absence_is_the_matter_of_one(engine: Engine) -> Result<()> {
    let fixture = engine.workspaces().await?;
    let present = |n: usize| !n.is_multiple_of(3);
    for n in (0..300).filter(|n| present(*n)) {
        fixture.insert(&format!("w{n}"), Some(&format!("secret {n}"))).await?;
    }
    let cache = cache(fixture.secrets().await?).await;
    // Each of them is read twice, once forwards and once backwards.
    let numbers: Vec<usize> = (0..300).chain((0..300).rev()).collect();
    let ids: Vec<_> = numbers.iter().map(|n| id(&format!("w{n}"))).collect();
    for status in [Status::Miss, Status::Hit] {
        let answers = cache.get_many(&ids).await;
        assert_eq!(answers.len(), ids.len());
        for (n, answer) in numbers.iter().zip(answers) {
            match answer {
                Ok(found) => {
                    assert!(found.secret.verify(format!("secret {n}").as_bytes()), "w{n}");
                    assert!(present(*n) && found.status == status, "w{n}: {:?}", found.status);
                }
                Err(error) => assert!(!present(*n) && error == Error::Absent, "w{n}: {error}"),
            }
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.selects, stats.misses, stats.overloaded), (400, 200, 0), "absence is read again");
    assert!(stats.statements < 40, "{} statements: they travel together", stats.statements);
    assert!(cache.get_many(&[]).await.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_are_all_answered_and_each_is_read_once() {
    let ids = ids(10_000);
    let database = rows(&ids);
    database.take_turns(3);
    let cache = SecretCache::builder().database(database.clone()).build().await.expect("it is good");
    // Two callers, each of which reads all of them.
    let other = {
        let (cache, ids) = (cache.clone(), ids.clone());
        tokio::spawn(async move { cache.get_many(&ids).await })
    };
    assert_own(&ids, &cache.get_many(&ids).await);
    assert_own(&ids, &other.await.expect("no panic"));
    let stats = cache.stats();
    assert_eq!((database.selects(), stats.errors, stats.overloaded), (10_000, 0, 0), "{stats:?}");
    assert!(database.peak() <= 12, "{} statements at once", database.peak());
}

#[tokio::test]
async fn many_leave_room_for_those_who_read_one() {
    let ids = ids(5_000);
    let database = rows(&ids);
    let cache = cache(database.clone()).await;
    database.close(Gate::BeforeSelect);
    let many = {
        let (cache, ids) = (cache.clone(), ids.clone());
        tokio::spawn(async move { cache.get_many(&ids).await })
    };
    database.arrivals(12).await;
    let ones = (0..500).map(|n| {
        let (cache, id) = (cache.clone(), ids[4_999 - n].clone());
        tokio::spawn(async move { cache.read(&id).await })
    });
    let ones: Vec<_> = ones.collect();
    tokio::task::yield_now().await;
    database.open(Gate::BeforeSelect);
    for one in ones {
        assert!(one.await.expect("no panic").is_ok());
    }
    assert_own(&ids, &many.await.expect("no panic"));
    assert_eq!((database.selects(), cache.stats().overloaded), (5_000, 0), "they share their loads");
}

#[tokio::test]
async fn a_caller_that_does_not_ask_how_its_reads_go_on_keeps_nobody_waiting() {
    let ids = ids(5_000);
    let cache = cache(rows(&ids)).await;
    let mut stalled = pin!(cache.get_many(&ids));
    assert!(poll_fn(|context| Poll::Ready(stalled.as_mut().poll(context).is_pending())).await);
    assert_own(&ids, &cache.get_many(&ids).await);
    assert_own(&ids, &stalled.await);
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let ids = ids(100);
    let database = rows(&ids);
    let builder = SecretCache::builder().database(database.clone()).database_timeout(super::MAX_WAIT);
    let cache = builder.max_selects(1).max_queue(1).build().await.expect("it is good");
    database.close(Gate::BeforeSelect);
    // These two reads fill the queue.
    let others = [id("x"), id("y")].map(|id| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.read(&id).await })
    });
    database.arrivals(1).await;
    assert_eq!(cache.read(&id("z")).await.err(), Some(Error::Overloaded), "the queue is full");
    let many = {
        let (cache, ids) = (cache.clone(), ids.clone());
        tokio::spawn(async move { cache.get_many(&ids).await })
    };
    tokio::task::yield_now().await;
    database.open(Gate::BeforeSelect);
    assert_own(&ids, &many.await.expect("no panic"));
    for other in others {
        assert_eq!(other.await.expect("no panic").err(), Some(Error::Absent));
    }
}

/// A database that refuses the reads that its function names.
struct Refusing<F>(Scripted, F);

impl<F> Database for Refusing<F>
where
    F: Fn(&WorkspaceId) -> Option<DatabaseError> + Send + Sync + 'static,
{
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        match (self.1)(workspace) {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.0.select(workspace),
        }
    }

    fn batch_size(&self) -> usize {
        16
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        self.0.issue(workspace, mode, minted, send_by)
    }

    fn statements(&self) -> u64 {
        self.0.statements()
    }
}

#[tokio::test]
async fn one_that_cannot_be_read_is_no_error_of_another() {
    let ids = ids(50);
    let refuses =
        |id: &WorkspaceId| (id.as_str() == "w7").then(|| DatabaseError::Unavailable("not that one".into()));
    let cache = cache(Refusing(rows(&ids), refuses)).await;
    let mut answers = cache.get_many(&ids).await;
    assert_eq!(answers.remove(7).err(), Some(Error::Unavailable("not that one".into())));
    let others: Vec<_> = ids.into_iter().filter(|id| id.as_str() != "w7").collect();
    assert_own(&others, &answers);
}

#[tokio::test]
async fn what_is_rejected_all_the_same_is_tried_again_and_in_the_end_an_error() {
    let ids = ids(100);
    let seen = Mutex::<HashSet<WorkspaceId>>::default();
    // It refuses the first read of each row, and every read of `w7`.
    let refuses = move |id: &WorkspaceId| {
        let is_first = seen.lock().unwrap().insert(id.clone());
        (is_first || id.as_str() == "w7").then_some(DatabaseError::Overloaded)
    };
    let cache = cache(Refusing(rows(&ids), refuses)).await;
    let mut answers = cache.get_many(&ids).await;
    assert_eq!(answers.remove(7).err(), Some(Error::Overloaded));
    assert_own(&[&ids[..7], &ids[8..]].concat(), &answers);
}

#[tokio::test]
async fn what_a_caller_began_who_goes_away_is_stored() {
    let ids = ids(1_000);
    let database = rows(&ids);
    let cache = cache(database.clone()).await;
    database.close(Gate::AfterSelect);
    let many = {
        let (cache, ids) = (cache.clone(), ids.clone());
        tokio::spawn(async move { drop(cache.get_many(&ids).await) })
    };
    database.arrivals(12).await;
    let begun = cache.stats().in_flight;
    assert!((12..1_000).contains(&begun), "{begun}");
    many.abort();
    assert!(many.await.is_err_and(|error| error.is_cancelled()));
    database.open(Gate::AfterSelect);
    while cache.stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((cache.stats().entries, database.selects()), (begun, begun), "and no more are begun");
}

#[tokio::test]
async fn warming_reports_what_it_found_and_the_next_reads_are_hits() {
    let ids = ids(1_000);
    let database = rows(&ids[..900]);
    let cache = cache(database.clone()).await;
    let report = cache.warm(&ids).await;
    assert_eq!((report.present, report.absent, report.failed, report.error), (900, 100, 0, None));
    for id in &ids[..900] {
        assert_eq!(cache.read(id).await.map(|found| found.status), Ok(Status::Hit));
    }
    let down = DatabaseError::Unavailable("down".into());
    database.fault(Some(leasehold_tests::scripted::Fault::Fails(down)));
    cache.remove(&ids[0]);
    let report = cache.warm(&ids[..2]).await;
    assert_eq!(
        (report.present, report.failed, report.error),
        (1, 1, Some(Error::Unavailable("down".into())))
    );
}

#[tokio::test]
async fn a_policy_that_stores_nothing_is_asked_once_for_each() {
    let ids = ids(100);
    let database = rows(&ids);
    let builder = SecretCache::builder().database(database.clone());
    let policy = Policy::from_bytes(leasehold_policies::PASSTHROUGH);
    let cache = Arc::new(builder.policy(policy).build().await.expect("it is good"));
    let twice = [ids.as_slice(), &ids].concat();
    assert_own(&twice, &cache.get_many(&twice).await);
    assert_eq!(database.selects(), 100);
}
