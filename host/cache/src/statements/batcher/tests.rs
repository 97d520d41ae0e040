use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::{Answer, Answers, IssueMode, ManualClock};

/// The statements that a database answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TestGate {
    Closed,
    /// The gate is open for one statement, by its place in their order.
    OpenFor(usize),
    Open,
}

/// A database that waits at a gate, and whose secrets are the ids.
struct Gated {
    gate: watch::Sender<TestGate>,
    /// The workspaces of each statement, in the order in which they were sent.
    statements: Mutex<Vec<Vec<String>>>,
    in_flight: AtomicUsize,
    peak: AtomicUsize,
    panics: AtomicU64,
    batch_size: usize,
}

struct UnderWay<'a>(&'a Gated);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gated {
    fn new(batch_size: usize, open: bool) -> Arc<Self> {
        Arc::new(Self {
            gate: watch::channel(if open { TestGate::Open } else { TestGate::Closed }).0,
            statements: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            panics: AtomicU64::new(0),
            batch_size,
        })
    }

    async fn carry_out(&self, workspaces: &[WorkspaceId]) {
        let number = {
            let mut statements = self.statements.lock().unwrap();
            statements.push(workspaces.iter().map(ToString::to_string).collect());
            statements.len() - 1
        };
        self.peak.fetch_max(self.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _under_way = UnderWay(self);
        let answers = |gate: &TestGate| [TestGate::Open, TestGate::OpenFor(number)].contains(gate);
        self.gate.subscribe().wait_for(answers).await.unwrap();
        if self.panics.load(Ordering::SeqCst) > 0 {
            self.panics.fetch_sub(1, Ordering::SeqCst);
            panic!("as the test wants");
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.statements.lock().unwrap().iter().map(Vec::len).collect()
    }
}

impl Database for Gated {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            self.carry_out(std::slice::from_ref(workspace)).await;
            Ok(Some(Secret::new(workspace.as_str())))
        })
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        Box::pin(async move {
            self.carry_out(workspaces).await;
            let answer = |workspace: &WorkspaceId| match workspace.as_str() {
                "absent" => Ok(None),
                "damaged" => Err(DatabaseError::Unavailable("damaged".into())),
                id => Ok(Some(Secret::new(id))),
            };
            workspaces.iter().map(answer).collect()
        })
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn issue<'a>(
        &'a self,
        _: &'a WorkspaceId,
        _: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async { Ok(minted) })
    }

    fn statements(&self) -> u64 {
        0
    }
}

fn batcher(database: &Arc<Gated>, clock: &Arc<ManualClock>, max_statements: usize) -> Arc<Batcher> {
    let database: Arc<dyn Database> = database.clone();
    Batcher::new(database, clock.clone(), Arc::default(), Handle::current(), max_statements)
}

fn in_a_second() -> Deadline {
    Deadline::now() + Duration::from_secs(1)
}

fn ask(batcher: &Arc<Batcher>, id: &str, deadline: Deadline) -> JoinHandle<Read> {
    let (batcher, id) = (Arc::clone(batcher), WorkspaceId::new(id).unwrap());
    tokio::spawn(async move { batcher.select(&id, deadline).await })
}

/// Asks for one workspace and, once that SELECT is in flight, for the rest of `count`; each gets as far as it
/// can without time passing.
async fn ask_all(batcher: &Arc<Batcher>, count: usize) -> Vec<JoinHandle<Read>> {
    let mut asked = vec![ask(batcher, "w0", in_a_second())];
    settle().await;
    asked.extend((1..count).map(|id| ask(batcher, &format!("w{id}"), in_a_second())));
    settle().await;
    asked
}

/// Makes three statements in flight and one SELECT that waits, where two SELECTs are the minimum batch.
async fn three_statements_and_one_that_waits(batcher: &Arc<Batcher>) -> Vec<JoinHandle<Read>> {
    let mut asked = ask_all(batcher, 1).await;
    asked.extend(ask_all(batcher, 2).await);
    asked.extend(ask_all(batcher, 2).await);
    asked.extend(ask_all(batcher, 1).await);
    asked
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn text(asked: JoinHandle<Read>) -> Result<Option<String>, DatabaseError> {
    let secret = asked.await.unwrap().map(|obtained| obtained.value);
    secret.map(|secret| secret.map(|secret| secret.expose_str().unwrap().to_owned()))
}

#[tokio::test(start_paused = true)]
async fn what_waits_while_a_statement_is_under_way_travels_together() {
    let (database, clock) = (Gated::new(16, false), Arc::default());
    let batcher = batcher(&database, &clock, 4);
    let asked = ask_all(&batcher, 6).await;
    assert_eq!(database.sizes(), [1], "the first one alone and at once, the others behind it");
    database.gate.send_replace(TestGate::Open);
    for (id, asked) in asked.into_iter().enumerate() {
        assert_eq!(text(asked).await, Ok(Some(format!("w{id}"))), "each has its own answer");
    }
    assert_eq!(database.sizes(), [1, 5]);
    assert_eq!(text(ask(&batcher, "later", in_a_second())).await, Ok(Some("later".to_owned())));
    assert_eq!(database.sizes(), [1, 5, 1], "and the next one is alone again");
}

#[tokio::test(start_paused = true)]
async fn absence_and_an_error_are_told_to_whom_they_concern() {
    let (database, clock) = (Gated::new(8, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let asked = ["w", "absent", "damaged", "x"].map(|id| ask(&batcher, id, in_a_second()));
    settle().await;
    database.gate.send_replace(TestGate::Open);
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(text(asked).await);
    }
    let damaged = Err(DatabaseError::Unavailable("damaged".into()));
    assert_eq!(answers, [Ok(Some("w".to_owned())), Ok(None), damaged, Ok(Some("x".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn half_a_batch_does_not_wait_and_there_are_never_more_statements_than_allowed() {
    let (database, clock) = (Gated::new(4, false), Arc::default());
    let batcher = batcher(&database, &clock, 3);
    let asked = ask_all(&batcher, 30).await;
    assert_eq!(database.sizes(), [1, 4, 4]);
    database.gate.send_replace(TestGate::Open);
    for asked in asked {
        assert!(text(asked).await.is_ok());
    }
    assert_eq!(database.peak.load(Ordering::SeqCst), 3);
    assert_eq!(database.sizes().iter().sum::<usize>(), 30, "each is asked for once");
}

#[tokio::test(start_paused = true)]
async fn a_slow_statement_holds_nobody_up_for_longer_than_their_patience() {
    let (database, clock) = (Gated::new(8, false), Arc::default());
    let batcher = batcher(&database, &clock, 2);
    let asked = ask_all(&batcher, 4).await;
    sleep(LINGER - Duration::from_millis(1)).await;
    assert_eq!(database.sizes(), [1]);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(database.sizes(), [1, 3]);
    database.gate.send_replace(TestGate::Open);
    for asked in asked {
        assert!(text(asked).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_are_not_worth_a_statement_go_with_the_one_that_was_sent_last() {
    let (database, clock) = (Gated::new(4, false), Arc::default());
    let batcher = batcher(&database, &clock, 3);
    let asked = three_statements_and_one_that_waits(&batcher).await;
    assert_eq!(database.sizes(), [1, 2, 2]);
    database.gate.send_replace(TestGate::OpenFor(1));
    settle().await;
    assert_eq!(
        database.sizes(),
        [1, 2, 2],
        "the one that is left waits for the statement that was sent last"
    );
    database.gate.send_replace(TestGate::OpenFor(2));
    settle().await;
    assert_eq!(database.sizes(), [1, 2, 2, 1], "and not for the first one, which hangs");
    database.gate.send_replace(TestGate::Open);
    for asked in asked {
        assert!(text(asked).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_without_patience_is_left_to_nobody_else() {
    let (database, clock) = (Gated::new(4, false), Arc::default());
    let batcher = batcher(&database, &clock, 3);
    let asked = three_statements_and_one_that_waits(&batcher).await;
    sleep(LINGER + Duration::from_millis(1)).await;
    assert_eq!(database.sizes(), [1, 2, 2], "no more may be begun");
    database.gate.send_replace(TestGate::OpenFor(1));
    settle().await;
    assert_eq!(database.sizes(), [1, 2, 2, 1], "the one that was sent last may hang");
    database.gate.send_replace(TestGate::Open);
    for asked in asked {
        assert!(text(asked).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_sent_is_late_and_one_that_was_not_is_rejected() {
    let (database, clock) = (Gated::new(1, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let mut asked = ask_all(&batcher, 3).await;
    assert_eq!(text(asked.remove(0)).await, Err(DatabaseError::Timeout));
    for asked in asked {
        assert_eq!(text(asked).await, Err(DatabaseError::Overloaded));
    }
    settle().await;
    assert_eq!(database.sizes(), [1], "nobody would wait for the others");
    let counted = [&batcher.counters.selects, &batcher.counters.overloaded];
    assert_eq!(counted.map(|counter| counter.load(Ordering::SeqCst)), [1, 2]);
    assert_eq!(database.in_flight.load(Ordering::SeqCst), 0, "what nobody waits for is dropped");
    database.gate.send_replace(TestGate::Open);
    assert!(text(ask(&batcher, "later", in_a_second())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_statement_goes_on_for_the_last_of_those_who_wait_for_it() {
    let (database, clock) = (Gated::new(8, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let first = ask(&batcher, "first", Deadline::now() + Duration::from_millis(100));
    settle().await;
    let [hasty, patient] =
        [200, 900].map(|ms| ask(&batcher, "w", Deadline::now() + Duration::from_millis(ms)));
    settle().await;
    assert_eq!(text(first).await, Err(DatabaseError::Timeout));
    assert_eq!(text(hasty).await, Err(DatabaseError::Timeout));
    database.gate.send_replace(TestGate::Open);
    assert_eq!(text(patient).await, Ok(Some("w".to_owned())));
    assert_eq!(database.sizes(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_dropped_passes_its_place_on() {
    let (database, clock) = (Gated::new(8, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let mut asked = ask_all(&batcher, 3).await;
    asked.remove(0).abort();
    settle().await;
    assert_eq!(database.sizes(), [1, 2]);
    database.gate.send_replace(TestGate::Open);
    for asked in asked {
        assert!(text(asked).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_panics_fails_its_own_statement_only() {
    let (database, clock) = (Gated::new(2, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let mut asked = ask_all(&batcher, 3).await;
    database.panics.store(1, Ordering::SeqCst);
    database.gate.send_replace(TestGate::Open);
    assert!(matches!(text(asked.remove(0)).await, Err(DatabaseError::Broken(_))));
    for asked in asked {
        assert!(text(asked).await.is_ok());
    }
    assert_eq!(database.sizes(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_value_is_as_old_as_its_statement_and_not_as_its_question() {
    let (database, clock) = (Gated::new(8, false), Arc::<ManualClock>::default());
    let batcher = batcher(&database, &clock, 1);
    let before = clock.now();
    let mut asked = ask_all(&batcher, 2).await;
    clock.advance(Duration::from_secs(7));
    database.gate.send_replace(TestGate::Open);
    let second = asked.remove(1).await.unwrap().unwrap();
    let first = asked.remove(0).await.unwrap().unwrap();
    assert_eq!(first.at, before);
    assert_eq!(second.at, before.saturating_add(Duration::from_secs(7)));
}

#[test]
fn a_runtime_that_is_shut_down_leaves_nobody_waiting() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, other) = (runtime(), runtime());
    let (database, clock) = (Gated::new(1, false), Arc::default());
    let batcher = home.block_on(async { batcher(&database, &clock, 1) });
    let first = {
        let _home = home.enter();
        ask(&batcher, "first", in_a_second())
    };
    home.block_on(settle());
    let asked = other.block_on(async { ["w", "x"].map(|id| ask(&batcher, id, in_a_second())) });
    let load = {
        let _other = other.enter();
        let (tx, rx) = oneshot::channel::<()>();
        batcher.select_for(WorkspaceId::new("y").unwrap(), in_a_second(), async |_| drop(tx));
        rx
    };
    other.block_on(settle());
    drop(home);
    assert!(other.block_on(load).is_err(), "it was dropped");
    assert!(other.block_on(first).is_err(), "it ended with its runtime");
    for asked in asked {
        let answer = other.block_on(text(asked));
        assert!(matches!(answer, Err(DatabaseError::Unavailable(_))), "{answer:?}");
    }
}

mod loads;
