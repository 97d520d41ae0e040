//! One cache over one database, in rounds: callers at random, then the rules, then the checks at rest.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use leasehold::{Cause, Error, Lookup, SecretCache};
use leasehold_checker::{Author, Content, Did, History, Judge, Operation, ValueId};
use leasehold_tests::{Engine, MAX_WAIT, Tier};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

use crate::caller::{Caller, Weather};
use crate::policies;
use crate::site::{Site, Triggers};
use crate::slow::{Losses, Slow};
use crate::tally::Tally;
use crate::world::{Log, WORKSPACES, World, content, text};
use crate::writer::{PREFIX, Write, Writer};

/// Operations that are kept in memory at once.
const ROUND: u64 = 100_000;
/// Minimum number of rounds: after all but the last there is a rest.
const ROUNDS: u64 = 2;

/// Keys that are presented at rest, one after the other.
const PRESENTED: usize = 16;

/// Time limit of a rest: longer than the cache waits for the end of an issue whose outcome is unknown.
const MAX_DOUBT: Duration = Duration::from_secs(120);

/// Nanoseconds before and after a violation for which the other operations on its row are reported.
const AROUND: u64 = 5_000_000;

/// Number of callers, more than the processors and the connections: some wait for others.
const CALLERS: u64 = 24;

/// Limit of a lease, shorter than a round, so that leases end, and with too little room for all workspaces.
const MAX_FRESH: Duration = Duration::from_millis(700);
const MAX_KEEP: Duration = Duration::from_millis(1_500);
const CAPACITY: usize = WORKSPACES * 3 / 4;

/// Time for which a value may be answered after it has left its row: the time for which it may be kept, and
/// three times the time for which the database may be waited for. It may be obtained by an issue whose answer
/// is late, and found kept by a load that waits for its turn and for an answer, and that others join
/// meanwhile.
const LONGEST: Duration = Duration::from_millis(1_500 + 3 * 1_000);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) engine: Engine,
    pub(crate) pool: u32,
    pub(crate) triggers: Triggers,
    pub(crate) operations: u64,
    pub(crate) seed: u64,
}

/// A running segment.
struct Segment {
    world: Arc<World>,
    writer: Option<Writer>,
    history: History,
    judge: Judge,
    rng: fastrand::Rng,
    tally: Tally,
}

/// Runs a segment. An error is a rule that was broken, or a failure that kept the segment from being run.
pub(crate) async fn run(plan: &Plan) -> Result<Tally> {
    let site = Site::create(plan.engine, plan.triggers).await?;
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let began = Instant::now();
    let losses = Arc::new(Losses::new(began));
    let cache = SecretCache::builder()
        .database(Slow::new(site.connect(plan.pool).await?, rng.fork(), Arc::clone(&losses)))
        .policy(policies::first())
        .max_fresh(MAX_FRESH)
        .max_keep(MAX_KEEP)
        .max_absent(MAX_FRESH)
        .capacity(CAPACITY)
        // A rehearsal would refuse a broken cache before any caller could see that it is broken.
        .rehearsal(false)
        .on_policy_change(|change| {
            if matches!(change.record.cause, Cause::Breaker | Cause::Probation) {
                crate::print(&format!("checker: a policy was taken back: {:?}\n", change.record));
            }
        })
        .build()
        .await?;
    let world = Arc::new(World::new(cache, began, losses, site.transactions()));
    // Each of them is accepted, so that a swap that is refused later is one of other settings.
    for policy in &world.policies {
        world.cache.swap(policy.clone()).await?;
    }
    world.cache.swap(policies::first()).await?;
    let mut writer = Writer::new(site.outside().await?, Arc::clone(&world));
    for workspace in 0..WORKSPACES {
        writer.write(Write::Insert(workspace)).await?;
    }
    let mut segment = Segment {
        world,
        writer: Some(writer),
        history: History::new(WORKSPACES),
        judge: Judge::new(WORKSPACES, LONGEST.as_nanos().try_into()?),
        rng,
        tally: Tally::default(),
    };
    let rounds = plan.operations.div_ceil(ROUND).max(ROUNDS);
    for round in 1..=rounds {
        // After issues whose outcome is unknown there is no rest for half a minute: the last round
        // has them, and the rest after it is for the long form.
        let is_last = round == rounds;
        segment.world.losses.allow(is_last);
        let clears = is_last || plan.triggers == Triggers::Hidden;
        segment.round(plan.operations.div_ceil(rounds), Weather { clears, cuts: is_last }).await?;
        if !is_last {
            segment.rest().await?;
        }
    }
    segment.writer().check_rows().await?;
    if Tier::current() == Tier::Long {
        segment.rest().await?;
    }
    segment.count_cache();
    Ok(segment.tally)
}

impl Segment {
    /// Lets callers make so many operations, and holds what they saw against the rules.
    async fn round(&mut self, operations: u64, weather: Weather) -> Result<()> {
        self.world.begin_round(operations);
        let (tx, rx) = mpsc::channel(64);
        let writer = self.writer.take().context("the writer has failed")?;
        let writer = tokio::spawn(writer.run(rx));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (world, writes) = (Arc::clone(&self.world), tx.clone());
            callers.spawn(Caller { world, writes, rng: self.rng.fork(), log: Log::default(), weather }.run());
        }
        drop(tx);
        let mut seen = Vec::new();
        while let Some(log) = callers.join_next().await {
            let log = log.context("a caller has failed")?;
            seen.extend(log.operations);
            self.tally.add(&log.tally);
        }
        self.writer = Some(writer.await??);
        self.judge(seen).await
    }

    /// Checks what must hold once nothing is in flight: the cache answers what it has stored last; after a
    /// reset, and after a swap to a policy that leases nothing, it answers what the row holds. And no row has
    /// come or gone.
    async fn rest(&mut self) -> Result<()> {
        self.stillness().await?;
        self.judge(Vec::new()).await?;
        self.settle(|history, workspace| history.last_of_cache(workspace));
        self.read_all().await?;

        self.world.cache.reset();
        self.settle(History::last);
        self.read_all().await?;

        self.world.cache.swap(policies::longest()).await?;
        self.read_all().await?;
        self.writer().update_all().await?;
        self.world.cache.swap(policies::passthrough()).await?;
        self.judge(Vec::new()).await?;
        self.settle(History::last);
        self.read_all().await?;
        self.world.cache.swap(policies::first()).await?;
        self.writer().check_rows().await
    }

    /// Waits until no load and no issue is in flight, including those of callers that have dropped them.
    async fn stillness(&self) -> Result<()> {
        let patience = Instant::now() + MAX_DOUBT;
        while self.world.cache.stats().in_flight > 0 {
            ensure!(Instant::now() < patience, "there is no rest: {:?}", self.world.cache.stats());
            yield_now().await;
        }
        Ok(())
    }

    fn settle(&mut self, position: impl Fn(&History, usize) -> u32) {
        let now = self.world.now();
        for workspace in 0..WORKSPACES {
            self.judge.settle(workspace, position(&self.history, workspace), now);
        }
    }

    /// Reads every workspace; of some it presents keys that were seen before that, and after it the key that
    /// was answered.
    async fn read_all(&mut self) -> Result<()> {
        let (world, mut log) = (Arc::clone(&self.world), Log::default());
        for _ in 0..PRESENTED {
            let workspace = self.rng.usize(..WORKSPACES);
            if let Some(key) = world.recall(workspace, &mut self.rng) {
                verify(&world, &mut log, workspace, &key).await?;
            }
        }
        let (patience, mut left) = (Instant::now() + MAX_WAIT, (0..WORKSPACES).collect::<Vec<_>>());
        // A machine that is busy with something else may make a database late, and so may a connection that
        // was cut; but each of them is answered in the end.
        while !left.is_empty() {
            ensure!(Instant::now() < patience, "{} workspaces are not answered at rest", left.len());
            let ids: Vec<_> = left.iter().map(|workspace| world.ids[*workspace].clone()).collect();
            let start = world.now();
            let answers = world.cache.get_many(&ids).await;
            let span = (start, world.now());
            for (workspace, answer) in std::mem::take(&mut left).into_iter().zip(answers) {
                match answer {
                    Ok(Lookup { secret, .. }) => {
                        log.note(workspace, span, Did::Answered(content(&secret)));
                        if self.rng.usize(..WORKSPACES) < PRESENTED {
                            verify(&world, &mut log, workspace, text(&secret)).await?;
                        }
                    }
                    Err(Error::Absent) => log.note(workspace, span, Did::Answered(Content::Absent)),
                    Err(error) if error.is_transient() => left.push(workspace),
                    Err(error) => bail!("a read at rest has failed: {error}"),
                }
            }
        }
        self.judge(log.operations).await
    }

    /// Holds what was seen, and what the writer did meanwhile, against the commits up to now.
    async fn judge(&mut self, mut seen: Vec<Operation>) -> Result<()> {
        let written = self.writer().take_log();
        seen.extend(written.operations);
        seen.extend(self.world.losses.take());
        for (id, secret) in self.writer().outside.take_history().await? {
            let workspace = id.strip_prefix('w').context("another row")?.parse()?;
            let secret = secret.filter(|secret| !secret.is_empty());
            let is_minted = secret.as_ref().is_some_and(|secret| !secret.starts_with(PREFIX));
            let author = if is_minted { Author::Cache } else { Author::Other };
            let committed = self.history.commit(workspace, secret.as_deref().map(ValueId::of), author);
            ensure!(committed.is_ok(), "a value was committed twice: {committed:?}");
        }
        let violations = self.judge.judge(&self.history, seen.clone());
        if let Some(first) = violations.first() {
            let more: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
            let around = around(&seen, first.operation);
            bail!("{} violations, the first: {first}\n{}\n{around}", violations.len(), more.join("\n"));
        }
        Ok(())
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("it is away during a round only")
    }

    fn count_cache(&mut self) {
        let stats = self.world.cache.stats();
        for (name, count) in
            stats.named().filter(|(name, _)| !matches!(*name, "entries" | "held" | "in_flight"))
        {
            *self.tally.others.entry(name).or_default() += count;
        }
    }
}

/// Returns the operations on this operation's row within some milliseconds of it.
fn around(seen: &[Operation], of: Operation) -> String {
    let from = of.span.start.saturating_sub(AROUND);
    let is_near = |other: &&Operation| {
        other.workspace == of.workspace && other.span.end >= from && other.span.start <= of.span.end + AROUND
    };
    let mut near: Vec<&Operation> = seen.iter().filter(is_near).collect();
    near.sort_unstable_by_key(|operation| operation.span.start);
    let line = |Operation { span, did, .. }: &Operation| format!("{} to {}: {did:?}", span.start, span.end);
    near.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn verify(world: &World, log: &mut Log, workspace: usize, key: &str) -> Result<()> {
    let start = world.now();
    let verified = world.cache.verify(&world.ids[workspace], key.as_bytes()).await;
    let span = (start, world.now());
    match verified {
        Ok(matches) => log.note(workspace, span, Did::Verified(ValueId::of(key), matches)),
        Err(error) if error.is_transient() => {}
        Err(error) => bail!("a key cannot be verified at rest: {error}"),
    }
    Ok(())
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, a pool of {}, {}", self.engine, self.pool, self.triggers)
    }
}
