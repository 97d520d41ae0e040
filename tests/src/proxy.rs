//! A proxy on loopback in front of a PostgreSQL server: the network's faults, at the moment that a test
//! chooses.
//!
//! It knows nothing of the cache. It cannot read TLS, so clients have to connect without. `connection.rs`
//! decides the fate of the bytes of a connection.

mod connection;
mod message;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::connection::Connection;
use crate::MAX_WAIT;

/// A proxy. Its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _connections: JoinSet<()>,
}

/// The effect of a statement, as the first word of its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The statement reads.
    Select,
    /// The statement writes.
    Update,
    /// The statement commits.
    Commit,
}

/// The fate of the next statement of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection is cut, and the server never sees the statement.
    CutBefore,
    /// The server has carried it out and has answered; the connection is cut and the answer is lost.
    CutAfter,
    /// The connection is cut as soon as the statement was passed on: the server may be carrying it out.
    CutDuring,
    /// The server has carried it out, and its answer is kept back until [`Proxy::release`].
    Held,
    /// The statement is answered, and then the connection is forgotten: nothing will ever move on it again.
    ForgottenAfter,
}

/// Conditions that every connection meets.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Nothing moves on any connection. New ones are accepted.
    silent: bool,
    /// New connections are closed at once.
    refusing: bool,
    /// Connections with a lower number are closed.
    cut_below: u64,
    /// Connections with a lower number stay open, and nothing will ever move on them again.
    dead_below: u64,
    /// Number of times that answers were released.
    releases: u64,
}

#[derive(Debug)]
struct State {
    /// The address to which new connections lead.
    server: Mutex<SocketAddr>,
    weather: watch::Sender<Weather>,
    next: Mutex<Option<(Statement, Fate)>>,
    /// Number of statements that have met their fate.
    met: watch::Sender<u64>,
    /// Number of messages that may pass before the connection that carries the next one is cut; none is cut
    /// below zero.
    left: AtomicI64,
    accepted: AtomicU64,
    /// Number of connections that are cut and not yet ended by the server.
    ending: watch::Sender<u64>,
    selects: AtomicU64,
    updates: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of the server that `options` name, and returns how to connect through it.
    pub async fn start(options: &PgConnectOptions) -> Result<(Self, PgConnectOptions)> {
        let server = Mutex::new(resolve(options).await?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server,
            weather: watch::channel(Weather::default()).0,
            next: Mutex::default(),
            met: watch::channel(0).0,
            left: AtomicI64::new(-1),
            accepted: AtomicU64::new(0),
            ending: watch::channel(0).0,
            selects: AtomicU64::new(0),
            updates: AtomicU64::new(0),
        });
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::clone(&state)));
        let options = options.clone().host("127.0.0.1").port(address.port()).ssl_mode(PgSslMode::Disable);
        Ok((Self { address, state, _connections: connections }, options))
    }

    /// Has new connections lead to another server, as when an address moves. Open connections stay where they
    /// are.
    pub async fn point(&self, options: &PgConnectOptions) -> Result<()> {
        let server = resolve(options).await?;
        *self.state.server.lock().unwrap() = server;
        Ok(())
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Decides the fate of the next statement of this kind.
    pub fn next(&self, statement: Statement, fate: Fate) {
        *self.state.next.lock().unwrap() = Some((statement, fate));
    }

    /// Waits until `count` statements in all have met the fate that was decided for them.
    pub async fn met(&self, count: u64) -> Result<()> {
        let mut met = self.state.met.subscribe();
        let met = tokio::time::timeout(MAX_WAIT, met.wait_for(|met| *met >= count)).await;
        met.context("no such statement came")??;
        Ok(())
    }

    /// Passes on the answers that were kept back.
    pub fn release(&self) {
        self.state.weather.send_modify(|weather| weather.releases += 1);
    }

    /// Cuts the connection that carries the message after the next `messages`, half-way through it.
    pub fn cut_after(&self, messages: u32) {
        self.state.left.store(messages.into(), Ordering::SeqCst);
    }

    /// Takes back what [`next`](Self::next) and [`cut_after`](Self::cut_after) have decided and no statement
    /// has met yet.
    pub fn calm(&self) {
        *self.state.next.lock().unwrap() = None;
        self.state.left.store(-1, Ordering::SeqCst);
    }

    /// Cuts every open connection.
    pub fn cut(&self) {
        let accepted = self.state.accepted.load(Ordering::SeqCst);
        self.state.weather.send_modify(|weather| weather.cut_below = accepted);
    }

    /// Waits until the server has ended the sessions of all connections that were cut: their statements are
    /// finished or will never be.
    pub async fn settled(&self) -> Result<()> {
        let mut ending = self.state.ending.subscribe();
        let settled = tokio::time::timeout(MAX_WAIT, ending.wait_for(|ending| *ending == 0)).await;
        settled.context("the server does not end a session without a client")??;
        Ok(())
    }

    /// Stops moving anything, or goes on where it stopped.
    pub fn silence(&self, silent: bool) {
        self.state.weather.send_modify(|weather| weather.silent = silent);
    }

    /// Forgets every open connection without a word to either end, as a firewall does; new ones work.
    pub fn forget(&self) {
        let accepted = self.state.accepted.load(Ordering::SeqCst);
        self.state.weather.send_modify(|weather| weather.dead_below = accepted);
    }

    /// Closes new connections at once, or stops doing so.
    pub fn refuse(&self, refusing: bool) {
        self.state.weather.send_modify(|weather| weather.refusing = refusing);
    }

    /// Returns the number of SELECTs that were passed on.
    pub fn selects(&self) -> u64 {
        self.state.selects.load(Ordering::SeqCst)
    }

    /// Returns the number of UPDATEs that were passed on.
    pub fn updates(&self) -> u64 {
        self.state.updates.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that were accepted.
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

async fn resolve(options: &PgConnectOptions) -> Result<SocketAddr> {
    let server = (options.get_host(), options.get_port());
    tokio::net::lookup_host(server).await?.next().context("the server has no address")
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if state.weather.borrow().refusing {
            continue;
        }
        let number = state.accepted.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // Either end may go at any moment; the other end notices by the end of its connection.
            let _ = Connection::new(number, state).run(client).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
