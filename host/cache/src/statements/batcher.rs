//! SELECTs on their way to the database: several that wait travel as one statement.
//!
//! One that finds nothing under way is sent alone and at once. While a statement is under way the next ones wait for its
//! end, or until they are half a full one, and then go together, so a storm of misses costs the database a statement for each hundred of them and a solo miss
//! waits for nobody. Whoever has a statement under way looks after those who wait behind it: none of them needs a timer, and
//! a load no task. It knows no policy and no entry: whoever asks is told what the database said of his workspace, and when it
//! was asked.

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
    /// How many workspaces one statement asks for at most.
    batch_size: usize,
    /// How many statements are under way at once at most.
    max_statements: usize,
    queue: Mutex<Queue>,
}

/// How one gets to the database.
enum Dispatch<'a> {
    Alone(Solo),
    /// To be joined by whoever was told so.
    Queue(MutexGuard<'a, Queue>),
}

/// The right to send one statement, in the task of the load that it is for. Dropping it passes the place on to those who
/// wait.
struct Solo(Arc<Batcher>);

/// The right to send statements, one after the other.
struct Worker {
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

    /// The same for a load, which goes on with the answer in a task of the runtime.
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

    /// Either alone, or by a number and with somebody else's statement.
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

    /// How many are worth a statement beside another one: half a full one. While the one half is at the database, what the
    /// other half were told is worked on.
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

    /// Returns the number of the one that waits from now on.
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
        // Whoever makes so many whole begins a statement for them, and nobody between. And one that is to look after those who
        // wait may itself wait for a thread.
        let fill_batches = queue.pending.len().is_multiple_of(self.min_batch());
        if fill_batches || queue.pending.front().is_some_and(|first| first.has_no_patience(since)) {
            self.begin(queue);
        }
        number
    }

    /// Takes one back that nobody waits for any more. Returns whether it had not been sent.
    fn withdraw(&self, number: u64) -> bool {
        let mut queue = self.queue();
        let position = queue.position(number);
        position.is_ok_and(|position| queue.pending.remove(position).is_some())
    }

    /// Waits for a statement until a deadline, and looks after those behind it meanwhile.
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

    /// Sends those on their way whose patience is over, and turns those away whose time is up. Returns when to look again.
    fn look_after(self: &Arc<Self>) -> Deadline {
        let (now, mut late) = (Deadline::now(), Vec::new());
        let mut queue = self.queue();
        // A load behind the first one has come later, and may wait as long. A caller whose time is up withdraws by himself.
        while let Some(first) =
            queue.pending.pop_front_if(|first| first.deadline <= now || first.waiter.is_gone())
        {
            late.push(first);
        }
        let patience = queue.pending.front().map_or(now, |first| first.since) + LINGER;
        let look_again = if patience <= now {
            // Those behind the first one go along with it.
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

    /// Begins one more row of statements, if there may be one.
    fn begin(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.in_flight < self.max_statements {
            queue.in_flight += 1;
            drop(queue);
            self.runtime.spawn(Worker::of(self).send_all());
        }
    }

    /// Sends one statement, and tells everyone what it said of his workspace.
    async fn send(self: &Arc<Self>, batch: Vec<Pending>) {
        let now = Deadline::now();
        let (batch, late) = batch.into_iter().partition::<Vec<_>, _>(|one| one.deadline > now);
        self.reject(late);
        let (workspaces, mut listeners): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.workspace, Some((one.deadline, one.waiter)))).unzip();
        add(&self.counters.selects, workspaces.len() as u64);
        // Before the statement is sent: what it reads cannot be older than this.
        let at = self.clock.now();
        let mut statement = pin!(contained(self.ask(&workspaces)));
        let found = loop {
            // The next one to give up. Where nobody is left the statement is dropped, and its connection with it.
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

impl Solo {
    async fn send(self, workspace: &WorkspaceId, deadline: Deadline) -> Read {
        let batcher = &self.0;
        count(&batcher.counters.selects);
        // Before the statement is sent, and dropped past the deadline: as for a batch.
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
    /// One that has been counted.
    fn of(batcher: &Arc<Batcher>) -> Self {
        Self { batcher: Arc::clone(batcher), is_held: true, sent: None }
    }

    /// Sends statements until nobody waits, or others send them.
    async fn send_all(mut self) {
        while let Some(batch) = self.take() {
            self.batcher.send(batch).await;
            // Those who were answered may ask again before the next one goes, and travel along: their loads go on in the one
            // turn, and most of them in the other.
            yield_now().await;
            yield_now().await;
        }
    }

    /// The next of those that wait, as many as one statement asks for. Where there are none the place is given up, in the
    /// same critical section: whoever comes next finds it free. So it is where they are not worth a statement and a younger
    /// one is under way: when that ends they go with all who have come until then, unless their patience ends before.
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
            // The runtime is being shut down, and would take no other task: nobody is to wait for one.
            let mut queue = self.batcher.queue();
            self.ends_its_statement(&mut queue);
            queue.in_flight -= 1;
            let pending = std::mem::take(&mut queue.pending);
            // Whoever is told by being dropped is told outside the lock.
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
