//! Rotations with an overlap and revocations, under heartbeats that never pause: no heartbeat with a live
//! token is refused, and none with a revoked one is let in after the revocation was answered.
//!
//! A client looks at the state of a token before it sends and after it was answered. Only where both are the
//! same is the answer certain.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use leasehold_tests::{Engine, Tier};
use serde_json::json;

use super::{revoke, rotate};
use crate::database::on_both;
use crate::http::{TestBed, W};

on_both! {
    no_live_token_is_refused_and_no_revoked_one_let_in_while_tokens_are_rotated,
}

/// Number of clients.
const CLIENTS: usize = 3;
/// Number of tokens that are live beside the newest, and of revoked ones that clients still present.
const LIVE: usize = 3;
const REVOKED: usize = 5;

const IS_LIVE: usize = 0;
/// Its revocation was sent: it may be either.
const ENDS: usize = 1;
const IS_REVOKED: usize = 2;

struct Token {
    id: String,
    text: String,
    state: AtomicUsize,
}

#[derive(Default)]
struct Shared {
    tokens: Mutex<Vec<Arc<Token>>>,
    is_over: AtomicBool,
    live: AtomicU64,
    revoked: AtomicU64,
}

impl Shared {
    fn known(&self) -> Vec<Arc<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, id: String, text: String) {
        let token = Arc::new(Token { id, text, state: AtomicUsize::new(IS_LIVE) });
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.push(token);
        let spare = tokens.len().saturating_sub(LIVE + REVOKED + 1);
        tokens.drain(..spare);
    }

    /// Sends heartbeats with one token after the other over one connection, until it is over.
    fn beat(&self, address: SocketAddr) -> Result<()> {
        let mut connection = BufReader::new(TcpStream::connect(address)?);
        while !self.is_over.load(Ordering::SeqCst) {
            for token in self.known() {
                let before = token.state.load(Ordering::SeqCst);
                let status = heartbeat(&mut connection, &token.text)?;
                let after = token.state.load(Ordering::SeqCst);
                match (before, after, status) {
                    (IS_LIVE, IS_LIVE, 200) => drop(self.live.fetch_add(1, Ordering::SeqCst)),
                    (IS_REVOKED, IS_REVOKED, 401) => drop(self.revoked.fetch_add(1, Ordering::SeqCst)),
                    (IS_LIVE, IS_LIVE, status) => bail!("a live token was answered with {status}"),
                    (IS_REVOKED, _, status) => bail!("a revoked token was answered with {status}"),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Sends one heartbeat, and returns the status of its answer.
fn heartbeat(connection: &mut BufReader<TcpStream>, token: &str) -> Result<u16> {
    let body = json!({ "workspace_id": W }).to_string();
    let request = format!(
        "POST /registry/heartbeat HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the connection was closed");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest.split(' ').next().and_then(|status| status.parse().ok());
        }
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse()?;
        }
    }
    connection.read_exact(&mut vec![0; length])?;
    status.context("no status")
}

async fn no_live_token_is_refused_and_no_revoked_one_let_in_while_tokens_are_rotated(
    engine: Engine,
) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let (server, shared) = (&bench.server, Shared::default());
    server.create(W)?;
    let (rotations, address) = (Tier::current().pick(60, 1_000), server.address());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| shared.beat(address))).collect();
        let rotated = (|| {
            for _ in 0..rotations {
                let rotated = rotate(server, W, "1h")?;
                shared.add(rotated.text_of(201, "id")?, rotated.text_of(201, "auth_token")?);
                let known = shared.known();
                let live = known.iter().filter(|token| token.state.load(Ordering::SeqCst) == IS_LIVE);
                let live: Vec<_> = live.collect();
                if live.len() <= LIVE {
                    continue;
                }
                let oldest = live.first().context("none is live")?;
                oldest.state.store(ENDS, Ordering::SeqCst);
                ensure!(revoke(server, W, &oldest.id)?.status == 204, "it was not revoked");
                oldest.state.store(IS_REVOKED, Ordering::SeqCst);
            }
            anyhow::Ok(())
        })();
        shared.is_over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        rotated
    })?;
    let (live, revoked) = (shared.live.into_inner(), shared.revoked.into_inner());
    println!(
        "{engine:?}: {rotations} rotations with overlap; {live} beats with a live token, 0 refused; \
         {revoked} with a revoked one, 0 let in"
    );
    ensure!(live > rotations && revoked > rotations, "too few beats to say anything: {live}, {revoked}");
    Ok(())
}
