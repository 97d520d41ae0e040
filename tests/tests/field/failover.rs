//! A failover under load: the primary goes, the standby is promoted, and the server's address leads to it
//! sooner or later.
//!
//! Leased secrets are delivered throughout. Writes are refused meanwhile, and are back within two seconds; no
//! session that may only read stays behind to refuse one later. `/readyz` reports the phase.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::server::{Client, Launch, Server};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, query_scalar};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pooler::tail;
use super::ready::{Ready, becomes};

const LEASED: usize = 40;
const READERS: usize = 4;
const WRITERS: usize = 8;
/// Time within which writes have to be back.
const BACK: Duration = Duration::from_secs(2);
/// Time within which `/readyz` has to report that a phase has begun: a balancer asks no more often.
const SEEN: Duration = Duration::from_secs(2);

/// State that the load and the test share.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Number of leased heartbeats that were delivered.
    delivered: AtomicU64,
    written: AtomicU64,
    refused: AtomicU64,
    /// True from when on no write may fail.
    back: AtomicBool,
}

/// A server at an address that can be moved, and its load.
struct Failover {
    server: Server,
    proxy: Proxy,
    shared: Arc<Shared>,
    load: Vec<JoinHandle<Result<()>>>,
}

/// Sends heartbeats for workspaces whose secret and token are leased.
fn read(client: &Client, workspaces: &[(String, String, String)], shared: &Shared) -> Result<()> {
    while !shared.over.load(Ordering::SeqCst) {
        for (id, token, secret) in workspaces {
            let delivered = client.delivered(id, token).with_context(|| format!("{id} within its lease"))?;
            ensure!(delivered == *secret, "{id} was answered another secret");
            shared.delivered.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// Rotates one workspace, over and over.
fn write(client: &Client, id: &str, shared: &Shared) -> Result<()> {
    while !shared.over.load(Ordering::SeqCst) {
        let back = shared.back.load(Ordering::SeqCst);
        let answer = client.admin("POST", &format!("/workspaces/{id}/secret"), Vec::new())?;
        match answer.status {
            200 => shared.written.fetch_add(1, Ordering::SeqCst),
            503 => shared.refused.fetch_add(1, Ordering::SeqCst),
            status => anyhow::bail!("{id}: {status} {}", answer.text),
        };
        ensure!(!back || answer.status == 200, "a write after the failover: {}", answer.text);
    }
    Ok(())
}

impl Failover {
    async fn start(database: &PgConnectOptions) -> Result<Self> {
        let (proxy, address) = Proxy::start(database).await?;
        let server = Launch::new(address.to_url_lossy().as_str())?.server()?;
        let mut leased = Vec::new();
        for number in 0..LEASED {
            let id = format!("leased-{number}");
            let token = server.create(&id)?;
            let secret = server.delivered(&id, &token)?;
            leased.push((id, token, secret));
        }
        for number in 0..WRITERS {
            server.create(&format!("rotated-{number}"))?;
        }
        server.create("probe")?;
        Ok(Self { server, proxy, shared: Arc::default(), load: Vec::new() }.with_load(&leased))
    }

    fn with_load(mut self, leased: &[(String, String, String)]) -> Self {
        for _ in 0..READERS {
            let (client, leased, shared) =
                (Client::clone(&self.server), leased.to_vec(), Arc::clone(&self.shared));
            self.load.push(tokio::task::spawn_blocking(move || read(&client, &leased, &shared)));
        }
        for number in 0..WRITERS {
            let (client, shared) = (Client::clone(&self.server), Arc::clone(&self.shared));
            let id = format!("rotated-{number}");
            self.load.push(tokio::task::spawn_blocking(move || write(&client, &id, &shared)));
        }
        self
    }

    /// Checks that writes are back within their time, and that from then on none fails.
    async fn writes_are_back(&self, since: Instant) -> Result<()> {
        // Each round is a write.
        while self.server.rotate("probe").is_err() {
            let took = since.elapsed();
            ensure!(took < 4 * BACK, "no write after {took:?}: {}", tail(&self.server));
        }
        let took = since.elapsed();
        ensure!(took < BACK, "writes are back after {took:?} only");
        println!("the first write after {took:?}");
        // One of the writes that follow would meet a session that was left behind.
        tokio::time::sleep_until(since + BACK).await;
        self.shared.back.store(true, Ordering::SeqCst);
        self.more(&self.shared.written, 1_000).await
    }

    /// Waits until a count has grown by so many. Each round asks the server.
    async fn more(&self, count: &AtomicU64, more: u64) -> Result<()> {
        let enough = count.load(Ordering::SeqCst) + more;
        let (started, is_over) = (Instant::now(), || self.load.iter().any(JoinHandle::is_finished));
        while count.load(Ordering::SeqCst) < enough && !is_over() {
            ensure!(started.elapsed() < 2 * MAX_WAIT, "the load does not get on");
            self.server.get("/healthz")?;
        }
        Ok(())
    }

    async fn finish(self, promoted: &Cluster, went: Result<()>) -> Result<()> {
        let log = tail(&self.server);
        self.shared.over.store(true, Ordering::SeqCst);
        for client in self.load {
            client.await?.with_context(|| format!("its log:\n{log}"))?;
        }
        went.with_context(|| format!("its log:\n{log}"))?;
        let [delivered, written, refused] =
            [&self.shared.delivered, &self.shared.written, &self.shared.refused]
                .map(|count| count.load(Ordering::SeqCst));
        println!("{delivered} leased heartbeats, {written} writes, {refused} refused");
        // The last acknowledged secret is the one that the new primary holds.
        let mut connection = promoted.options().connect().await?;
        for number in 0..WRITERS {
            let id = format!("rotated-{number}");
            let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
            let stored: String = query_scalar(sql).bind(&id).fetch_one(&mut connection).await?;
            ensure!(self.server.secret(&id)?.0 == stored, "{id}: not what the database holds");
        }
        self.server.stop()?;
        Ok(())
    }
}

/// Creates a primary that runs and a standby that follows it.
fn pair() -> Result<(Cluster, Cluster)> {
    let primary = Cluster::create(&[])?;
    let standby = primary.standby()?;
    Ok((primary, standby))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_moves_to_a_promoted_standby_costs_no_leased_read_and_two_seconds_of_writes()
-> Result<()> {
    let (primary, standby) = pair()?;
    let failover = Failover::start(&primary.options()).await?;
    let went = async {
        failover.more(&failover.shared.written, 200).await?;
        ensure!(Ready::of(&failover.server)? == Ready::Ok, "before");
        primary.stop(Stop::Fast)?;
        becomes(&failover.server, Ready::Unavailable, SEEN).await?;
        failover.more(&failover.shared.delivered, 200).await?;
        standby.promote()?;
        ensure!(Ready::of(&failover.server)? == Ready::Unavailable, "the address has not moved yet");
        failover.proxy.point(&standby.options()).await?;
        let moved = Instant::now();
        becomes(&failover.server, Ready::Ok, SEEN).await?;
        failover.writes_are_back(moved).await?;
        ensure!(Ready::of(&failover.server)? == Ready::Ok, "afterwards");
        Ok(())
    };
    let went = went.await;
    failover.finish(&standby, went).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_in_place_costs_no_leased_read_and_two_seconds_of_writes() -> Result<()> {
    let (primary, standby) = pair()?;
    let failover = Failover::start(&primary.options()).await?;
    let went = async {
        failover.more(&failover.shared.written, 200).await?;
        ensure!(Ready::of(&failover.server)? == Ready::Ok, "before");
        primary.stop(Stop::Immediate)?;
        failover.proxy.point(&standby.options()).await?;
        becomes(&failover.server, Ready::ReadOnly, SEEN).await?;
        failover.more(&failover.shared.refused, 200).await?;
        ensure!(Ready::of(&failover.server)? == Ready::ReadOnly, "it is not promoted yet");
        standby.promote()?;
        let promoted = Instant::now();
        becomes(&failover.server, Ready::Ok, SEEN).await?;
        failover.writes_are_back(promoted).await?;
        ensure!(Ready::of(&failover.server)? == Ready::Ok, "afterwards");
        Ok(())
    };
    let went = went.await;
    failover.finish(&standby, went).await
}

/// The node that may only be read lives on, and so would the sessions with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_may_only_read_are_given_up_once_the_address_leads_to_the_primary() -> Result<()> {
    let (primary, standby) = pair()?;
    let failover = Failover::start(&primary.options()).await?;
    let went = async {
        failover.more(&failover.shared.written, 200).await?;
        failover.proxy.point(&standby.options()).await?;
        failover.proxy.cut();
        becomes(&failover.server, Ready::ReadOnly, SEEN).await?;
        failover.more(&failover.shared.refused, 200).await?;
        failover.proxy.point(&primary.options()).await?;
        let moved = Instant::now();
        becomes(&failover.server, Ready::Ok, SEEN).await?;
        failover.writes_are_back(moved).await
    };
    let went = went.await;
    failover.finish(&primary, went).await
}
