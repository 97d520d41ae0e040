//! A load of heartbeats, creates and deletes, and the judgement of its answers.
//!
//! The rows of the heartbeats are made here and changed by no other program, so that every answer can be held
//! against them. The judgement is about what an operator would call damage: a secret that is not the row's, a
//! token that is refused, a row that is gone or back. An error is none of these, and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::server::{Answer, Client, no_body};
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Number of rows for which heartbeats are sent.
pub(super) const ROWS: usize = 400;
const CLIENTS: usize = 10;
/// Number of heartbeats that are waited for at a time.
const BEATS_FOR_A_WAIT: u64 = 5_000;
/// Number of heartbeats after which a client creates a workspace, beats for it, and deletes it.
const BEATS_FOR_A_CREATE: usize = 10;

/// The contents of the rows, by their ids.
pub(super) type Rows = BTreeMap<String, Option<String>>;

/// Makes the rows, in place of all that there are. Every eighth row has no secret yet.
pub(super) async fn make_rows(pool: &PgPool) -> Result<Rows> {
    sqlx::raw_sql("TRUNCATE workspaces CASCADE").execute(pool).await?;
    let sql = "INSERT INTO workspaces (id, platform_inbound_secret) \
               SELECT 'w' || n, CASE WHEN n % 8 > 0 THEN 'secret-of-w' || n END \
               FROM generate_series(0, $1 - 1) AS n";
    sqlx::query(sql).bind(i32::try_from(ROWS)?).execute(pool).await?;
    let sql = "INSERT INTO workspace_tokens (workspace_id, token_hash) \
               SELECT id, encode(sha256(convert_to('token-of-' || id, 'UTF8')), 'hex') FROM workspaces";
    sqlx::query(sql).execute(pool).await?;
    rows(pool).await
}

/// Returns the rows as they are.
pub(super) async fn rows(pool: &PgPool) -> Result<Rows> {
    let sql = "SELECT id, platform_inbound_secret FROM workspaces";
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(sql).fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

/// Returns the token of one of the rows.
pub(super) fn token(id: &str) -> String {
    format!("token-of-{id}")
}

/// Clients at work until they are stopped.
pub(super) struct Load {
    /// The pool through which the rows can be read beside the server.
    pool: PgPool,
    made: Rows,
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Result<Seen>>>,
    started: Instant,
}

struct Shared {
    over: AtomicBool,
    counts: watch::Sender<Counts>,
}

/// Counts of the answers to heartbeats so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    beats: u64,
    /// Answers with a secret, right or wrong.
    delivered: u64,
}

/// The observations of one client, or of all of them.
#[derive(Debug, Default)]
struct Seen {
    secrets: BTreeMap<String, BTreeSet<String>>,
    /// Heartbeats without their secret.
    secretless: u64,
    created: u64,
    deleted: u64,
    /// Answers that are errors, by what they say.
    errors: BTreeMap<String, u64>,
    damage: Vec<String>,
}

/// The outcome of a load.
pub(super) struct Outcome {
    beats: u64,
    delivered: u64,
    seen: Seen,
    /// Rows that are gone without a delete.
    lost: usize,
    took: Duration,
}

impl Load {
    /// Starts the clients of a server, whose rows were `made`.
    pub(super) fn start(client: &Client, pool: &PgPool, made: &Rows) -> Self {
        let shared =
            Arc::new(Shared { over: AtomicBool::new(false), counts: watch::channel(Counts::default()).0 });
        let clients = (0..CLIENTS).map(|number| {
            let work = Work {
                number,
                client: client.clone(),
                pool: pool.clone(),
                shared: Arc::clone(&shared),
                seen: Seen::default(),
            };
            let handle = Handle::current();
            tokio::task::spawn_blocking(move || work.run(&handle))
        });
        let clients = clients.collect();
        Self { pool: pool.clone(), made: made.clone(), shared, clients, started: Instant::now() }
    }

    /// Waits for so many more heartbeats, whatever their answers.
    pub(super) async fn beats(&self, more: u64) -> Result<()> {
        self.until(more, |counts| counts.beats).await.context("the load does not get on")
    }

    /// Waits for so many more heartbeats that are answered with a secret.
    pub(super) async fn deliveries(&self, more: u64) -> Result<()> {
        self.until(more, |counts| counts.delivered).await.context("no secrets are delivered")
    }

    async fn until(&self, more: u64, count: fn(&Counts) -> u64) -> Result<()> {
        let mut counts = self.shared.counts.subscribe();
        let mut so_far = count(&counts.borrow());
        let enough = so_far + more;
        while so_far < enough && !self.shared.over.load(Ordering::SeqCst) {
            // A machine may be slow; it is not to stand still.
            let next = enough.min(so_far + BEATS_FOR_A_WAIT);
            let wait =
                counts.wait_for(|counts| count(counts) >= next || self.shared.over.load(Ordering::SeqCst));
            so_far = tokio::time::timeout(MAX_WAIT * 4, wait).await?.map(|counts| count(&counts))?;
        }
        Ok(())
    }

    /// Runs for at least this span and this many heartbeats.
    pub(super) async fn run_for(self, span: Duration, beats: u64) -> Result<Outcome> {
        let (enough, _) = tokio::join!(self.beats(beats), tokio::time::sleep_until(self.started + span));
        enough?;
        self.finish().await
    }

    /// Stops the clients, and judges what they have seen.
    pub(super) async fn finish(self) -> Result<Outcome> {
        self.shared.over.store(true, Ordering::SeqCst);
        let mut seen = Seen::default();
        for client in self.clients {
            seen.join(client.await??);
        }
        let now = rows(&self.pool).await?;
        let lost = self.made.keys().filter(|id| !now.contains_key(*id)).count();
        for (id, made) in &self.made {
            let Some(row) = now.get(id) else { continue };
            if made.is_some() && made != row {
                seen.damage.push(format!("the row of {id} held {made:?} and holds {row:?}"));
            }
            for secret in seen.secrets.get(id).into_iter().flatten() {
                if Some(secret) != row.as_ref() {
                    seen.damage.push(format!("{id} was answered {secret:?}, and its row holds {row:?}"));
                }
            }
        }
        let Counts { beats, delivered } = *self.shared.counts.borrow();
        Ok(Outcome { beats, delivered, seen, lost, took: self.started.elapsed() })
    }
}

impl Outcome {
    /// Checks that nothing was wrong and nothing is gone. There may have been errors.
    pub(super) fn is_undamaged(&self) -> Result<()> {
        let few: Vec<_> = self.seen.damage.iter().take(5).collect();
        ensure!(self.lost == 0 && few.is_empty(), "{self}; such as {few:#?}");
        Ok(())
    }

    /// Checks that as well, and that the server was of use: a request in a hundred may have been turned away,
    /// on a machine that is busy.
    pub(super) fn is_service(&self) -> Result<()> {
        self.is_undamaged()?;
        let amiss = self.seen.secretless + self.errors();
        ensure!(amiss * 100 <= self.beats, "{self}; errors: {:#?}", self.seen.errors);
        ensure!(self.delivered > 0 && self.seen.deleted > 0, "there was no load: {self}");
        Ok(())
    }

    fn errors(&self) -> u64 {
        self.seen.errors.values().sum()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} beats in {:.1} s, {} with a secret, {} without; {} created, {} deleted; {} errors, \
             {} damaged, {} rows lost",
            self.beats,
            self.took.as_secs_f64(),
            self.delivered,
            self.seen.secretless,
            self.seen.created,
            self.seen.deleted,
            self.errors(),
            self.seen.damage.len(),
            self.lost,
        )
    }
}

impl Seen {
    fn join(&mut self, other: Self) {
        for (id, secrets) in other.secrets {
            self.secrets.entry(id).or_default().extend(secrets);
        }
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.secretless += other.secretless;
        self.created += other.created;
        self.deleted += other.deleted;
        self.damage.extend(other.damage);
    }

    fn error(&mut self, request: &str, answer: &Answer) {
        // The text is without the ids, which would make each error another one.
        let text = answer.text.replace(|c: char| c.is_ascii_digit(), "");
        *self.errors.entry(format!("{request}: {} {text}", answer.status)).or_default() += 1;
    }
}

/// One client.
struct Work {
    number: usize,
    client: Client,
    pool: PgPool,
    shared: Arc<Shared>,
    seen: Seen,
}

impl Work {
    fn run(mut self, handle: &Handle) -> Result<Seen> {
        for turn in 0.. {
            if self.shared.over.load(Ordering::SeqCst) {
                break;
            }
            // Each client goes through all of them in an order of its own.
            let id = format!("w{}", (turn * 7 + self.number * 41) % ROWS);
            if let Some(secret) = self.beat(&id, &token(&id))? {
                self.seen.secrets.entry(id).or_default().insert(secret);
            }
            if turn % BEATS_FOR_A_CREATE == 0 {
                self.come_and_go(&format!("guest-{}-{turn}", self.number), handle)?;
            }
        }
        Ok(self.seen)
    }

    /// Sends a heartbeat, and returns the secret if there was one.
    fn beat(&mut self, id: &str, token: &str) -> Result<Option<String>> {
        let answer = self.client.heartbeat(id, token)?;
        let secret = match answer.status {
            200 => answer.json(200)?["platform_inbound_secret"].as_str().map(str::to_owned),
            _ => None,
        };
        self.shared.counts.send_modify(|counts| {
            counts.beats += 1;
            counts.delivered += u64::from(secret.is_some());
        });
        match answer.status {
            200 if secret.is_some() => {}
            200 => self.seen.secretless += 1,
            401 => self.seen.damage.push(format!("the token of {id} was refused")),
            _ => self.seen.error("a heartbeat", &answer),
        }
        if answer.text.contains("unknown_workspace") {
            self.seen.damage.push(format!("{id} was unknown: {}", answer.text));
        }
        Ok(secret)
    }

    /// Makes a workspace, beats for it and deletes it, looking at its row each time.
    fn come_and_go(&mut self, id: &str, handle: &Handle) -> Result<()> {
        let body = serde_json::json!({ "id": id }).to_string();
        let answer = self.client.admin("POST", "/workspaces", body.into())?;
        if answer.status != 201 {
            if answer.status == 409 {
                self.seen.damage.push(format!("{id} was there before it was made"));
            }
            self.seen.error("a create", &answer);
            return Ok(());
        }
        self.seen.created += 1;
        let token = answer.text_of(201, "auth_token")?;
        let delivered = self.beat(id, &token)?;
        let row = handle.block_on(self.row(id))?;
        if row.is_none() {
            self.seen.damage.push(format!("{id} was made, and has no row"));
        } else if delivered.is_some() && row != Some(delivered.clone()) {
            self.seen.damage.push(format!("{id} was answered {delivered:?}, and its row holds {row:?}"));
        }
        let answer = self.client.admin("DELETE", &format!("/workspaces/{id}"), no_body())?;
        if answer.status != 204 {
            if answer.status == 404 {
                self.seen.damage.push(format!("{id} was gone before it was deleted"));
            }
            self.seen.error("a delete", &answer);
            return Ok(());
        }
        self.seen.deleted += 1;
        if let Some(row) = handle.block_on(self.row(id))? {
            self.seen.damage.push(format!("{id} was deleted, and its row holds {row:?}"));
        }
        Ok(())
    }

    /// Returns a row as it is; the outer `None` is no row.
    async fn row(&self, id: &str) -> Result<Option<Option<String>>> {
        let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
        Ok(sqlx::query_scalar(sql).bind(id).fetch_optional(&self.pool).await?)
    }
}
