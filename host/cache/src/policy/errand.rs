//! What a call waits for outside the policy: run by the task that makes the call, and not on the policy's stack.
//!
//! A stack of a policy is small, its processor time is limited and it may have been moved to a slow thread, so nothing of a
//! driver runs there. A task of its own would wake another worker for each statement. It knows nothing of statements.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::oneshot;

type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Those of one call, which has one at a time.
#[derive(Clone, Default)]
pub(crate) struct Errands(Arc<Mutex<Desk>>);

#[derive(Default)]
struct Desk {
    /// The task that makes the call has gone.
    is_closed: bool,
    handed_in: Option<Errand>,
    /// Of the task that makes the call, where it waits.
    waits: Option<Waker>,
}

impl Errands {
    /// Has an errand run by the task that makes the call. It is given where to tell what it came to; nobody hears of it
    /// where that task has gone.
    pub(super) fn send<T, E>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> E) -> oneshot::Receiver<T>
    where
        E: Future<Output = ()> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        if let Some(task) = self.hand_in(Box::pin(errand(tell))) {
            task.wake();
        }
        told
    }

    /// Runs a call, and what it hands in. An errand that is still under way when the call ends is dropped.
    pub(super) async fn run_beside<T>(&self, mut call: Pin<&mut impl Future<Output = T>>) -> T {
        let _open = Open(self);
        let mut errand: Option<Errand> = None;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(returned) = call.as_mut().poll(context) {
                    return Poll::Ready(returned);
                }
                if errand.is_none() {
                    let mut desk = self.desk();
                    errand = desk.handed_in.take();
                    desk.waits = errand.is_none().then(|| context.waker().clone());
                }
                match errand.as_mut().map(|errand| errand.as_mut().poll(context)) {
                    Some(Poll::Ready(())) => errand = None,
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Returns the task that is to be told of it.
    fn hand_in(&self, errand: Errand) -> Option<Waker> {
        let mut desk = self.desk();
        if desk.is_closed {
            drop(desk);
            // And with it the way to tell what it came to.
            drop(errand);
            return None;
        }
        desk.handed_in = Some(errand);
        desk.waits.take()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing that may panic is done under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The desk of a task that makes a call.
struct Open<'a>(&'a Errands);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let left = {
            let mut desk = self.0.desk();
            desk.is_closed = true;
            (desk.handed_in.take(), desk.waits.take())
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn an_errand_runs_in_the_task_of_the_call() {
        let errands = Errands::default();
        let sent = errands.clone();
        let call = async move { sent.send(async |tell| tell.send(tokio::task::id()).unwrap()).await };
        let task = tokio::spawn(async move { (tokio::task::id(), errands.run_beside(pin!(call)).await) });
        let (home, errand) = task.await.unwrap();
        assert_eq!(errand, Ok(home));
    }

    #[tokio::test]
    async fn a_call_on_another_thread_has_its_errands_run_one_after_the_other() {
        let errands = Errands::default();
        let sent = errands.clone();
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut sum = 0;
                for number in [1, 2, 3] {
                    let errand = async move |tell: oneshot::Sender<_>| {
                        tokio::task::yield_now().await;
                        tell.send((number, std::thread::current().id())).unwrap();
                    };
                    let (number, thread) = sent.send(errand).await.unwrap();
                    assert_ne!(thread, std::thread::current().id());
                    sum += number;
                }
                sum
            })
        });
        let call = async {
            while !elsewhere.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        errands.run_beside(pin!(call)).await;
        assert_eq!(elsewhere.join().unwrap(), 6);
    }

    #[tokio::test]
    async fn an_errand_that_is_handed_in_after_its_task_has_gone_is_told_so() {
        let errands = Errands::default();
        errands.run_beside(pin!(async {})).await;
        assert!(errands.send(async |tell| tell.send(1).unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn an_errand_ends_with_its_call() {
        let errands = Errands::default();
        let (open, opened) = oneshot::channel::<()>();
        let sent = errands.clone();
        let call = async move {
            let errand = sent.send(async move |_tell: oneshot::Sender<()>| {
                let _open = open;
                std::future::pending::<()>().await;
            });
            tokio::time::timeout(std::time::Duration::from_millis(1), errand).await
        };
        assert!(errands.run_beside(pin!(call)).await.is_err());
        assert!(opened.await.is_err(), "it was dropped");
    }
}
