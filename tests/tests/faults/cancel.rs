//! Callers that leave: every public operation is dropped at every moment of its life, over one or two real
//! connections.
//!
//! An operation is polled `k` times and then dropped, for `k` = 1, 2, ... until it ends by itself. At its own
//! pace it is polled when it is woken; eagerly, at every turn of the scheduler, so that the drops also fall
//! between any two steps of the tasks that work for it. After each drop: every caller that had joined is
//! answered, another caller's issue over the same connections is in the table, every session is the one it
//! was and idle, and the cache agrees with the database.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{Error, Policy, Status, WorkspaceId};
use leasehold_tests::Tier;
use leasehold_tests::postgres::TestDatabase;

use super::{Dice, Limits, TestBed, id, in_flight, text, within};

/// The dropped operation. Its answer is no longer of interest then; the answer of an operation that ends is
/// the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Issue,
    ReadOrIssue,
    Verify,
    Swap,
    Rollback,
}

/// The state of the workspace in the cache and the database beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Cold,
    Warm,
    Expired,
    /// A row without a secret.
    Absent,
    /// No row.
    Unknown,
}

/// The moment at which an operation is polled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Woken,
    Eager,
}

const KEYS: [Key; 5] = [Key::Cold, Key::Warm, Key::Expired, Key::Absent, Key::Unknown];

type Answer = Result<Option<String>, Error>;

/// An operation in flight, polled by number.
struct Polled<'a> {
    future: Pin<Box<dyn Future<Output = Answer> + Send + 'a>>,
    answer: Option<Answer>,
}

impl<'a> Polled<'a> {
    fn new(future: impl Future<Output = Answer> + Send + 'a) -> Self {
        Self { future: Box::pin(future), answer: None }
    }

    /// Polls it up to `count` times, and returns whether it has ended.
    async fn polls(&mut self, count: u32, pace: Pace) -> bool {
        let mut left = count;
        poll_fn(|context| {
            if self.answer.is_some() || left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            match self.future.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    self.answer = Some(answer);
                    return Poll::Ready(());
                }
                Poll::Pending if left == 0 => return Poll::Ready(()),
                Poll::Pending if pace == Pace::Eager => context.waker().wake_by_ref(),
                Poll::Pending => {}
            }
            Poll::Pending
        })
        .await;
        self.answer.is_some()
    }

    /// Waits for its end.
    async fn end(mut self) -> Answer {
        match self.answer.take() {
            Some(answer) => answer,
            None => self.future.await,
        }
    }
}

impl TestBed {
    fn start(&self, operation: Operation, workspace: &WorkspaceId, number: u32) -> Polled<'static> {
        let (cache, key) = (self.cache.clone(), workspace.clone());
        Polled::new(async move {
            match operation {
                Operation::Read => cache.read(&key).await.map(|found| Some(text(&found.secret))),
                Operation::Issue => cache.issue(&key).await.map(|secret| Some(text(&secret))),
                Operation::ReadOrIssue => {
                    cache.read_or_issue(&key).await.map(|found| Some(text(&found.secret)))
                }
                Operation::Verify => cache.verify(&key, b"guess").await.map(|_| None),
                Operation::Swap => {
                    let swapped = cache.swap(unseen_policy(number)).await;
                    swapped.map(|_| None).map_err(|error| Error::Internal(error.to_string().into()))
                }
                // There may be no policy to go back to, which is an answer as well.
                Operation::Rollback => {
                    let _ = cache.rollback().await;
                    Ok(None)
                }
            }
        })
    }

    async fn prepare(&self, workspace: &WorkspaceId, key: Key) -> Result<()> {
        let sql = "INSERT INTO workspaces VALUES ($1, $2)";
        if key != Key::Unknown {
            let secret = (key != Key::Absent).then(|| format!("old-{workspace}"));
            sqlx::query(sql).bind(workspace.as_str()).bind(secret).execute(&self.outside).await?;
        }
        if matches!(key, Key::Warm | Key::Expired) {
            self.read(workspace).await?;
        }
        if key == Key::Expired {
            self.clock.advance(Duration::from_secs(302));
        }
        Ok(())
    }

    /// Waits until nothing that was started is still running.
    async fn idle(&self) -> Result<()> {
        let idle = async {
            while in_flight(&self.cache) > 0 || (self.pool.num_idle() as u32) < self.pool.size() {
                tokio::task::yield_now().await;
            }
        };
        within("the connections and flights that were in use", idle).await
    }
}

/// Returns the default policy, different from every other one by a section that says nothing: it has to be
/// compiled.
fn unseen_policy(number: u32) -> Policy {
    let section = [&[0, 8, 3], &b"cut"[..], &number.to_le_bytes()].concat();
    Policy::from_bytes([leasehold_policies::TTL, &section].concat())
}

/// One drop of one operation.
#[derive(Clone, Copy, Debug)]
struct Case {
    operation: Operation,
    key: Key,
    pace: Pace,
    /// True if other callers wait for the same.
    joined: bool,
    polls: u32,
}

/// Drops an operation, and returns whether it had ended by itself before.
async fn cut(bench: &TestBed, case: &Case, number: u32, stray: u64) -> Result<bool> {
    let Case { operation, key, pace, joined, polls } = *case;
    let workspace = id(&format!("w{number}"));
    bench.prepare(&workspace, key).await?;
    let mut leader = bench.start(operation, &workspace, number);
    let mut waiters = Vec::new();
    let mut ended = leader.polls(1, pace).await;
    if joined {
        for operation in [Operation::Read, operation, Operation::ReadOrIssue] {
            let mut waiter = bench.start(operation, &workspace, number);
            waiter.polls(1, pace).await;
            waiters.push((operation, waiter));
        }
    }
    ended = ended || leader.polls(polls - 1, pace).await;
    for _ in 0..stray {
        tokio::task::yield_now().await;
    }
    if let Some(Err(Error::Internal(why))) = &leader.answer {
        anyhow::bail!("the operation failed: {why}");
    }
    drop(leader);
    let mut answers = Vec::new();
    for (operation, waiter) in waiters {
        let answer = within("the answer of a caller that waited beside one that left", waiter.end()).await?;
        answers.push((operation, answer));
    }
    // Another caller's write goes over the connections that the dropped one has left behind, before anything
    // has settled.
    bench.issue(&id(&format!("n{}", number % 2))).await.context("a stranger's issue")?;
    if operation == Operation::Swap {
        let active = bench.cache.policy().generation;
        let report =
            within("a swap after one that was dropped", bench.cache.swap(bench.cache.active())).await??;
        ensure!(report.replaced == active, "a dropped swap went on");
    }
    bench.idle().await?;
    check(bench, case, &workspace, answers).await?;
    Ok(ended)
}

/// Checks what must hold once all is quiet.
async fn check(
    bench: &TestBed,
    case: &Case,
    workspace: &WorkspaceId,
    answers: Vec<(Operation, Answer)>,
) -> Result<()> {
    let history = bench.history(workspace).await?;
    for (operation, answer) in answers {
        match (&answer, case.key) {
            (Ok(Some(secret)), _) if history.contains_key(secret) => {}
            (Ok(None), _) => ensure!(operation != Operation::Read, "{operation:?} was answered nothing"),
            (Err(Error::Absent), Key::Absent | Key::Unknown) => {}
            (Err(Error::UnknownWorkspace), Key::Unknown) => {}
            _ => anyhow::bail!("a waiting {operation:?} was answered {answer:?}"),
        }
    }
    let (stored, cached) = (bench.stored(workspace).await?, within("a read", bench.read(workspace)).await?);
    match (stored, cached) {
        (Some(stored), Ok(cached)) => ensure!(stored == cached, "the cache holds another secret"),
        (None, Err(Error::Absent)) => {}
        (stored, cached) => anyhow::bail!("the database holds {stored:?}, the cache says {cached:?}"),
    }
    // Every caller issues once at most, whatever becomes of it: the leader, and two of the callers that wait.
    let most = 1 + 3 + usize::from(matches!(case.key, Key::Cold | Key::Warm | Key::Expired));
    ensure!(history.len() <= most, "{} secrets were committed", history.len());
    if !matches!(case.key, Key::Absent | Key::Unknown) {
        let status = bench.cache.read(workspace).await?.status;
        ensure!(status == Status::Hit, "a read after a read is a {status:?}");
    }
    ensure!(bench.sessions_in("idle in transaction%").await? == 0, "a transaction was left open");
    Ok(())
}

/// Returns the number of polls after which the operation is dropped next: one more, but ever fewer moments
/// where it takes thousands of turns, and few where each takes a compilation.
fn next(polls: u32, operation: Operation, pace: Pace) -> u32 {
    match (pace, operation) {
        (Pace::Woken, _) => polls + 1,
        (Pace::Eager, Operation::Swap) => 16 * polls,
        (Pace::Eager, _) => polls + 1 + polls / Tier::current().pick(8, 128) as u32,
    }
}

/// Drops the operation after 1, 2, ... polls until it ends by itself, several times over. Returns how many
/// drops came before the end.
async fn sweep(
    bench: &TestBed,
    (operation, key, pace): (Operation, Key, Pace),
    number: &mut u32,
    dice: &mut Dice,
) -> Result<u32> {
    let mut cuts = 0;
    for repetition in 0..Tier::current().pick(2, 40) {
        let mut polls = 1;
        loop {
            *number += 1;
            let case = Case { operation, key, pace, joined: repetition % 2 == 1, polls };
            let stray = dice.below(2) * dice.below(40);
            let ended = cut(bench, &case, *number, stray).await;
            if ended.with_context(|| format!("{case:?}"))? {
                break;
            }
            cuts += 1;
            polls = next(polls, operation, pace);
        }
    }
    Ok(cuts)
}

async fn sweep_over(connections: u32, operations: &[(Operation, &[Key])]) -> Result<()> {
    let database = TestDatabase::create().await?;
    let bench = TestBed::new(database.options(), database.options(), Limits::patient(connections)).await?;
    bench.rows("n", 2).await?;
    // These are all the connections that there will be.
    let held: Vec<_> = (0..connections).map(|_| bench.pool.acquire()).collect();
    for connection in held {
        drop(connection.await?);
    }
    let (mut number, mut dice) = (0, Dice(connections.into()));
    let mut total = 0;
    for (operation, keys) in operations {
        for key in *keys {
            for pace in [Pace::Woken, Pace::Eager] {
                let sessions = bench.sessions().await?;
                let cuts = sweep(&bench, (*operation, *key, pace), &mut number, &mut dice).await?;
                let waits = !matches!((operation, key), (Operation::Rollback, _) | (_, Key::Warm));
                ensure!(cuts > 0 || !waits, "{operation:?} of a key that is {key:?} was never dropped");
                ensure!(
                    sessions == bench.sessions().await?,
                    "a caller that left has cost a connection: {operation:?} {key:?} {pace:?}"
                );
                total += cuts;
            }
        }
    }
    println!("{total} operations were dropped half-way over {connections} connections, of {number} begun");
    Ok(())
}

#[tokio::test]
async fn a_read_that_is_dropped_at_any_moment_harms_nobody() -> Result<()> {
    sweep_over(1, &[(Operation::Read, &KEYS), (Operation::Verify, &KEYS)]).await
}

#[tokio::test]
async fn an_issue_that_is_dropped_at_any_moment_harms_nobody() -> Result<()> {
    sweep_over(1, &[(Operation::Issue, &KEYS)]).await?;
    sweep_over(2, &[(Operation::Issue, &KEYS[..1])]).await
}

#[tokio::test]
async fn a_heal_that_is_dropped_at_any_moment_harms_nobody() -> Result<()> {
    sweep_over(2, &[(Operation::ReadOrIssue, &KEYS)]).await
}

#[tokio::test]
async fn a_swap_or_a_rollback_that_is_dropped_at_any_moment_harms_nobody() -> Result<()> {
    sweep_over(1, &[(Operation::Swap, &KEYS[..1]), (Operation::Rollback, &KEYS[..1])]).await
}
