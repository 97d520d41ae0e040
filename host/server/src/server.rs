//! The server: how its parts are put together, how it accepts connections, and how it ends.
//!
//! Connections are accepted by hand because axum's own loop gives a slow client no deadline for its headers. Every
//! connection is bounded in time while it sends, and their number is bounded in all.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use leasehold::Policy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::cli::Serve;
use crate::store::Store;
use crate::{admin_token, policy, routes};

/// How long a client may take to send its headers, and how long a connection may be idle between two requests.
const HEADERS: Duration = Duration::from_secs(10);
/// How long requests in flight may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// More than this many connections wait in the system's queue. Each costs some ten kilobytes.
const CONNECTIONS_MAX: usize = 4096;

/// A server that is ready: its port is open, its schema is current, its policies are active.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    store: Store,
}

impl Server {
    /// Puts the server together and opens its port. `admin_token` is what the environment says, if anything;
    /// `directory` is where the admin token's file is kept otherwise.
    ///
    /// # Errors
    ///
    /// Whatever the operator has to put right, in words that say how.
    pub async fn start(serve: &Serve, admin_token: Option<String>, directory: &Path) -> anyhow::Result<Self> {
        let chosen = policy::choose(&serve.policy, &serve.settings)?;
        let (listener, address) = listen(&serve.listen).await?;
        let (admin, source) = admin_token::load(admin_token, directory)?;
        let (store, database) = Store::open(&serve.database).await?;
        let secrets = store.cache("platform_inbound_secret", chosen, &serve.policy).await?;
        // Who is let in never depends on an operator's policy.
        let bundled = Policy::from_bytes(leasehold_policies::TTL);
        let tokens = store.cache("auth_token_hash", bundled, "ttl").await?;
        let active = secrets.policy();
        tracing::info!(%database, admin_token = %source, "starting");
        tracing::info!(
            policy = format!("{} {}", active.name, active.version),
            digest = active.digest,
            generation = active.generation,
            "the policy is active"
        );
        let app = Arc::new(App { secrets, tokens, store: store.clone(), admin });
        Ok(Self { listener, address, router: routes::router(app), store })
    }

    /// Where it listens, with the port that it was given if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets the requests in flight finish for 10 s at most, or until `abort`.
    pub async fn run(self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        announce(self.address);
        let (mut stop, mut abort) = (pin!(stop), pin!(abort));
        let connections = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let (stream, permit) = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                () = &mut stop => break,
            };
            self.serve(stream, permit, &connections);
        }
        // The port is free for a successor from here on.
        drop(self.listener);
        tracing::info!(connections = connections.count(), "stopping");
        tokio::select! {
            () = connections.shutdown() => tracing::info!("every request was answered"),
            () = tokio::time::sleep(DRAIN) => tracing::warn!("requests were still running after {DRAIN:?}"),
            () = &mut abort => {
                tracing::warn!("stopped without waiting");
                return;
            }
        }
        tokio::select! {
            () = self.store.close() => {}
            () = abort => tracing::warn!("stopped without closing the database"),
        }
    }

    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit, connections: &GracefulShutdown) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and whole: waiting to fill a packet only delays them. Without it they are late.
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn listen(asked: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = async {
        let listener = TcpListener::bind(asked).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    let (listener, address) = bound.await.with_context(|| {
        format!(
            "cannot listen on --listen {asked:?}; expected HOST:PORT of this machine that no other program uses, such as \
             127.0.0.1:8080, or port 0 for a free one"
        )
    })?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine in plain HTTP: put TLS in front, and keep /metrics private");
    }
    Ok((listener, address))
}

/// The one line on stdout: a program that started us waits for it.
fn announce(address: SocketAddr) {
    tracing::info!(%address, "listening");
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "nobody reads stdout");
    }
}
