//! The server: how its parts are put together, how it accepts connections, and how it ends.
//!
//! Connections are accepted by hand because axum's own loop gives a slow client no deadline for its headers.
//! Every connection is bounded in time while it sends, and their number is bounded in all.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use leasehold::Execution;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::options::Serve;
use crate::peer::Peer;
use crate::policy_file::{Named, stamp};
use crate::policy_source;
use crate::shutdown::hangups;
use crate::state::Journal;
use crate::store::{DatabaseFile, Migrate, Store};
use crate::trust::TrustConfig;
use crate::{admin_token, routes, start, tokens};

/// Time that a client may take to send its headers, and that a connection may be idle between two requests.
const HEADERS: Duration = Duration::from_secs(10);
/// Time that requests in flight may take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Maximum number of connections; more wait in the system's queue. Each costs some ten kilobytes.
const MAX_CONNECTIONS: usize = 4096;
/// Maximum number of connections in the system's queue.
const BACKLOG: u32 = 1024;

/// A server that is ready: its port is open, its schema is current, its policies are active.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    store: Store,
    journal: Journal,
}

impl Server {
    /// Puts the server together and opens its port. `admin_token` is the value of the environment, if there
    /// is one; `directory` is where the admin token's file is kept otherwise.
    ///
    /// # Errors
    ///
    /// A mistake that the operator has to put right, in words that say how.
    pub async fn start(serve: &Serve, admin_token: Option<String>, directory: &Path) -> anyhow::Result<Self> {
        // From here on SIGHUP ends the process no more.
        let mut hangups = hangups().context("cannot listen for SIGHUP")?;
        let stamp = stamp(&serve.policy);
        let chosen = policy_source::choose(&serve.policy, &serve.settings);
        let trust = TrustConfig::of(serve)?;
        let token_policy = tokens::policy(serve)?;
        anyhow::ensure!(
            !serve.watch_policy || !policy_source::is_bundled(&serve.policy),
            "--watch-policy needs a file, and --policy {:?} is a bundled policy; give the path of a \
             component",
            serve.policy
        );
        if let Some(directory) = &serve.compile_cache {
            leasehold::compile_cache(directory)?;
        }
        let socket = bind(&serve.listen).await?;
        let (admin, source) = admin_token::load(admin_token, directory)?;
        let how = if serve.no_migrate { Migrate::Never } else { Migrate::IfNeeded };
        let (store, database) = Store::open(&serve.database, how).await?;
        let (secrets, journal) = start::secrets(serve, chosen, &trust, &store).await?;
        let builder = start::executed(serve, store.cache("auth_token_hash").await?);
        let tokens = tokens::cache(builder, token_policy).await?;
        let active = secrets.policy();
        tracing::info!(%database, admin_token = %source, "starting");
        tracing::info!(
            policy = format!("{} {}", active.name, active.version),
            digest = active.digest,
            generation = active.generation,
            execution = active.execution.as_str(),
            "the policy is active"
        );
        let who = tokens.policy();
        tracing::info!(
            policy = format!("{} {}", who.name, who.version),
            settings = ?who.settings,
            "the tokens' policy is active"
        );
        if active.execution == Execution::Interpreter && !serve.interpreter {
            tracing::warn!(
                "this system forbids executable memory: policies are run by an interpreter, and a miss takes \
                 longer"
            );
        }
        let kept = journal.clone();
        let app = Arc::new(App { secrets, tokens, store: store.clone(), admin, journal });
        let asked = Named { policy: serve.policy.clone(), settings: serve.settings.clone() };
        if serve.watch_policy {
            tokio::spawn(asked.clone().watch(Arc::clone(&app), stamp));
        }
        if let Some(file) = store.file() {
            tokio::spawn(part_from_file(Arc::clone(file), Arc::clone(&app)));
        }
        let again = Arc::clone(&app);
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                again.store.reload();
                asked.apply(&again, "SIGHUP").await;
            }
        });
        // Clients that connect from here on are answered.
        let (listener, address) = listen(&serve.listen, socket)?;
        Ok(Self { listener, address, router: routes::router(app), store, journal: kept })
    }

    /// Returns the address on which it listens, with the port that it was given if the command line has 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets the requests in flight finish for 10 s at most, or until `abort`.
    pub async fn run(self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        announce(self.address);
        self.run_quietly(stop, abort).await;
    }

    /// Does the same, without a word on stdout.
    pub(crate) async fn run_quietly(self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        let (mut stop, mut abort) = (pin!(stop), pin!(abort));
        let connections = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let (stream, peer, permit) = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                () = &mut stop => break,
            };
            self.serve(stream, peer, permit, &connections);
        }
        // The port is free for a successor from here on, and so is the folder of the policies.
        drop(self.listener);
        self.journal.close().await;
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

    fn serve(
        &self,
        stream: TcpStream,
        peer: Peer,
        permit: OwnedSemaphorePermit,
        connections: &GracefulShutdown,
    ) {
        let routes = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            routes.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
}

/// Waits for the next connection, once there is room for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, Peer, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are small and whole: waiting to fill a packet only delays them. Without the option
                // they are late.
                let _ = stream.set_nodelay(true);
                return (stream, Peer(address), permit);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits until the database's file has lost its path; from then on no lease is honoured and no statement
/// sent.
async fn part_from_file(file: Arc<DatabaseFile>, app: Arc<App>) {
    file.change().await;
    app.secrets.reset();
    app.tokens.reset();
    app.store.part_from_file().await;
}

fn cannot_listen(asked: &str) -> String {
    format!(
        "cannot listen on --listen {asked:?}; expected HOST:PORT of this machine that no other program \
         uses, such as 127.0.0.1:8080, or port 0 for a free one"
    )
}

/// Takes the port, and lets no client connect yet: until the server is ready a client is refused, and does
/// not wait.
async fn bind(asked: &str) -> anyhow::Result<TcpSocket> {
    let bound = async {
        let mut last = std::io::Error::other("the name has no address");
        for address in lookup_host(asked).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            match socket.bind(address) {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    bound.await.with_context(|| cannot_listen(asked))
}

fn listen(asked: &str, socket: TcpSocket) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = socket.listen(BACKLOG).with_context(|| cannot_listen(asked))?;
    let address = listener.local_addr().with_context(|| cannot_listen(asked))?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "listening beyond this machine in plain HTTP: put TLS in front, and keep /metrics private"
        );
    }
    Ok((listener, address))
}

/// Prints the one line on stdout: a program that started us waits for it.
fn announce(address: SocketAddr) {
    tracing::info!(%address, "listening");
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "nobody reads stdout");
    }
}
