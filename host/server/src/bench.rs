//! `leasehold bench`: the time that a hit, a miss and a heartbeat take on this machine, in a minute.
//!
//! Everything is real and the benchmark's own: a SQLite file in a temporary folder, the bundled policy `ttl`,
//! a server on a free port of loopback. Nothing that exists is touched. The sides that are compared are
//! measured in turns, because a machine has good and bad seconds. How the cache compares with others is
//! another matter: `host/cache/BENCHMARKS.md`.

mod heartbeat;
mod hit;
mod miss;
mod turns;

use clap::Args;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use leasehold::{Column, Policy, SecretCache, Sqlite, WorkspaceId};

use self::turns::{Turn, Turns};
use crate::options::PoolBounds;
use crate::print::print;
use crate::store::{Migrate, Store};

/// Number of workspaces: they do not fit the fastest memory of a processor, as those of a fleet do not.
const WORKSPACES: usize = 10_000;
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How to measure.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// How long to measure in all; the shorter, the less the numbers are worth
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    pub seconds: u32,
}

/// Parts that all sides have in common.
struct Fixture {
    ids: Arc<[WorkspaceId]>,
    database: Sqlite,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Measures, and prints a table in Markdown. Progress goes to stderr if that is a terminal.
    ///
    /// # Errors
    ///
    /// The resource that this machine does not give: a temporary folder, a port, threads.
    pub fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let fixture = runtime.block_on(Fixture::make()).context("cannot make a database to measure with")?;
        let mut sides = hit::sides(&runtime, &fixture)?;
        sides.extend(miss::sides(&runtime, &fixture)?);
        sides.extend(heartbeat::sides(&runtime, fixture.folder.path())?);
        let table = Turns::of(self.seconds).measure(sides)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        print(&format!(
            "leasehold {}, {} {}, {threads} processors, {WORKSPACES} workspaces, policy ttl\n\n{table}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
        ))
    }
}

impl Fixture {
    async fn make() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder cannot be made; TMPDIR says where")?;
        let url = database_in(folder.path());
        // The schema is the server's own.
        let (store, _) = Store::open(&url, Migrate::IfNeeded, PoolBounds::default()).await?;
        store.close().await;
        let column = Column::new("workspaces", "id", "platform_inbound_secret")?;
        let database = Sqlite::connect(&url, column).await?;
        let ids = (0..WORKSPACES).map(id).collect::<Result<Arc<[_]>, _>>()?;
        let mut filling = database.pool().begin().await?;
        for id in &*ids {
            let insert = "INSERT INTO workspaces (id, platform_inbound_secret) VALUES ($1, $2)";
            sqlx::query(insert).bind(id.as_str()).bind(SECRET).execute(&mut *filling).await?;
        }
        filling.commit().await?;
        Ok(Self { ids, database, folder })
    }

    /// Builds an empty cache whose leases last for `ttl`.
    async fn cache(&self, ttl: &str) -> anyhow::Result<SecretCache> {
        let policy = Policy::from_bytes(leasehold_policies::TTL).setting("ttl", ttl);
        Ok(SecretCache::builder().database(self.database.clone()).policy(policy).build().await?)
    }
}

fn database_in(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("bench.db").display())
}

/// Returns the id of a workspace, as long as a UUID.
fn id(number: usize) -> Result<WorkspaceId, leasehold::InvalidWorkspace> {
    WorkspaceId::new(format!("{number:08x}-0000-4000-8000-{:012x}", number * 7919))
}

/// Times of actions that are done one after the other, until the span is over.
struct Stopwatch {
    begun: Instant,
    last: Instant,
    span: Duration,
    nanos: Vec<f64>,
}

impl Stopwatch {
    fn of(span: Duration) -> Self {
        let now = turns::now();
        Self { begun: now, last: now, span, nanos: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.last.duration_since(self.begun) >= self.span
    }

    /// Notes that one more action has been done.
    fn lap(&mut self) {
        let now = turns::now();
        self.nanos.push(now.duration_since(self.last).as_nanos() as f64);
        self.last = now;
    }
}

impl From<Vec<f64>> for Turn {
    fn from(nanos: Vec<f64>) -> Self {
        Self { each: nanos.iter().sum::<f64>() / nanos.len() as f64, nanos }
    }
}
