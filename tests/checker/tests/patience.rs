//! The time for which a caller waits for a future before it drops it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// The end of a future.
pub(crate) enum Ended<T> {
    /// The future answered; whether it was waited for.
    Answered(T, bool),
    /// The future was dropped while it was waited for.
    Dropped,
    /// The future was dropped before it was polled.
    Unbegun,
}

/// The limit up to which a caller waits for one future.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Endless,
    /// The future is polled once, and so many times again while other tasks have their turn.
    Polls(u32),
    None,
}

impl Patience {
    /// Draws a limit, such that half of the futures that have to be waited for are dropped meanwhile: most of
    /// the waits are of some hundred microseconds, in which a task has some tens of turns.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u32(..100) {
            0..35 => Self::Endless,
            35..60 => Self::Polls(rng.u32(..3)),
            60..80 => Self::Polls(rng.u32(..20)),
            80..97 => Self::Polls(rng.u32(..200)),
            _ => Self::None,
        }
    }

    /// Waits for the future, or drops it.
    pub(crate) async fn wait_for<F: Future>(self, future: F) -> Ended<F::Output> {
        let mut left = match self {
            Self::Endless => None,
            Self::Polls(polls) => Some(polls),
            Self::None => return Ended::Unbegun,
        };
        let (mut future, mut has_waited) = (pin!(future), false);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ended::Answered(output, has_waited));
            }
            has_waited = true;
            match &mut left {
                Some(0) => return Poll::Ready(Ended::Dropped),
                Some(left) => {
                    *left -= 1;
                    context.waker().wake_by_ref();
                }
                None => {}
            }
            Poll::Pending
        })
        .await
    }
}
