//! The first heartbeats of a fleet: every workspace is read once, from an empty cache, over PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold::{Answer, Database, IssueMode, Postgres, Secret, SecretCache, WorkspaceId};
use tokio::runtime::Runtime;

use crate::fleet::{ids, policy};
use crate::report::{Report, Table, times};
use crate::stores;
use crate::turns::now;

const ROUNDS: usize = 3;

/// The same database, one SELECT for each workspace.
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
    ) -> Answer<'a, Secret> {
        self.0.issue(workspace, mode, minted)
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
        "Every workspace of a fleet is read once, from an empty cache, by so many callers at once, over the same pool of \
         PostgreSQL: with a SELECT for each workspace, and with those that wait in one statement. Medians of three rounds.",
    );
    let runtime = Runtime::new().expect("a runtime");
    let mut table =
        Table::new(&["workspaces", "callers", "one by one", "together", "times faster", "statements"]);
    for (count, callers) in
        [(1_000, 512), (10_000, 512), (100_000, 64), (100_000, 128), (100_000, 512), (100_000, 1_000)]
    {
        let ids: Arc<[WorkspaceId]> = ids(count).into();
        let (_cluster, database) = runtime.block_on(stores::postgres(&ids)).expect("a database");
        let (mut alone, mut together, mut statements) = (Vec::new(), Vec::new(), 0);
        // Each of them costs the same: a part of the fleet will do.
        let part: Arc<[WorkspaceId]> = ids.iter().take(20_000).cloned().collect();
        for _ in 0..ROUNDS {
            alone.push(read_all(&runtime, OneByOne(database.clone()), &part, callers) / part.len() as f64);
            let before = database.statements();
            together.push(read_all(&runtime, database.clone(), &ids, callers) / count as f64);
            statements = statements.max(database.statements() - before);
        }
        let median = |mut nanos: Vec<f64>| {
            nanos.sort_by(f64::total_cmp);
            nanos[ROUNDS / 2]
        };
        let (alone, together) = (median(alone), median(together));
        table.row([
            count.to_string(),
            callers.to_string(),
            format!("{:.1} µs each", alone / 1e3),
            format!("{:.1} µs each", together / 1e3),
            times(alone / together),
            statements.to_string(),
        ]);
        if count == 100_000 && callers > 64 {
            report.at_least(&format!("together, to one by one: {callers} callers"), alone / together, 5.0);
            report.at_most(&format!("statements: {callers} callers"), statements as f64, 2_000.0);
        }
    }
    report.table(&table);
}

/// The nanoseconds in which an empty cache has read all of them.
fn read_all(runtime: &Runtime, database: impl Database, ids: &Arc<[WorkspaceId]>, callers: usize) -> f64 {
    runtime.block_on(async {
        let cache = SecretCache::builder().database(database).policy(policy()).build().await;
        let cache = cache.expect("the default policy");
        let next = Arc::new(AtomicUsize::new(0));
        let started = now();
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let (cache, ids, next) = (cache.clone(), Arc::clone(ids), Arc::clone(&next));
                tokio::spawn(async move {
                    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        cache.read(id).await.expect("it has a row");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("it ends");
        }
        started.elapsed().as_nanos() as f64
    })
}
