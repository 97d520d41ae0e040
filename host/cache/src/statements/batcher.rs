//! The batcher of SELECTs: several that wait for the database travel as one statement.
//!
//! A SELECT that finds nothing in flight is sent alone and at once. While a statement is in flight the next
//! SELECTs wait for its end, or until they are half a full batch, and then go together, so a storm of misses
//! costs the database a statement for each hundred of them and a solo miss waits for no other. The task that
//! has a statement in flight looks after the SELECTs that wait behind it: none of them needs a timer, and a
//! load needs no task. The batcher knows no policy and no entry: a waiter is given what the database said of
//! its workspace, and when the database was asked.

mod queue;
mod waiter;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant as Deadline, timeout_at};

use self::queue::{LINGER, Pending, Queue};
use self::waiter::{BatchWaiter, notify_all};
use super::contained::{Panicked, contained};
use super::obtained::{Read, obtained};
use crate::stats::{Counters, add, count};
use crate::{Clock, Database, DatabaseError, Secret, WorkspaceId};

/// The SELECTs of one cache.
pub(crate) struct Batcher {
    database: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    counters: Arc<Counters>,
    /// Maximum of workspaces in one statement.
    batch_size: usize,
    /// Maximum of statements in flight.
    max_statements: usize,
    queue: Mutex<Queue>,
}

/// The path of a SELECT to the database.
enum Dispatch<'a> {
    Alone(Solo),
    /// The locked queue, for the SELECT to join.
    Queue(MutexGuard<'a, Queue>),
}

/// The right to send one statement, in the task of the load that it is for. Dropping it passes the right on
/// to the pending SELECTs.
struct Solo(Arc<Batcher>);

/// The right to send statements, one after the other.
struct Worker {
    batcher: Arc<Batcher>,
    is_held: bool,
    /// The number of the last batch that it has sent, if it has sent any.
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

    /// Reads one workspace, alone or along with others. The error is `Overloaded` where the SELECT had not
    /// been sent by the deadline.
    pub(crate) async fn select(self: &Arc<Self>, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        let (number, answered) = match self.enter_for_caller(workspace, deadline) {
            Ok(solo) => return solo.send(workspace, deadline).await,
            Err(queued) => queued,
        };
        match timeout_at(deadline, answered).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(ended_early()),
            Err(_) if self.withdraw(number) => Err(self.not_sent()),
            Err(_) => Err(DatabaseError::Timeout),
        }
    }

    /// Does the same for a load, which goes on with the answer in a task of the runtime.
    pub(crate) fn select_for<F>(
        self: &Arc<Self>,
        workspace: WorkspaceId,
        deadline: Deadline,
        load: impl FnOnce(Read) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.dispatch() {
            Dispatch::Alone(solo) => {
                self.runtime.spawn(async move { load(solo.send(&workspace, deadline).await).await });
            }
            Dispatch::Queue(queue) => {
                self.join(queue, workspace, deadline, BatchWaiter::load(load));
            }
        }
    }

    /// Returns the right to send alone, or the number in the queue and the answer to wait for.
    fn enter_for_caller(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        deadline: Deadline,
    ) -> Result<Solo, (u64, oneshot::Receiver<Read>)> {
        match self.dispatch() {
            Dispatch::Alone(solo) => Ok(solo),
            Dispatch::Queue(queue) => {
                let (caller, answered) = oneshot::channel();
                Err((self.join(queue, workspace.clone(), deadline, BatchWaiter::Caller(caller)), answered))
            }
        }
    }

    /// Minimum batch to send while another statement is in flight: half of `batch_size`. While one half is at
    /// the database, the answers of the other half are worked on.
    fn min_batch(&self) -> usize {
        self.batch_size.div_ceil(2).max(2).min(self.batch_size)
    }

    fn dispatch(self: &Arc<Self>) -> Dispatch<'_> {
        let mut queue = self.queue();
        let goes_alone = queue.in_flight == 0 || self.batch_size == 1;
        if goes_alone && queue.pending.is_empty() && queue.in_flight < self.max_statements {
            queue.in_flight += 1;
            return Dispatch::Alone(Solo(Arc::clone(self)));
        }
        Dispatch::Queue(queue)
    }

    /// Joins the queue. Returns the number of the SELECT, which waits from now on.
    fn join(
        self: &Arc<Self>,
        mut queue: MutexGuard<'_, Queue>,
        workspace: WorkspaceId,
        deadline: Deadline,
        waiter: BatchWaiter,
    ) -> u64 {
        let (number, since) = (queue.count, Deadline::now());
        queue.count += 1;
        queue.pending.push_back(Pending { number, workspace, since, deadline, waiter });
        // Only the SELECT that fills up a minimum batch starts a worker for it, and none in between does. A
        // linger that is over is noticed here as well: the task that looks after the queue may itself wait
        // for a thread.
        let fill_batches = queue.pending.len().is_multiple_of(self.min_batch());
        if fill_batches || queue.pending.front().is_some_and(|first| first.has_no_patience(since)) {
            self.begin(queue);
        }
        number
    }

    /// Takes a SELECT back that no caller waits for any more. Returns whether it had not been sent.
    fn withdraw(&self, number: u64) -> bool {
        let mut queue = self.queue();
        let position = queue.position(number);
        position.is_ok_and(|position| queue.pending.remove(position).is_some())
    }

    /// Waits for a statement until a deadline, and meanwhile looks after the SELECTs behind it.
    async fn wait_for<T>(
        self: &Arc<Self>,
        mut statement: Pin<&mut impl Future<Output = T>>,
        deadline: Deadline,
    ) -> Option<T> {
        loop {
            let look_again = self.look_after().min(deadline);
            match timeout_at(look_again, statement.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_) if look_again == deadline => return None,
                Err(_) => {}
            }
        }
    }

    /// Sends the SELECTs whose linger is over, and rejects those whose deadline has passed. Returns when to
    /// look again.
    fn look_after(self: &Arc<Self>) -> Deadline {
        let (now, mut late) = (Deadline::now(), Vec::new());
        let mut queue = self.queue();
        // A load behind the first one has come later, and may wait as long. A caller whose deadline has
        // passed withdraws by itself.
        while let Some(first) =
            queue.pending.pop_front_if(|first| first.deadline <= now || first.waiter.is_gone())
        {
            late.push(first);
        }
        let patience = queue.pending.front().map_or(now, |first| first.since) + LINGER;
        let look_again = if patience <= now {
            // The SELECTs behind the first one go along with it.
            self.begin(queue);
            now + LINGER
        } else {
            drop(queue);
            patience
        };
        self.reject(late);
        look_again
    }

    fn reject(&self, late: Vec<Pending>) {
        let late = late.into_iter().filter(|one| !one.waiter.is_gone());
        notify_all(&self.runtime, late.map(|one| (one.waiter, Err(self.not_sent()))));
    }

    /// Starts one more worker, if there may be one.
    fn begin(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.in_flight < self.max_statements {
            queue.in_flight += 1;
            drop(queue);
            self.runtime.spawn(Worker::of(self).send_all());
        }
    }

    /// Sends one statement, and notifies each waiter of what it said of its workspace.
    async fn send(self: &Arc<Self>, batch: Vec<Pending>) {
        let now = Deadline::now();
        let (batch, late) = batch.into_iter().partition::<Vec<_>, _>(|one| one.deadline > now);
        self.reject(late);
        let (workspaces, mut listeners): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.workspace, Some((one.deadline, one.waiter)))).unzip();
        add(&self.counters.selects, workspaces.len() as u64);
        // This is before the statement is sent: what it reads cannot be older.
        let at = self.clock.now();
        let mut statement = pin!(contained(self.ask(&workspaces)));
        let found = loop {
            // The next waiter to give up. Where no waiter is left the statement is dropped, and its
            // connection with it.
            let Some(deadline) = listeners.iter().flatten().map(|(deadline, _)| *deadline).min() else {
                return;
            };
            if let Some(found) = self.wait_for(statement.as_mut(), deadline).await {
                break found;
            }
            let now = Deadline::now().max(deadline);
            let late = listeners.iter_mut().filter_map(|one| one.take_if(|(until, _)| *until <= now));
            notify_all(&self.runtime, late.map(|(_, waiter)| (waiter, Err(DatabaseError::Timeout))));
        };
        let found = match found {
            Ok(found) if found.len() == workspaces.len() => found,
            Ok(_) => {
                let error = DatabaseError::Broken("it did not answer for each workspace of a batch".into());
                vec![Err(error); workspaces.len()]
            }
            Err(Panicked) => vec![Err(DatabaseError::panicked()); workspaces.len()],
        };
        let answers = listeners
            .into_iter()
            .zip(found)
            .filter_map(|(waiter, found)| waiter.map(|(_, waiter)| (waiter, obtained(found, at))));
        notify_all(&self.runtime, answers);
    }

    async fn ask(&self, workspaces: &[WorkspaceId]) -> Vec<Result<Option<Secret>, DatabaseError>> {
        match workspaces {
            [one] => vec![self.database.select(one).await],
            several => self.database.select_batch(several).await,
        }
    }

    /// Counts a SELECT whose deadline passed before its turn came.
    fn not_sent(&self) -> DatabaseError {
        count(&self.counters.overloaded);
        DatabaseError::Overloaded
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that may panic is done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Solo {
    async fn send(self, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        let batcher = &self.0;
        count(&batcher.counters.selects);
        // As for a batch, this is before the statement is sent, and the statement is dropped past the
        // deadline.
        let at = batcher.clock.now();
        // In a block of its own, so that a panic before the first await is contained as well.
        let select = pin!(contained(async { batcher.database.select(workspace).await }));
        match batcher.wait_for(select, deadline).await {
            Some(Ok(found)) => obtained(found, at),
            Some(Err(Panicked)) => Err(DatabaseError::panicked()),
            None => Err(DatabaseError::Timeout),
        }
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        if queue.pending.is_empty() {
            queue.in_flight -= 1;
        } else {
            drop(queue);
            self.0.runtime.spawn(Worker::of(&self.0).send_all());
        }
    }
}

impl Worker {
    /// Makes a worker that has been counted already.
    fn of(batcher: &Arc<Batcher>) -> Self {
        Self { batcher: Arc::clone(batcher), is_held: true, sent: None }
    }

    /// Sends statements until no SELECT waits, or other workers send them.
    async fn send_all(mut self) {
        while let Some(batch) = self.take() {
            self.batcher.send(batch).await;
            // Callers that were answered may ask again before the next batch goes, and travel along: their
            // loads go on in the first of these turns, and most of the callers in the second.
            yield_now().await;
            yield_now().await;
        }
    }

    /// Takes the next batch: as many pending SELECTs as one statement asks for. Where there are none the
    /// worker gives up its place, in the same critical section: the next SELECT finds it free. It also gives
    /// up where the pending SELECTs are too few for a batch and a newer statement is in flight: when that
    /// ends they go with all that have come until then, unless their linger ends before.
    fn take(&mut self) -> Option<Vec<Pending>> {
        let mut queue = self.batcher.queue();
        self.ends_its_statement(&mut queue);
        let are_few = queue.pending.len() < self.batcher.min_batch();
        let are_patient = !queue.pending.front().is_some_and(|first| first.has_no_patience(Deadline::now()));
        if queue.pending.is_empty() || (are_few && are_patient && queue.newest.is_some()) {
            queue.in_flight -= 1;
            self.is_held = false;
            return None;
        }
        queue.sent += 1;
        (self.sent, queue.newest) = (Some(queue.sent), Some(queue.sent));
        let count = queue.pending.len().min(self.batcher.batch_size);
        Some(queue.pending.drain(..count).collect())
    }

    fn ends_its_statement(&self, queue: &mut Queue) {
        if queue.newest == self.sent {
            queue.newest = None;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_held {
            // The runtime is being shut down, and would take no other task: no SELECT is to wait for one.
            let mut queue = self.batcher.queue();
            self.ends_its_statement(&mut queue);
            queue.in_flight -= 1;
            let pending = std::mem::take(&mut queue.pending);
            // A waiter that is notified by being dropped is notified outside the lock.
            drop(queue);
            drop(pending);
        }
    }
}

fn ended_early() -> DatabaseError {
    DatabaseError::Unavailable("the task of a SELECT ended early".into())
}

#[cfg(test)]
mod tests;
