//! A connection through the proxy, message by message.
//!
//! It reads as much of the protocol as it takes to distinguish a SELECT from an UPDATE and a whole answer
//! from half of one, and changes no byte.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::message::{self, Messages};
use super::{Fate, State, Statement, Weather};

/// The end of a connection.
struct End;

impl<E: std::error::Error> From<E> for End {
    fn from(_: E) -> Self {
        Self
    }
}

/// The fate of the answers of one connection.
#[derive(Clone, Copy)]
enum Answers {
    PassedOn,
    /// Answers are dropped up to the end of the statement's, and then the connection is cut.
    Dropped,
    /// Answers are held since there were so many releases.
    Held {
        releases: u64,
    },
    /// Answers are passed on up to the end of the statement's.
    PassedOnOnce,
    /// Nothing moves any more.
    Forgotten,
}

/// A connection of a client, and the one to the server that belongs to it.
pub(super) struct Connection {
    number: u64,
    state: Arc<State>,
    weather: watch::Receiver<Weather>,
    statements: HashMap<Vec<u8>, Statement>,
    answers: Answers,
}

impl Connection {
    pub(super) fn new(number: u64, state: Arc<State>) -> Self {
        let weather = state.weather.subscribe();
        Self { number, state, weather, statements: HashMap::new(), answers: Answers::PassedOn }
    }

    /// Relays until either end or the weather ends it, and waits for the server to end its session.
    pub(super) async fn run(mut self, mut client: TcpStream) -> std::io::Result<()> {
        let address = *self.state.server.lock().unwrap();
        let mut server = TcpStream::connect(address).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let End = self.relay(&mut client, &mut server).await;
        // This comes before the client can notice. The server reads what was passed on up to here, and then
        // the end.
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
            if let Answers::Held { releases } = self.answers
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
        let Some(statement) = bound.or_else(|| message::sent_as_text(request)) else {
            return self.pass(request, to_server).await;
        };
        let fate = {
            let mut next = self.state.next.lock().unwrap();
            next.take_if(|(kind, _)| *kind == statement).map(|(_, fate)| fate)
        };
        if fate == Some(Fate::CutBefore) {
            self.state.met.send_modify(|met| *met += 1);
            return Err(End);
        }
        match statement {
            Statement::Select => drop(self.state.selects.fetch_add(1, Ordering::SeqCst)),
            Statement::Update => drop(self.state.updates.fetch_add(1, Ordering::SeqCst)),
            Statement::Commit => {}
        }
        self.pass(request, to_server).await?;
        match fate {
            None | Some(Fate::CutBefore) => {}
            Some(Fate::CutAfter) => self.answers = Answers::Dropped,
            Some(Fate::ForgottenAfter) => self.answers = Answers::PassedOnOnce,
            Some(Fate::Held) => {
                self.answers = Answers::Held { releases: self.weather.borrow().releases };
            }
            Some(Fate::CutDuring) => {
                // The client sends the rest of the statement in the same breath; without it the server would
                // not begin.
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
            Answers::Held { .. } => {
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
