//! Connections: how they are accepted, what is spoken on them, and how each ends.
//!
//! HTTP/1.1 and HTTP/2 are told apart by the first bytes, and by TLS's own negotiation. A connection runs
//! until its client leaves or [`Connections`] orders it to end: for its deadlines, for a newer one in its
//! place, or because the server stops. What answers requests knows nothing of all this but [`Peer`].

mod activity;
mod registry;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use self::activity::{Activity, Order, Watched};
use self::registry::Slot;
pub(crate) use self::registry::{Connections, MaxConnections, Timeouts};
use crate::front::Front;
use crate::listener::{AcceptedStream, Listener};
use crate::peer::Peer;
use crate::tls::Tls;

/// Pause after the system refused a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time that the next connection in the queue may take to be seen, at the end.
const QUEUE: Duration = Duration::from_millis(10);
/// Time that a client that is refused may take to read that.
const FAREWELL: Duration = Duration::from_millis(500);
/// Maximum number of requests at once on a connection of HTTP/2.
const MAX_STREAMS: u32 = 256;
/// Maximum size of a request's headers on HTTP/2, in bytes. HTTP/1 has its buffer.
const MAX_HEADERS: u32 = 16 * 1024;
/// Answer to a client for whom there is no room, before anything is read.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 2\r\ncontent-length: 90\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":\"overloaded\",\"message\":\"too many connections are open; try again later\"}}";

/// A listener with what is behind it.
pub(crate) struct Service {
    pub(crate) listener: Listener,
    pub(crate) front: Front,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) connections: Arc<Connections>,
}

impl Service {
    /// Accepts connections until `stop` changes; then the listener is gone.
    pub(crate) async fn accept(self, mut stop: watch::Receiver<bool>) {
        let mut failed = 0_u64;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                // A sender that is gone stops too.
                _ = stop.changed() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if failed > 0 {
                        tracing::warn!(failed, "connections are accepted again");
                        failed = 0;
                    }
                    self.begin(stream, peer);
                }
                Err(error) => {
                    if failed == 0 {
                        tracing::warn!(%error, "cannot accept a connection; more of that is counted");
                    }
                    failed += 1;
                    // For want of descriptors one of them has to go.
                    self.connections.make_room();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Clients in the queue of a listener that is gone would be refused. Where it is not ours, a successor
        // takes them.
        while self.listener.is_ours()
            && let Ok(Ok((stream, peer))) = timeout(QUEUE, self.listener.accept()).await
        {
            self.begin(stream, peer);
        }
    }

    fn begin(&self, stream: AcceptedStream, peer: Peer) {
        let served = Served { front: self.front.clone(), tls: self.tls.clone(), peer };
        if let Some(slot) = self.connections.admit(peer) {
            tokio::spawn(served.run(stream, slot));
        } else if let Some(waiting) = self.connections.wait() {
            let connections = Arc::clone(&self.connections);
            tokio::spawn(async move {
                match connections.admit_later(peer).await {
                    Some(slot) => {
                        drop(waiting);
                        served.run(stream, slot).await;
                    }
                    None => served.refuse(stream).await,
                }
            });
        } else {
            self.connections.refuse(peer);
        }
    }
}

/// A connection, and what answers on it.
struct Served {
    front: Front,
    tls: Option<Arc<Tls>>,
    peer: Peer,
}

impl Served {
    async fn run(self, stream: AcceptedStream, slot: Slot) {
        let Self { front, tls, peer } = self;
        match (stream, tls) {
            (AcceptedStream::Tcp(stream), None) => run(stream, peer, front, slot).await,
            (AcceptedStream::Unix(stream), _) => run(stream, peer, front, slot).await,
            (AcceptedStream::Tcp(stream), Some(tls)) => run_tls(stream, tls, peer, front, slot).await,
        }
    }

    /// Says that there is no room, and hears the client out for a moment: a socket that is closed before its
    /// request was read takes the answer along.
    async fn refuse(self, stream: AcceptedStream) {
        let (AcceptedStream::Tcp(mut stream), None) = (stream, self.tls) else { return };
        let refused = async {
            stream.write_all(NO_ROOM).await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        // It has gone, or takes too long: either way there is nothing more to say.
        let _ = timeout(FAREWELL, refused).await;
    }
}

/// Shakes hands, and serves.
async fn run_tls(stream: TcpStream, tls: Arc<Tls>, peer: Peer, front: Front, slot: Slot) {
    let accepted = tokio::select! {
        accepted = tls.acceptor().accept(stream) => accepted,
        _ = slot.activity().ordered() => return,
    };
    match accepted {
        Ok(stream) => run(stream, peer, front, slot).await,
        Err(error) => tracing::debug!(%peer, %error, "a client did not get through TLS's handshake"),
    }
}

/// Serves one connection until it ends or is ordered to.
async fn run<S>(stream: S, peer: Peer, front: Front, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(slot.activity());
    let stream = front.stream(Watched::new(stream, Arc::clone(&activity)));
    let answers = front.service(&stream, peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let answering = Activity::begin(&activity, request.version());
        let answer = answers.call(request);
        async move {
            let mut answer = answer.await;
            if let Ok(answer) = &mut answer
                && answering.is_last()
            {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADERS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error, "a connection ended early");
                }
                return;
            }
            order = slot.activity().ordered() => match order {
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Close => return,
            },
        }
    }
}
