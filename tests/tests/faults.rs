//! Real faults of a real PostgreSQL, callers that leave at any moment, and more load than there is room for.
//!
//! The shared part is a table that remembers every secret that it ever held, in the order of the commits:
//! every answer of the cache is held against that. Nothing here looks into the cache. The fixtures `cluster`
//! and `proxy` bring the faults about.

mod cancel;
mod cluster;
mod outage;
mod overload;
mod proxy;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold::{Builder, Column, Error, ManualClock, Policy, Postgres, SecretCache, WorkspaceId};
use leasehold_tests::MAX_WAIT;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

/// Maximum number of loads that the caches over a scripted database may have in flight at once.
const MAX_SELECTS: u64 = 8;

/// The table of the tests, and beside it all that its secrets have ever been. The trigger runs under the
/// row's lock, so the history of one workspace is in the order of its commits.
const TABLES: &str = "
    CREATE TABLE workspaces (id TEXT PRIMARY KEY, platform_inbound_secret TEXT);
    CREATE TABLE history (seq BIGSERIAL PRIMARY KEY, id TEXT NOT NULL, secret TEXT);
    CREATE INDEX ON history (id);
    CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO history (id, secret) VALUES (NEW.id, NEW.platform_inbound_secret); \
        RETURN NULL; END $$;
    CREATE TRIGGER remember AFTER INSERT OR UPDATE ON workspaces FOR EACH ROW EXECUTE FUNCTION remember()";

/// Returns a builder with the settings that all caches under test share.
fn builder() -> Builder {
    SecretCache::builder().policy(Policy::from_bytes(leasehold_policies::TTL).setting("jitter", "0s"))
}

/// Returns the number of workspaces with a task in flight. A caller that is gone may leave none behind.
fn in_flight(cache: &SecretCache) -> u64 {
    cache.stats().in_flight
}

/// A cache over a real database, and a connection to the database past both.
struct TestBed {
    cache: SecretCache,
    clock: Arc<ManualClock>,
    /// The connections that the cache uses.
    pool: PgPool,
    outside: PgPool,
}

/// Limits under which a test bed is made.
struct Limits {
    /// Maximum number of connections, and the time for which one is waited for; without it the cache opens
    /// its own.
    pool: Option<(u32, Duration)>,
    answer: Duration,
}

impl Limits {
    /// Returns limits for a test that is not about time: on a busy machine it must not fail because something
    /// was slow.
    fn patient(connections: u32) -> Self {
        Self { pool: Some((connections, MAX_WAIT)), answer: MAX_WAIT }
    }

    /// Returns the limits that a server has by default.
    fn default_ones() -> Self {
        Self { pool: None, answer: Duration::from_secs(1) }
    }
}

impl TestBed {
    /// Makes the tables over `outside`, and a cache that connects as `inside` says.
    async fn new(outside: PgConnectOptions, inside: PgConnectOptions, limits: Limits) -> Result<Self> {
        let outside = PgPoolOptions::new()
            .max_connections(3)
            .acquire_timeout(MAX_WAIT)
            .connect_lazy_with(outside.application_name("test"));
        sqlx::raw_sql(TABLES).execute(&outside).await?;
        let inside = inside.application_name("leasehold");
        let column = Column::new("workspaces", "id", "platform_inbound_secret")?;
        let database = match limits.pool {
            None => Postgres::connect(inside.to_url_lossy().as_str(), column).await?,
            Some((connections, acquire)) => {
                let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(acquire);
                let inside = inside.options([("statement_timeout", "30s")]);
                Postgres::from_pool(pool.connect_lazy_with(inside), column).await?
            }
        };
        let pool = database.pool().clone();
        let clock = Arc::new(ManualClock::new());
        let cache = builder()
            .database(database)
            .clock(Arc::clone(&clock))
            .database_timeout(limits.answer)
            .build()
            .await?;
        Ok(Self { cache, clock, pool, outside })
    }

    /// Stores workspaces called `prefix` with the numbers from zero on, each with the secret `old-` and its
    /// own name.
    async fn rows(&self, prefix: &str, count: i32) -> Result<Vec<WorkspaceId>> {
        let sql =
            "INSERT INTO workspaces SELECT $1 || n, 'old-' || $1 || n FROM generate_series(0, $2 - 1) n";
        sqlx::query(sql).bind(prefix).bind(count).execute(&self.outside).await?;
        (0..count).map(|n| Ok(WorkspaceId::new(format!("{prefix}{n}"))?)).collect()
    }

    /// Returns what the database holds. `None` is no row or NULL.
    async fn stored(&self, workspace: &WorkspaceId) -> Result<Option<String>> {
        let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
        let row: Option<Option<String>> =
            sqlx::query_scalar(sql).bind(workspace.as_str()).fetch_optional(&self.outside).await?;
        Ok(row.flatten())
    }

    /// Returns every secret that the workspace ever had, with its place in their order.
    async fn history(&self, workspace: &WorkspaceId) -> Result<HashMap<String, i64>> {
        let sql = "SELECT secret, max(seq) FROM history WHERE id = $1 AND secret IS NOT NULL GROUP BY secret";
        let rows: Vec<(String, i64)> =
            sqlx::query_as(sql).bind(workspace.as_str()).fetch_all(&self.outside).await?;
        Ok(rows.into_iter().collect())
    }

    /// Returns what the cache answers.
    async fn read(&self, workspace: &WorkspaceId) -> Result<String, Error> {
        self.cache.read(workspace).await.map(|lookup| text(&lookup.secret))
    }

    /// Issues, which has to succeed and to be in the database.
    async fn issue(&self, workspace: &WorkspaceId) -> Result<String> {
        let issued = within("an issue", self.cache.issue(workspace)).await??;
        let issued = text(&issued);
        ensure!(self.stored(workspace).await? == Some(issued.clone()), "an acknowledged issue is lost");
        Ok(issued)
    }

    /// Returns the server processes behind the cache's connections.
    async fn sessions(&self) -> Result<Vec<i32>> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'leasehold' ORDER BY pid";
        Ok(sqlx::query_scalar(sql).fetch_all(&self.outside).await?)
    }

    /// Returns how many of the cache's sessions are in this state, `active` or the like.
    async fn sessions_in(&self, state: &str) -> Result<i64> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'leasehold' AND state LIKE $1";
        Ok(sqlx::query_scalar(sql).bind(state).fetch_one(&self.outside).await?)
    }

    /// Waits until `count` of the cache's statements wait for a lock. Each round asks the server.
    async fn blocked(&self, count: i64) -> Result<()> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'leasehold' AND wait_event_type = 'Lock'";
        let blocked = async {
            while sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.outside).await? < count {}
            anyhow::Ok(())
        };
        within("a statement that waits for a lock", blocked).await?
    }

    /// Ends the cache's sessions in the server, waits until they are gone, and returns their number.
    async fn terminate(&self) -> Result<usize> {
        // The function is in the list, not in the condition, which the server may evaluate in any order.
        let sql = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'leasehold'";
        let ended: Vec<(i32, bool)> = sqlx::query_as(sql).fetch_all(&self.outside).await?;
        let gone = async {
            while self.sessions().await?.iter().any(|pid| ended.iter().any(|(ended, _)| ended == pid)) {}
            anyhow::Ok(())
        };
        within("the end of the sessions", gone).await??;
        Ok(ended.len())
    }

    /// Waits until the server has finished its work for the cache, over connections that are gone as well.
    async fn server_is_idle(&self) -> Result<()> {
        let idle = async {
            while self.sessions_in("active").await? > 0 {}
            anyhow::Ok(())
        };
        within("the server to be idle", idle).await?
    }
}

/// Waits for an event that has to come, and names it if it does not.
async fn within<F: Future>(what: &str, future: F) -> Result<F::Output> {
    let answer = tokio::time::timeout(MAX_WAIT, future).await;
    answer.with_context(|| format!("no end after {MAX_WAIT:?}: {what}"))
}

fn text(secret: &leasehold::Secret) -> String {
    secret.expose_str().expect("a secret is text").to_owned()
}

fn id(text: &str) -> WorkspaceId {
    WorkspaceId::new(text).expect("a usable id")
}

/// Numbers that look random and come again with their seed.
struct Dice(u64);

impl Dice {
    /// Returns a number below `bound`: SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
