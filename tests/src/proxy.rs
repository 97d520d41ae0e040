//! A proxy on loopback in front of a PostgreSQL server: the network's faults, at the moment that a test chooses.
//!
//! It reads as much of the protocol as it takes to tell a SELECT from an UPDATE and a whole answer from half of one, and
//! changes no byte. It knows nothing of the cache. TLS it cannot read, so clients have to connect without.

mod message;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::message::Messages;
use crate::PATIENCE;

/// A proxy. Its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _connections: JoinSet<()>,
}

/// What a statement does, as the first word of its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// It reads.
    Select,
    /// It writes.
    Update,
}

/// What becomes of the next statement of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection is cut, and the server never sees the statement.
    CutBefore,
    /// The server has carried it out and has answered; the connection is cut and the answer is lost.
    CutAfter,
    /// The connection is cut as soon as the statement was passed on: the server may be at it.
    CutDuring,
    /// The server has carried it out, and its answer is kept back until [`Proxy::release`].
    Held,
    /// It is answered, and then the connection is forgotten: nothing will ever move on it again.
    ForgottenAfter,
}

/// What every connection meets.
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
    /// How often answers were released.
    releases: u64,
}

#[derive(Debug)]
struct State {
    /// Where new connections lead.
    server: Mutex<SocketAddr>,
    weather: watch::Sender<Weather>,
    next: Mutex<Option<(Statement, Fate)>>,
    /// How many statements have met their fate.
    met: watch::Sender<u64>,
    /// How many messages may pass before the connection that carries the next one is cut; none is cut below zero.
    left: AtomicI64,
    accepted: AtomicU64,
    /// How many connections are cut and not yet ended by the server.
    ending: watch::Sender<u64>,
    selects: AtomicU64,
    updates: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of the server that `options` name, and says how to connect through it.
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

    /// Has new connections lead to another server, as when an address moves. Those that there are stay where they are.
    pub async fn point(&self, options: &PgConnectOptions) -> Result<()> {
        let server = resolve(options).await?;
        *self.state.server.lock().unwrap() = server;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Decides what becomes of the next statement of this kind.
    pub fn next(&self, statement: Statement, fate: Fate) {
        *self.state.next.lock().unwrap() = Some((statement, fate));
    }

    /// Waits until `count` statements in all have met the fate that was decided for them.
    pub async fn met(&self, count: u64) -> Result<()> {
        let mut met = self.state.met.subscribe();
        let met = tokio::time::timeout(PATIENCE, met.wait_for(|met| *met >= count)).await;
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

    /// Takes back what [`next`](Self::next) and [`cut_after`](Self::cut_after) have decided and nothing has met yet.
    pub fn calm(&self) {
        *self.state.next.lock().unwrap() = None;
        self.state.left.store(-1, Ordering::SeqCst);
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        let accepted = self.state.accepted.load(Ordering::SeqCst);
        self.state.weather.send_modify(|weather| weather.cut_below = accepted);
    }

    /// Waits until the server has ended the sessions of all connections that were cut: what they were at is done or will
    /// never be.
    pub async fn settled(&self) -> Result<()> {
        let mut ending = self.state.ending.subscribe();
        let settled = tokio::time::timeout(PATIENCE, ending.wait_for(|ending| *ending == 0)).await;
        settled.context("the server does not end a session without a client")??;
        Ok(())
    }

    /// Stops moving anything, or goes on where it stopped.
    pub fn silence(&self, silent: bool) {
        self.state.weather.send_modify(|weather| weather.silent = silent);
    }

    /// Forgets every connection there is without a word to either end, as a firewall does; new ones work.
    pub fn forget(&self) {
        let accepted = self.state.accepted.load(Ordering::SeqCst);
        self.state.weather.send_modify(|weather| weather.dead_below = accepted);
    }

    /// Closes new connections at once, or stops doing so.
    pub fn refuse(&self, refusing: bool) {
        self.state.weather.send_modify(|weather| weather.refusing = refusing);
    }

    /// How many SELECTs were passed on.
    pub fn selects(&self) -> u64 {
        self.state.selects.load(Ordering::SeqCst)
    }

    /// How many UPDATEs were passed on.
    pub fn updates(&self) -> u64 {
        self.state.updates.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
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
            // Either end may go at any moment; the other one is told by the end of its connection.
            let _ = Connection::new(number, state).run(client).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Why a connection ends.
struct End;

impl<E: std::error::Error> From<E> for End {
    fn from(_: E) -> Self {
        Self
    }
}

/// What becomes of the answers of one connection.
#[derive(Clone, Copy)]
enum Answers {
    PassedOn,
    /// Dropped up to the end of the statement's, and then the connection is cut.
    Dropped,
    /// Kept since there were so many releases.
    Kept {
        releases: u64,
    },
    /// Passed on up to the end of the statement's.
    PassedOnOnce,
    /// Nothing moves any more.
    Forgotten,
}

struct Connection {
    number: u64,
    state: Arc<State>,
    weather: watch::Receiver<Weather>,
    statements: HashMap<Vec<u8>, Statement>,
    answers: Answers,
}

impl Connection {
    fn new(number: u64, state: Arc<State>) -> Self {
        let weather = state.weather.subscribe();
        Self { number, state, weather, statements: HashMap::new(), answers: Answers::PassedOn }
    }

    async fn run(mut self, mut client: TcpStream) -> std::io::Result<()> {
        let address = *self.state.server.lock().unwrap();
        let mut server = TcpStream::connect(address).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let End = self.relay(&mut client, &mut server).await;
        // Before the client can know. The server reads what was passed on up to here, and then the end.
        let (state, mut rest) = (self.state, Vec::new());
        state.ending.send_modify(|ending| *ending += 1);
        drop(client);
        let ended = async {
            server.shutdown().await?;
            server.read_to_end(&mut rest).await
        };
        let ended = ended.await;
        state.ending.send_modify(|ending| *ending -= 1);
        ended.map(drop)
    }

    /// Passes on what comes from either end, until one of them or the weather ends the connection.
    async fn relay(&mut self, client: &mut TcpStream, server: &mut TcpStream) -> End {
        let (mut from_server, mut to_server) = server.split();
        let (mut from_client, mut to_client) = client.split();
        match self.pass_all(&mut from_client, &mut to_client, &mut from_server, &mut to_server).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn pass_all(
        &mut self,
        from_client: &mut (impl AsyncRead + Unpin),
        to_client: &mut (impl AsyncWrite + Unpin),
        from_server: &mut (impl AsyncRead + Unpin),
        to_server: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Infallible, End> {
        // A client's first message has no type.
        let (mut requests, mut answers) = (Messages::untyped_first(), Messages::typed());
        loop {
            let weather = *self.weather.borrow_and_update();
            if self.number < weather.cut_below {
                return Err(End);
            }
            let is_forgotten = self.number < weather.dead_below || matches!(self.answers, Answers::Forgotten);
            let moves = !weather.silent && !is_forgotten;
            if let Answers::Kept { releases } = self.answers
                && weather.releases > releases
            {
                self.answers = Answers::PassedOn;
            }
            if moves && matches!(self.answers, Answers::PassedOn | Answers::PassedOnOnce) {
                while let Some(answer) = answers.next() {
                    self.pass(&answer, to_client).await?;
                    if matches!(self.answers, Answers::PassedOnOnce) && message::is_ready(&answer) {
                        self.answers = Answers::Forgotten;
                        self.state.met.send_modify(|met| *met += 1);
                    }
                }
            }
            let moves = moves && !matches!(self.answers, Answers::Forgotten);
            tokio::select! {
                changed = self.weather.changed() => changed?,
                read = from_client.read_buf(requests.buffer()), if moves => {
                    if read? == 0 {
                        return Err(End);
                    }
                    while let Some(request) = requests.next() {
                        self.request(&request, to_server).await?;
                    }
                }
                read = from_server.read_buf(answers.buffer()), if moves => {
                    if read? == 0 {
                        return Err(End);
                    }
                    self.answered(&mut answers)?;
                }
            }
        }
    }

    /// Passes a client's message on, unless its statement has met its fate.
    async fn request(
        &mut self,
        request: &[u8],
        to_server: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), End> {
        if let Some((name, statement)) = message::parsed(request) {
            self.statements.insert(name.to_vec(), statement);
        }
        let bound = message::bound(request).and_then(|name| self.statements.get(name)).copied();
        let Some(statement) = bound else { return self.pass(request, to_server).await };
        let fate = {
            let mut next = self.state.next.lock().unwrap();
            next.take_if(|(kind, _)| *kind == statement).map(|(_, fate)| fate)
        };
        if fate == Some(Fate::CutBefore) {
            self.state.met.send_modify(|met| *met += 1);
            return Err(End);
        }
        let sent = match statement {
            Statement::Select => &self.state.selects,
            Statement::Update => &self.state.updates,
        };
        sent.fetch_add(1, Ordering::SeqCst);
        self.pass(request, to_server).await?;
        match fate {
            None | Some(Fate::CutBefore) => {}
            Some(Fate::CutAfter) => self.answers = Answers::Dropped,
            Some(Fate::ForgottenAfter) => self.answers = Answers::PassedOnOnce,
            Some(Fate::Held) => {
                self.answers = Answers::Kept { releases: self.weather.borrow().releases };
            }
            Some(Fate::CutDuring) => {
                // The client sends the rest of the statement in the same breath; without it the server would not begin.
                to_server.write_all(&message::EXECUTE_AND_SYNC).await?;
                to_server.flush().await?;
                self.state.met.send_modify(|met| *met += 1);
                return Err(End);
            }
        }
        Ok(())
    }

    /// Looks at what the server has sent, where its answer is not just passed on.
    fn answered(&mut self, answers: &mut Messages) -> Result<(), End> {
        match self.answers {
            Answers::PassedOn | Answers::PassedOnOnce | Answers::Forgotten => {}
            Answers::Dropped => {
                while let Some(answer) = answers.next() {
                    if message::is_ready(&answer) {
                        self.state.met.send_modify(|met| *met += 1);
                        return Err(End);
                    }
                }
            }
            Answers::Kept { .. } => {
                if answers.ends_ready() {
                    self.state.met.send_modify(|met| *met += 1);
                }
            }
        }
        Ok(())
    }

    async fn pass(&self, message: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> Result<(), End> {
        let left = self.state.left.load(Ordering::SeqCst);
        if left >= 0 && self.state.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let half = message.get(..message.len() / 2).unwrap_or_default();
            to.write_all(half).await?;
            return Err(End);
        }
        to.write_all(message).await?;
        Ok(())
    }
}
