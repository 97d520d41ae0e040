//! The input and output of a call: run by the task that makes the call, and not on the policy's stack.
//!
//! The stack of a policy is small, its processor time is limited and it may have been moved to a slow thread,
//! so nothing of a driver runs there. A task of its own would wake another worker for each statement. This
//! file knows nothing of statements.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::oneshot;

type IoRequest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Requests of one call, which has one at a time.
#[derive(Clone, Default)]
pub(crate) struct HostIo(Arc<Mutex<Mailbox>>);

#[derive(Default)]
struct Mailbox {
    /// `true` once the task that makes the call has gone.
    is_closed: bool,
    handed_in: Option<IoRequest>,
    /// Waker of the task that makes the call, while it waits.
    waits: Option<Waker>,
}

impl HostIo {
    /// Has a request run by the task that makes the call. The request gets the channel for its result; the
    /// receiver fails if that task has gone.
    pub(super) fn send<T, E>(&self, request: impl FnOnce(oneshot::Sender<T>) -> E) -> oneshot::Receiver<T>
    where
        E: Future<Output = ()> + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        if let Some(task) = self.hand_in(Box::pin(request(tx))) {
            task.wake();
        }
        rx
    }

    /// Runs a call and the requests that it hands in. A request that is still in flight when the call ends is
    /// dropped.
    pub(super) async fn drive<T>(&self, mut call: Pin<&mut impl Future<Output = T>>) -> T {
        let _open = OpenMailbox(self);
        let mut request: Option<IoRequest> = None;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(returned) = call.as_mut().poll(context) {
                    return Poll::Ready(returned);
                }
                if request.is_none() {
                    let mut mailbox = self.mailbox();
                    request = mailbox.handed_in.take();
                    mailbox.waits = request.is_none().then(|| context.waker().clone());
                }
                match request.as_mut().map(|request| request.as_mut().poll(context)) {
                    Some(Poll::Ready(())) => request = None,
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Hands in a request, and returns the waker of the task that runs it, if that task waits.
    fn hand_in(&self, request: IoRequest) -> Option<Waker> {
        let mut mailbox = self.mailbox();
        if mailbox.is_closed {
            drop(mailbox);
            // And with it the sender of its result.
            drop(request);
            return None;
        }
        mailbox.handed_in = Some(request);
        mailbox.waits.take()
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        // Nothing that may panic is done under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mailbox of a task that makes a call.
struct OpenMailbox<'a>(&'a HostIo);

impl Drop for OpenMailbox<'_> {
    fn drop(&mut self) {
        let left = {
            let mut mailbox = self.0.mailbox();
            mailbox.is_closed = true;
            (mailbox.handed_in.take(), mailbox.waits.take())
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_request_runs_in_the_task_of_the_call() {
        let host_io = HostIo::default();
        let sent = host_io.clone();
        let call = async move { sent.send(async |tx| tx.send(tokio::task::id()).unwrap()).await };
        let task = tokio::spawn(async move { (tokio::task::id(), host_io.drive(pin!(call)).await) });
        let (home, request) = task.await.unwrap();
        assert_eq!(request, Ok(home));
    }

    #[tokio::test]
    async fn a_call_on_another_thread_has_its_requests_run_one_after_the_other() {
        let host_io = HostIo::default();
        let sent = host_io.clone();
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut sum = 0;
                for number in [1, 2, 3] {
                    let request = async move |tx: oneshot::Sender<_>| {
                        tokio::task::yield_now().await;
                        tx.send((number, std::thread::current().id())).unwrap();
                    };
                    let (number, thread) = sent.send(request).await.unwrap();
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
        host_io.drive(pin!(call)).await;
        assert_eq!(elsewhere.join().unwrap(), 6);
    }

    #[tokio::test]
    async fn a_request_that_is_handed_in_after_its_task_has_gone_is_answered_so() {
        let host_io = HostIo::default();
        host_io.drive(pin!(async {})).await;
        assert!(host_io.send(async |tx| tx.send(1).unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn a_request_ends_with_its_call() {
        let host_io = HostIo::default();
        let (open, opened) = oneshot::channel::<()>();
        let sent = host_io.clone();
        let call = async move {
            let request = sent.send(async move |_tx: oneshot::Sender<()>| {
                let _open = open;
                std::future::pending::<()>().await;
            });
            tokio::time::timeout(std::time::Duration::from_millis(1), request).await
        };
        assert!(host_io.drive(pin!(call)).await.is_err());
        assert!(opened.await.is_err(), "it was dropped");
    }
}
