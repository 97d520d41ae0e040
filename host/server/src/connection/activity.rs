//! The activity of one connection: what it waits for and since when, and whether it was ordered to end.
//!
//! It is written by the connection's own task, at the bytes that come and at each request's begin and end,
//! and read by the task that keeps the deadlines. There is no timer for each connection: a request costs two
//! looks at the clock.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::http::Version;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bits of the orders.
const FINISH: u8 = 1;
const CLOSE: u8 = 2;
/// Bit that stays once a connection was ordered to finish.
const HAS_ORDERS: u8 = 4;
/// A moment that has not come, in milliseconds.
const NEVER: u64 = u64::MAX;

/// State of a connection, with the milliseconds since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its answer waits for a client that does not read.
    Stalled(u64),
    /// A request's headers, or those of TLS, are on their way.
    Head(u64),
    /// Between two requests.
    Idle(u64),
    /// A request is being answered.
    Serving,
}

/// An order to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// After the requests that have begun.
    Finish,
    /// At once.
    Close,
}

/// What is known of one connection. Every atomic is a hint with a time of its own, and none guards other
/// memory: relaxed orderings do, but for the orders, which go with a waker.
pub(crate) struct Activity {
    accepted: Instant,
    head_since: AtomicU64,
    idle_since: AtomicU64,
    stalled_since: AtomicU64,
    in_flight: AtomicU32,
    is_multiplexed: AtomicBool,
    /// `true` once a byte of the first request has come.
    has_begun: AtomicBool,
    orders: AtomicU8,
    /// `true` if the last answer was said to be the last.
    is_closing: AtomicBool,
    waker: AtomicWaker,
}

/// A request that is being answered.
pub(super) struct Answering(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(NEVER),
            in_flight: AtomicU32::new(0),
            is_multiplexed: AtomicBool::new(false),
            has_begun: AtomicBool::new(false),
            orders: AtomicU8::new(0),
            is_closing: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Returns the milliseconds since the connection was accepted.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// Notes that a request begins.
    pub(super) fn begin(activity: &Arc<Self>, version: Version) -> Answering {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.head_since.store(NEVER, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            activity.is_multiplexed.store(true, Ordering::Relaxed);
        }
        Answering(Arc::clone(activity))
    }

    /// Notes that bytes came: between two requests they are the head of the next one. On HTTP/2 they may be
    /// anything, and nothing is concluded.
    fn received(&self) {
        if !self.has_begun.load(Ordering::Relaxed) {
            self.has_begun.store(true, Ordering::Relaxed);
        }
        let is_idle = self.in_flight.load(Ordering::Relaxed) == 0
            && self.head_since.load(Ordering::Relaxed) == NEVER
            && !self.is_multiplexed.load(Ordering::Relaxed);
        if is_idle {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn phase(&self) -> Phase {
        let stalled = self.stalled_since.load(Ordering::Relaxed);
        let head = self.head_since.load(Ordering::Relaxed);
        if stalled != NEVER {
            Phase::Stalled(stalled)
        } else if self.in_flight.load(Ordering::Relaxed) > 0 {
            Phase::Serving
        } else if head != NEVER {
            Phase::Head(head)
        } else {
            Phase::Idle(self.idle_since.load(Ordering::Relaxed))
        }
    }

    /// Returns whether the client has sent anything.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Orders the connection to end.
    pub(super) fn order(&self, order: Order) {
        let bits = match order {
            Order::Finish if self.orders.load(Ordering::Relaxed) & HAS_ORDERS != 0 => return,
            Order::Finish => FINISH | HAS_ORDERS,
            Order::Close => CLOSE,
        };
        self.orders.fetch_or(bits, Ordering::Release);
        self.waker.wake();
    }

    /// Marks the answers from now on as the last ones.
    pub(super) fn announce_end(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Waits for an order. Each is returned once, the hardest first.
    pub(super) async fn ordered(&self) -> Order {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let orders = self.orders.load(Ordering::Acquire);
            if orders & CLOSE != 0 {
                return Poll::Ready(Order::Close);
            }
            if orders & FINISH != 0 {
                self.orders.fetch_and(!FINISH, Ordering::AcqRel);
                return Poll::Ready(Order::Finish);
            }
            Poll::Pending
        })
        .await
    }
}

impl Answering {
    /// Returns whether the client is to be told that no further request is answered here. HTTP/2 has a frame
    /// for that.
    pub(super) fn is_last(&self) -> bool {
        self.0.is_closing.load(Ordering::Relaxed) && !self.0.is_multiplexed.load(Ordering::Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose reads and writes are noted.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn written<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() && self.activity.stalled_since.load(Ordering::Relaxed) == NEVER {
            self.activity.stalled_since.store(self.activity.now(), Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.activity.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// It is called once everything that was to be written is: only that ends a stall, and not a byte that a
    /// client takes now and then.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() && self.activity.stalled_since.load(Ordering::Relaxed) != NEVER {
            self.activity.stalled_since.store(NEVER, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_from_its_head_to_serving_to_idle_and_back() {
        let activity = Arc::new(Activity::new());
        assert!(matches!(activity.phase(), Phase::Head(0)));
        let answering = Activity::begin(&activity, Version::HTTP_11);
        assert_eq!(activity.phase(), Phase::Serving);
        activity.received();
        assert_eq!(activity.phase(), Phase::Serving, "bytes of a body were taken for a head");
        drop(answering);
        assert!(matches!(activity.phase(), Phase::Idle(_)));
        activity.received();
        assert!(matches!(activity.phase(), Phase::Head(_)));
    }

    #[test]
    fn frames_between_two_requests_of_http2_are_no_head() {
        let activity = Arc::new(Activity::new());
        drop(Activity::begin(&activity, Version::HTTP_2));
        activity.received();
        assert!(matches!(activity.phase(), Phase::Idle(_)));
    }

    #[tokio::test]
    async fn an_order_to_finish_is_given_once_and_one_to_close_comes_first() {
        let activity = Activity::new();
        activity.order(Order::Finish);
        assert_eq!(activity.ordered().await, Order::Finish);
        assert!(futures_util::poll!(std::pin::pin!(activity.ordered())).is_pending());
        activity.order(Order::Finish);
        assert!(futures_util::poll!(std::pin::pin!(activity.ordered())).is_pending(), "it was ordered twice");
        activity.order(Order::Close);
        assert_eq!(activity.ordered().await, Order::Close);
    }
}
