//! tokio's deadlines, without a clock: a deadline never passes, or at any moment that the scheduler chooses.

use shuttle::future::spawn;
use std::future::poll_fn;
use std::task::Poll;

use super::watch;

/// `tokio::time::Instant` as a deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deadline {
    #[default]
    Never,
    AnyMoment,
}

/// The error of a future whose deadline passed first.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// `tokio::time::timeout_at`: what is there is taken, although the deadline may have passed.
pub(crate) async fn timeout_at<F: Future>(deadline: Deadline, future: F) -> Result<F::Output, Elapsed> {
    if deadline == Deadline::Never {
        return Ok(future.await);
    }
    let (passes, mut passed) = watch::channel(false);
    // It may go on for longer than the future.
    drop(spawn(async move {
        pause().await;
        let _ = passes.send(true);
    }));
    tokio::select! {
        biased;
        output = future => Ok(output),
        _ = passed.wait_for(|passed| *passed) => Err(Elapsed),
    }
}

/// Pauses at a moment at which other tasks may go on, and at which a task that waits for this one may be
/// dropped. It is not a yield, from which the scheduler would conclude that this task has nothing to do.
pub(crate) async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
