//! A server that is killed with SIGKILL, over and over, while clients change secrets: nothing that it has
//! acknowledged is lost, and it starts again on what it has left.
//!
//! Each workspace has one client, so that at most one request for it is in flight when the kill comes. The
//! row must then be what was acknowledged last, or what that one request makes of it; and the next server
//! must serve it. What was acknowledged is read back from a log that the clients sync before they go on. The
//! moments of the kills come from a seed; what the kernel makes of them does not, so that a run cannot be
//! repeated exactly.

mod clients;
mod rows;
mod swaps;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use leasehold_tests::acknowledged::{Log, Row};
use leasehold_tests::server::{Client, Ended, no_body};
use leasehold_tests::{Engine, MAX_WAIT, Tier};

use self::clients::{Habit, Left, Worker};
use self::rows::Site;
use crate::database::on_both;

on_both! {
    a_server_that_is_killed_while_clients_issue_loses_nothing_that_it_acknowledged,
    a_server_that_is_killed_while_it_starts_starts_again,
}

/// The workspaces, and what their clients do.
const WORKSPACES: [(&str, Habit); 6] = [
    ("rotated-0", Habit::Rotate),
    ("rotated-1", Habit::Rotate),
    ("rotated-2", Habit::Rotate),
    ("rotated-3", Habit::Rotate),
    ("healed-0", Habit::Heal),
    ("healed-1", Habit::Heal),
];

/// Maximum time that clients work in one cycle, in milliseconds from the first acknowledgement.
const LONGEST: u64 = 150;
/// Maximum number of acknowledgements in a cycle that ends after a number of them.
const MOST: u64 = 60;

async fn a_server_that_is_killed_while_clients_issue_loses_nothing_that_it_acknowledged(
    engine: Engine,
) -> Result<()> {
    let (cycles, seed) = match engine {
        Engine::Sqlite => (Tier::current().pick(15, 500), 0x5eed_0001),
        Engine::Postgres => (Tier::current().pick(8, 200), 0x5eed_0002),
    };
    let mut siege = Siege::new(engine, seed).await?;
    for cycle in 0..cycles {
        siege.cycle().await.with_context(|| format!("in cycle {cycle} of seed {seed:#x}"))?;
    }
    siege.last_look().await?;
    let Tally { acknowledged, in_flight, committed, refused } = siege.tally;
    println!(
        "{engine:?}: {cycles} SIGKILL cycles, {acknowledged} acknowledgements, {in_flight} requests in \
         flight at a kill ({committed} of them committed), {refused} refused, 0 lost"
    );
    // Without these the run would have shown nothing.
    ensure!(acknowledged >= 5 * cycles, "{acknowledged} acknowledgements in {cycles} cycles");
    ensure!(in_flight > 0, "no kill met a request");
    Ok(())
}

/// One database, and all answers that clients were ever given about it.
struct Siege {
    site: Site,
    workers: Vec<Worker>,
    log: Log,
    /// The rows as they were last read.
    held: HashMap<String, Row>,
    /// Every secret that any row has ever been known to hold.
    known: HashSet<String>,
    random: Random,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    acknowledged: u64,
    in_flight: u64,
    committed: u64,
    refused: u64,
}

impl Siege {
    async fn new(engine: Engine, seed: u64) -> Result<Self> {
        let site = Site::new(engine).await?;
        let server = site.launch.server()?;
        for (id, _) in WORKSPACES {
            server.create(id)?;
        }
        server.stop()?;
        let log = Log::create(site.launch.folder())?;
        let workers = WORKSPACES.iter().map(|&(id, habit)| Worker::new(id, habit)).collect();
        let held = WORKSPACES.iter().map(|(id, _)| ((*id).to_owned(), Row::Empty)).collect();
        let random = Random(seed);
        Ok(Self { site, workers, log, held, known: HashSet::new(), random, tally: Tally::default() })
    }

    /// Starts a server on what the last one left, lets the clients work, kills it, and looks at the rows.
    async fn cycle(&mut self) -> Result<()> {
        let server = self.site.launch.server()?;
        for (id, row) in &self.held {
            let served = served(&server, id)?;
            let expected = if *row == Row::Gone { &Row::Empty } else { row };
            ensure!(served == *expected, "{id}: {row} is stored, and a new server serves {served}");
        }
        let moment = self.random.moment();
        let client = Client::clone(&server);
        let kill = || server.kill();
        let (ended, left) = besiege(&client, &self.log, &mut self.workers, moment, kill)?;
        ensure!(!ended.log.contains("panicked"), "{}", ended.log);
        self.check(left).await
    }

    /// Holds the rows against the log.
    async fn check(&mut self, left: Vec<Left>) -> Result<()> {
        let acknowledged = self.log.fresh()?;
        self.tally.acknowledged += acknowledged.count;
        self.known.extend(acknowledged.secrets);
        let mut rows = self.site.rows().await?;
        ensure!(rows.keys().all(|id| self.held.contains_key(id)), "rows of nobody: {rows:?}");
        for Left { id, pending, refused } in left {
            let found = rows.remove(id).unwrap_or(Row::Gone);
            let expected = acknowledged.last.get(id).map_or(&self.held[id], |last| &last.row);
            self.tally.refused += refused;
            self.tally.in_flight += u64::from(pending.is_some());
            if found != *expected {
                let made = pending.is_some_and(|step| step.makes(&found, &self.known));
                ensure!(
                    made,
                    "LOST: {id} is {found}, acknowledged was {expected}, in flight was {pending:?}"
                );
                self.tally.committed += 1;
            }
            if let Row::Holds(secret) = &found {
                self.known.insert(secret.clone());
            }
            self.held.insert(id.to_owned(), found);
        }
        Ok(())
    }

    /// Checks that the rows are still the same after a server that was stopped in order.
    async fn last_look(&mut self) -> Result<()> {
        self.site.launch.server()?.stop()?;
        let rows = self.site.rows().await?;
        for (id, row) in &self.held {
            let found = rows.get(id).unwrap_or(&Row::Gone);
            ensure!(found == row, "{id} was {row} and is {found}");
        }
        Ok(())
    }
}

/// The moment of the kill, counted from the first acknowledgement.
enum Moment {
    After(Duration),
    AfterAcknowledgements(u64),
}

/// Runs the clients until `kill` has killed their server.
fn besiege(
    client: &Client,
    log: &Log,
    workers: &mut [Worker],
    moment: Moment,
    kill: impl FnOnce() -> Result<Ended>,
) -> Result<(Ended, Vec<Left>)> {
    let killing = AtomicBool::new(false);
    thread::scope(|scope| {
        let (acknowledge, acknowledged) = mpsc::channel();
        // Nothing is ever sent on it: the end of all its senders says that a client ended early.
        let (alive, ended_early) = mpsc::channel::<()>();
        let clients: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let (acknowledge, alive, killing) = (acknowledge.clone(), alive.clone(), &killing);
                scope.spawn(move || {
                    let _alive = alive;
                    worker.work(client, log, &acknowledge, killing)
                })
            })
            .collect();
        drop((acknowledge, alive));
        let waited = acknowledged.recv_timeout(MAX_WAIT).map(|()| match moment {
            Moment::After(span) => ended_early.recv_timeout(span) == Err(RecvTimeoutError::Timeout),
            Moment::AfterAcknowledgements(count) => {
                (1..count).all(|_| acknowledged.recv_timeout(MAX_WAIT).is_ok())
            }
        });
        // The flag is set before the kill: from here on a connection that breaks is intended.
        killing.store(true, Ordering::SeqCst);
        let ended = kill();
        let left =
            clients.into_iter().map(|client| client.join().expect("no panic")).collect::<Result<Vec<_>>>()?;
        ensure!(waited == Ok(true), "the clients came to a halt before the kill");
        Ok((ended?, left))
    })
}

/// Returns what a server says of a secret. It makes no difference between no row and no secret.
fn served(client: &Client, id: &str) -> Result<Row> {
    let answer = client.admin("GET", &format!("/workspaces/{id}/secret"), no_body())?;
    match answer.status {
        200 => Ok(Row::Holds(answer.text_of(200, "platform_inbound_secret")?)),
        404 => answer.refusal(404, "no_inbound_secret").map(|_| Row::Empty),
        status => bail!("{status}: {}", answer.text),
    }
}

async fn a_server_that_is_killed_while_it_starts_starts_again(engine: Engine) -> Result<()> {
    let mut random = Random(0x5eed_0003);
    for round in 0..Tier::current().pick(4, 50) {
        let site = Site::new(engine).await?;
        // Three servers on the same database: some find no table, some find it, some find what another one
        // left of it.
        for _ in 0..3 {
            let ended = site.launch.killed_within(Duration::from_millis(random.below(300)))?;
            ensure!(ended.code.is_none(), "round {round}: it ended by itself:\n{}", ended.log);
        }
        let server = site.launch.server().with_context(|| format!("round {round}"))?;
        let token = server.create("w")?;
        let secret = server.delivered("w", &token)?;
        server.kill()?;
        ensure!(site.rows().await?["w"] == Row::Holds(secret), "round {round}");
    }
    Ok(())
}

/// A SplitMix64 generator: enough to choose moments by, and no dependency.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn moment(&mut self) -> Moment {
        match self.below(2) {
            0 => Moment::After(Duration::from_millis(self.below(LONGEST + 1))),
            _ => Moment::AfterAcknowledgements(1 + self.below(MOST)),
        }
    }
}
