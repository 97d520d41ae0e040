//! The first heartbeats of a fleet: every workspace is read once, from an empty cache, over PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold::{Answer, Database, IssueMode, Postgres, Secret, SecretCache, WorkspaceId};
use sqlx::{PgPool, Row as _};
use tokio::runtime::Runtime;

use crate::fleet::{ids, policy};
use crate::report::{Report, Table, times};
use crate::stores;
use crate::turns::now;

const ROUNDS: usize = 3;

/// The same database, with one SELECT for each workspace.
struct OneByOne(Postgres);

impl Database for OneByOne {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        self.0.select(workspace)
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        self.0.issue(workspace, mode, minted, send_by)
    }

    fn statements(&self) -> u64 {
        self.0.statements()
    }

    fn connections(&self) -> Option<usize> {
        self.0.connections()
    }
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Many misses at once",
        "Every workspace of a fleet is read once by so many callers at once, over the same pool of \
         PostgreSQL: with a SELECT for each over sqlx alone, through an empty cache that sends one for each, \
         and through one in which those that wait travel together. Microseconds for each workspace, medians \
         of three rounds.",
    );
    let runtime = Runtime::new().expect("a runtime");
    let mut table = Table::new(&[
        "workspaces",
        "callers",
        "sqlx alone",
        "one by one",
        "together",
        "times faster",
        "statements",
    ]);
    for (count, callers) in
        [(1_000, 512), (10_000, 512), (100_000, 64), (100_000, 128), (100_000, 512), (100_000, 1_000)]
    {
        let ids: Arc<[WorkspaceId]> = ids(count).into();
        let (_cluster, database) = runtime.block_on(stores::postgres(&ids)).expect("a database");
        let (mut bare, mut alone, mut together, mut statements) = (Vec::new(), Vec::new(), Vec::new(), 0);
        // Each of them costs the same: a part of the fleet is enough.
        let part: Arc<[WorkspaceId]> = ids.iter().take(20_000).cloned().collect();
        for _ in 0..ROUNDS {
            bare.push(select_all(&runtime, database.pool(), &part, callers) / part.len() as f64);
            alone.push(read_all(&runtime, OneByOne(database.clone()), &part, callers) / part.len() as f64);
            let before = database.statements();
            together.push(read_all(&runtime, database.clone(), &ids, callers) / count as f64);
            statements = statements.max(database.statements() - before);
        }
        let median = |mut nanos: Vec<f64>| {
            nanos.sort_by(f64::total_cmp);
            nanos[ROUNDS / 2]
        };
        let (bare, alone, together) = (median(bare), median(alone), median(together));
        table.row([
            count.to_string(),
            callers.to_string(),
            format!("{:.1}", bare / 1e3),
            format!("{:.1}", alone / 1e3),
            format!("{:.1}", together / 1e3),
            times(bare / together),
            statements.to_string(),
        ]);
        if count == 100_000 {
            report.at_least(&format!("together, to a SELECT each: {callers} callers"), bare / together, 5.0);
            report.at_most(&format!("statements: {callers} callers"), statements as f64, 2_000.0);
        }
    }
    report.table(&table);
}

/// Returns the milliseconds in which so many callers read a fleet of so many from an empty cache.
pub(crate) fn together_ms(count: usize, callers: usize) -> f64 {
    let runtime = Runtime::new().expect("a runtime");
    let ids: Arc<[WorkspaceId]> = ids(count).into();
    let (_cluster, database) = runtime.block_on(stores::postgres(&ids)).expect("a database");
    read_all(&runtime, database, &ids, callers) / 1e6
}

/// Returns the nanoseconds in which one SELECT for each workspace reads all of them.
fn select_all(runtime: &Runtime, pool: &PgPool, ids: &Arc<[WorkspaceId]>, callers: usize) -> f64 {
    let pool = pool.clone();
    let select = move |id: WorkspaceId| {
        let pool = pool.clone();
        async move {
            let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
            let row = sqlx::query(sql).bind(id.as_str()).fetch_one(&pool).await.expect("it has a row");
            drop(Secret::new(row.get(0)));
        }
    };
    runtime.block_on(in_turn(ids, callers, select))
}

/// Returns the nanoseconds in which an empty cache reads all of them.
fn read_all(runtime: &Runtime, database: impl Database, ids: &Arc<[WorkspaceId]>, callers: usize) -> f64 {
    runtime.block_on(async {
        let cache = SecretCache::builder().database(database).policy(policy()).build().await;
        let cache = cache.expect("the default policy");
        let read = move |id: WorkspaceId| {
            let cache = cache.clone();
            async move { drop(cache.read(&id).await.expect("it has a row")) }
        };
        in_turn(ids, callers, read).await
    })
}

/// Returns the nanoseconds in which so many callers, each sending one read after the other, read all of them.
async fn in_turn<F>(
    ids: &Arc<[WorkspaceId]>,
    callers: usize,
    read: impl Fn(WorkspaceId) -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (read, ids, next) = (read.clone(), Arc::clone(ids), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    read(id.clone()).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("it ends");
    }
    started.elapsed().as_nanos() as f64
}
