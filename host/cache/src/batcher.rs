//! SELECTs on their way to the database: several that wait travel as one statement.
//!
//! One that finds nothing under way is sent alone and at once. While a statement is under way the next ones wait for its
//! end and then go together, so a storm of misses costs the database a statement for each hundred of them and a lone miss
//! waits for nobody. It knows no policy and no entry: whoever asks is told what the database said of his workspace, and
//! when it was asked.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant as Deadline, timeout_at};

use crate::source::{Obtained, Read};
use crate::stats::{Counters, add, count};
use crate::{Clock, Database, DatabaseError, Secret, WorkspaceId};

/// How long one waits for the statement before it until one more begins beside that: much longer than one takes that nothing is
/// wrong with, and a hundredth of what a load may wait by default.
const PATIENCE: Duration = Duration::from_millis(10);

/// The SELECTs of one cache.
pub(crate) struct Batcher {
    database: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    counters: Arc<Counters>,
    /// How many workspaces one statement asks for at most.
    batch_size: usize,
    /// How many statements are under way at once at most.
    max_statements: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Statements. Who sends one sends the next one when it has ended, sees to it that it is sent, or leaves it to a younger
    /// one.
    under_way: usize,
    /// How many have waited so far: the number of the next one.
    count: u64,
    /// How many times those who wait have been sent on their way.
    sent: u64,
    /// The last one of those statements, while it is under way.
    youngest: Option<u64>,
}

struct Waiting {
    number: u64,
    workspace: WorkspaceId,
    since: Deadline,
    /// When nobody waits for it any more.
    deadline: Deadline,
    answer: oneshot::Sender<Read>,
}

/// How one gets to the database.
enum Way {
    Alone(Lone),
    /// By its number.
    Queued(u64, oneshot::Receiver<Read>),
}

/// The right to send one statement, in the task of the load that it is for. Dropping it passes the place on to those who
/// wait.
struct Lone(Arc<Batcher>);

/// The right to send statements, one after the other.
struct Place {
    batcher: Arc<Batcher>,
    is_held: bool,
    /// The number of the last one that it has sent, if it has.
    sent: Option<u64>,
}

impl Batcher {
    pub(crate) fn new(
        database: Arc<dyn Database>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        runtime: Handle,
        max_statements: usize,
    ) -> Arc<Self> {
        let batch_size = database.batch_size().max(1);
        let queue = Mutex::default();
        Arc::new(Self { database, clock, runtime, counters, batch_size, max_statements, queue })
    }

    /// Reads one workspace, alone or along with others. `Overloaded` where it had not been sent by the deadline.
    pub(crate) async fn select(self: &Arc<Self>, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        match self.enter(workspace, deadline) {
            Way::Alone(lone) => lone.send(workspace, deadline).await,
            Way::Queued(number, answered) => self.wait(number, answered, deadline).await,
        }
    }

    fn enter(self: &Arc<Self>, workspace: &WorkspaceId, deadline: Deadline) -> Way {
        let mut queue = self.queue();
        let goes_alone = queue.under_way == 0 || self.batch_size == 1;
        if goes_alone && queue.waiting.is_empty() && queue.under_way < self.max_statements {
            queue.under_way += 1;
            return Way::Alone(Lone(Arc::clone(self)));
        }
        let (number, (answer, answered)) = (queue.count, oneshot::channel());
        queue.count += 1;
        let (workspace, since) = (workspace.clone(), Deadline::now());
        queue.waiting.push_back(Waiting { number, workspace, since, deadline, answer });
        if queue.waiting.len() >= self.batch_size {
            self.begin(queue);
        }
        Way::Queued(number, answered)
    }

    /// Waits for the answer of a statement that others send. Where that takes long one more is begun beside it.
    async fn wait(
        self: &Arc<Self>,
        number: u64,
        mut answered: oneshot::Receiver<Read>,
        deadline: Deadline,
    ) -> Read {
        let mut patience = PATIENCE;
        let mut look_again = deadline.min(Deadline::now() + patience);
        loop {
            match timeout_at(look_again, &mut answered).await {
                Ok(Ok(read)) => return read,
                Ok(Err(_)) => return Err(ended_early()),
                Err(_) if look_again < deadline => {
                    // Where no more may be begun, to ask for it again and again is of no use.
                    patience *= 2;
                    let again = if self.hurry(number) { deadline } else { Deadline::now() + patience };
                    look_again = deadline.min(again);
                }
                Err(_) if self.withdraw(number) => return Err(self.not_sent()),
                Err(_) => return Err(DatabaseError::Timeout),
            }
        }
    }

    /// Sees to it that one which has waited for long is sent. Returns whether it has been.
    fn hurry(self: &Arc<Self>, number: u64) -> bool {
        let mut queue = self.queue();
        if queue.position(number).is_err() {
            return true;
        }
        // Those whose load has ended without them.
        while queue.waiting.front().is_some_and(|first| first.answer.is_closed()) {
            queue.waiting.pop_front();
        }
        // Those behind the first one go along with it.
        if queue.waiting.front().is_some_and(|first| first.number == number) {
            self.begin(queue);
        }
        false
    }

    /// Takes one back that nobody waits for any more. Returns whether it had not been sent.
    fn withdraw(&self, number: u64) -> bool {
        let mut queue = self.queue();
        let position = queue.position(number);
        position.is_ok_and(|position| queue.waiting.remove(position).is_some())
    }

    /// Begins one more row of statements, if there may be one.
    fn begin(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.under_way < self.max_statements {
            queue.under_way += 1;
            drop(queue);
            self.runtime.spawn(Place::of(self).send_all());
        }
    }

    /// Sends one statement, and tells everyone what it said of his workspace.
    async fn send(self: &Arc<Self>, batch: Vec<Waiting>) {
        let (batch, expired) = batch.into_iter().partition::<Vec<_>, _>(|one| one.deadline > Deadline::now());
        for waiting in expired {
            // Nobody may be waiting any more; here as below.
            let _ = waiting.answer.send(Err(self.not_sent()));
        }
        let (workspaces, callers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.workspace, (one.deadline, one.answer))).unzip();
        // The last to give up. The others are told by their own deadlines.
        let Some(deadline) = callers.iter().map(|(deadline, _)| *deadline).max() else { return };
        add(&self.counters.selects, workspaces.len() as u64);
        // Before the statement is sent: what it reads cannot be older than this.
        let at = self.clock.now();
        // Past the deadline the statement is dropped, and its connection with it.
        let found = match timeout_at(deadline, contained(self.ask(&workspaces))).await {
            Ok(Ok(found)) if found.len() == workspaces.len() => found,
            Ok(Ok(_)) => {
                let error =
                    DatabaseError::Unavailable("the database did not answer for each workspace".into());
                vec![Err(error); workspaces.len()]
            }
            Ok(Err(Panicked)) => vec![Err(ended_early()); workspaces.len()],
            Err(_elapsed) => vec![Err(DatabaseError::Timeout); workspaces.len()],
        };
        for ((_, answer), found) in callers.into_iter().zip(found) {
            let _ = answer.send(found.map(|value| Obtained { value, at }));
        }
    }

    async fn ask(&self, workspaces: &[WorkspaceId]) -> Vec<Result<Option<Secret>, DatabaseError>> {
        match workspaces {
            [one] => vec![self.database.select(one).await],
            several => self.database.select_batch(several).await,
        }
    }

    /// Counts one whose time was up before its turn came.
    fn not_sent(&self) -> DatabaseError {
        count(&self.counters.overloaded);
        DatabaseError::Overloaded
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that may panic is done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Where one waits. Numbers rise from the front to the back.
    fn position(&self, number: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&number, |waiting| waiting.number)
    }
}

impl Lone {
    async fn send(self, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        let batcher = &*self.0;
        count(&batcher.counters.selects);
        // Before the statement is sent, and dropped past the deadline: as for a batch.
        let at = batcher.clock.now();
        // In a block of its own, so that a panic before the first await is contained as well.
        let select = async { batcher.database.select(workspace).await };
        match timeout_at(deadline, contained(select)).await {
            Ok(Ok(found)) => found.map(|value| Obtained { value, at }),
            Ok(Err(Panicked)) => Err(ended_early()),
            Err(_elapsed) => Err(DatabaseError::Timeout),
        }
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        if queue.waiting.is_empty() {
            queue.under_way -= 1;
        } else {
            drop(queue);
            self.0.runtime.spawn(Place::of(&self.0).send_all());
        }
    }
}

impl Place {
    /// One that has been counted.
    fn of(batcher: &Arc<Batcher>) -> Self {
        Self { batcher: Arc::clone(batcher), is_held: true, sent: None }
    }

    /// Sends statements until nobody waits, or others send them.
    async fn send_all(mut self) {
        while let Some(batch) = self.take() {
            self.batcher.send(batch).await;
            // Those who were answered may ask again before the next one goes, and travel along.
            yield_now().await;
        }
    }

    /// The next of those that wait, as many as one statement asks for. Where there are none the place is given up, in the
    /// same critical section: whoever comes next finds it free. So it is where they would not fill a statement and a younger
    /// one is under way: when that ends they go with all who have come until then, unless their patience ends before.
    fn take(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.batcher.queue();
        self.ends_its_statement(&mut queue);
        let are_few = queue.waiting.len() < self.batcher.batch_size;
        let are_patient = queue.waiting.front().is_none_or(|first| first.since.elapsed() < PATIENCE);
        let is_outrun = self.sent.is_some() && queue.youngest.is_some();
        if queue.waiting.is_empty() || (are_few && are_patient && is_outrun) {
            queue.under_way -= 1;
            self.is_held = false;
            return None;
        }
        queue.sent += 1;
        (self.sent, queue.youngest) = (Some(queue.sent), Some(queue.sent));
        let count = queue.waiting.len().min(self.batcher.batch_size);
        Some(queue.waiting.drain(..count).collect())
    }

    fn ends_its_statement(&self, queue: &mut Queue) {
        if queue.youngest == self.sent {
            queue.youngest = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_held {
            // The runtime is being shut down, and would take no other task: nobody is to wait for one.
            let mut queue = self.batcher.queue();
            self.ends_its_statement(&mut queue);
            queue.under_way -= 1;
            queue.waiting.clear();
        }
    }
}

fn ended_early() -> DatabaseError {
    DatabaseError::Unavailable("the task of a SELECT ended early".into())
}

/// A statement ended in a panic.
struct Panicked;

/// Keeps a panic to the statement that it befell: others wait for the task that sent it.
async fn contained<T>(statement: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut statement = pin!(statement);
    poll_fn(|context| {
        // It is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| statement.as_mut().poll(context))) {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests;
