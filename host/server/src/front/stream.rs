//! The manners of a connection that hyper has not: a refusal of its own has a body, and a client that is
//! still sending is heard out before its connection is closed.
//!
//! hyper answers what it cannot read as a request with a bare status. No other refusal of this server is
//! without content, so such an answer is known by its head, and is given the one shape of errors. And a
//! socket that is closed while data is under way tells the client that the connection broke, and makes it
//! drop the answer: after the last answer, what still comes is read and dropped, up to a limit in bytes and
//! in time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant as Deadline, Sleep, sleep_until};

use super::body::Unread;
use crate::respond::bare_error;
use crate::telemetry::{Route, Telemetry};

/// Maximum number of bytes that are read and dropped: twice the largest body that any route takes.
const MAX_DROPPED_BYTES: usize = 16 << 20;
/// Maximum time for that.
const MAX_DROPPING: Duration = Duration::from_secs(5);
/// Maximum pause of a client that is still sending. One that has sent all, and keeps the connection open,
/// costs no more than this.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Size of the buffer that what is dropped is read into.
const BUFFER: usize = 16 << 10;

/// The length of `HTTP/1.1 400`.
const STATUS: std::ops::Range<usize> = 9..12;
const NO_CONTENT: &str = "content-length: 0";

/// A connection. It may be made of anything that can be read and written.
pub(crate) struct Stream<S> {
    stream: S,
    telemetry: Arc<Telemetry>,
    unread: Unread,
    /// The answer in place of hyper's own, while it is being written.
    refusal: Option<JsonRefusal>,
    ending: Ending,
}

struct JsonRefusal {
    answer: Vec<u8>,
    written: usize,
    /// Length of the answer that it replaces.
    replaced: usize,
}

/// The end of a connection, step by step.
enum Ending {
    Open,
    /// Nothing more is sent, and what comes is dropped until then.
    Dropping {
        bytes: usize,
        until: Pin<Box<Sleep>>,
        latest: Deadline,
    },
    Over,
}

impl<S> Stream<S> {
    pub(super) fn new(stream: S, telemetry: Arc<Telemetry>) -> Self {
        Self { stream, telemetry, unread: Unread::default(), refusal: None, ending: Ending::Open }
    }

    pub(super) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// Looks whether hyper refuses by itself, and puts a better answer in its place.
    fn look_at(&mut self, bytes: &[u8]) {
        let Some((status, answer)) = refusal_of(bytes) else { return };
        self.telemetry.responses.count(Route::MALFORMED, status, Duration::ZERO);
        self.unread.set(true);
        self.refusal = Some(JsonRefusal { answer, written: 0, replaced: bytes.len() });
    }
}

impl<S: AsyncWrite + Unpin> Stream<S> {
    /// Writes the answer that replaces hyper's, and returns the length of that.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<usize>>> {
        while let Some(JsonRefusal { answer, written, replaced }) = &mut self.refusal {
            let rest = answer.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                let replaced = *replaced;
                self.refusal = None;
                return Poll::Ready(Some(Ok(replaced)));
            }
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(bytes) => *written += bytes,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}

/// Returns the status of an answer that hyper has made by itself, and the answer to be sent in its place.
fn refusal_of(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    // Every answer passes here: this is all that most of them pay.
    let (status, true) = (bytes.get(STATUS)?, bytes.starts_with(b"HTTP/1.")) else { return None };
    let (code, message) = match status {
        b"400" => ("malformed_request", "the request cannot be read; expected HTTP/1.1, or 1.0"),
        b"414" => ("path_too_long", "the path is too long; expected 65,534 bytes at most"),
        b"431" => (
            "headers_too_large",
            "the request's headers are too many or too large; expected 100 at most, and 400 KiB in all",
        ),
        _ => return None,
    };
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (status_line, fields) = head.split_once("\r\n")?;
    if !fields.lines().any(|field| field == NO_CONTENT) {
        return None;
    }
    let is_kept = |field: &&str| *field != NO_CONTENT && !field.starts_with("connection:");
    let fields: String = fields.lines().filter(is_kept).flat_map(|field| [field, "\r\n"]).collect();
    let body = bare_error(code, message);
    let answer = format!(
        "{status_line}\r\n{fields}content-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    Some((std::str::from_utf8(status).ok()?.parse().ok()?, answer.into_bytes()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_none() {
            self.look_at(bytes);
        }
        match ready!(self.poll_refusal(context)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_none() {
            self.look_at(slices.first().map_or(&[], |slice| slice));
        }
        match ready!(self.poll_refusal(context)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.ending {
                Ending::Over => return Poll::Ready(Ok(())),
                Ending::Open => {
                    // The client sees the end of the answer, and that there will be no other one.
                    ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                    let now = Deadline::now();
                    let until = Box::pin(sleep_until(now + MAX_PAUSE));
                    let dropping = Ending::Dropping { bytes: 0, until, latest: now + MAX_DROPPING };
                    this.ending = if this.unread.is_set() { dropping } else { Ending::Over };
                }
                Ending::Dropping { bytes, until, latest } => match poll_drop(&mut this.stream, context) {
                    Poll::Ready(Some(dropped)) if *bytes + dropped < MAX_DROPPED_BYTES => {
                        *bytes += dropped;
                        until.as_mut().reset((Deadline::now() + MAX_PAUSE).min(*latest));
                    }
                    Poll::Ready(_) => this.ending = Ending::Over,
                    Poll::Pending => {
                        ready!(until.as_mut().poll(context));
                        this.ending = Ending::Over;
                    }
                },
            }
        }
    }
}

/// Reads a piece and drops it. `None` is the end.
fn poll_drop(stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<Option<usize>> {
    let mut buffer = [0; BUFFER];
    let mut buffer = ReadBuf::new(&mut buffer);
    let read = ready!(Pin::new(stream).poll_read(context, &mut buffer));
    let dropped = buffer.filled().len();
    Poll::Ready((read.is_ok() && dropped > 0).then_some(dropped))
}

#[cfg(test)]
mod tests;
