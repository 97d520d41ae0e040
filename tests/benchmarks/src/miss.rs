//! The cost of a miss beside the statement that it sends: one after the other, in a task as a server's
//! handlers are.

use std::sync::Arc;

use anyhow::Result;
use leasehold::{Database, Policy, Secret, SecretCache, WorkspaceId};
use sqlx::Row as _;
use tokio::runtime::Runtime;

use crate::fleet::{Full, ids};
use crate::report::{Report, Table, times};
use crate::stores;
use crate::turns::{Sample, Side, in_turns, now, ratio};

const ROUNDS: usize = 15;
/// Misses of one round.
const MISSES: usize = 1_000;

const ALONE: &str = "the SELECT alone, over sqlx";
const DATABASE: &str = "through leasehold's Database";
const MISS: &str = "a read that misses";
const NO_DATABASE: &str = "a read that misses, no database";

pub(crate) fn run(report: &mut Report) {
    report.section(
        "A miss",
        "Microseconds for each of 1,000 misses, one after the other, in a task of a runtime with two \
         workers. The pool is the same for all; over sqlx it tests the connection before and after each \
         SELECT, and Leasehold's Database keeps one from a SELECT to the next for some milliseconds. What \
         the cache and the policy add is the difference between the second and the third row, and what they \
         gain against a server's own SELECT that between the first and the third. The last row has cache and \
         policy alone, over a database that answers at once.",
    );
    let runtime = Runtime::new().expect("a runtime");
    let ids: Arc<[WorkspaceId]> = ids(1_000).into();
    let (_file, database) = runtime.block_on(stores::sqlite(&ids)).expect("a file");
    let pool = database.pool().clone();
    let select = move |id: WorkspaceId| {
        let pool = pool.clone();
        async move {
            let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = ?1";
            let row = sqlx::query(sql).bind(id.as_str()).fetch_one(&pool).await.expect("it has a row");
            Secret::new(row.get(0))
        }
    };
    let samples = measure(&runtime, &ids, select, Arc::new(database));
    show(report, "SQLite", &samples);
    let median = |name: &str| samples.iter().find(|sample| sample.name == name).expect("it ran").median;
    report.at_most("what a miss adds to SQLite's SELECT, in µs", median(MISS) - median(ALONE), 3.0);
    let added = median(MISS) - median(DATABASE);
    report.at_most("the same to leasehold's own SELECT on SQLite, in µs", added, 3.0);

    let (_cluster, database) = runtime.block_on(stores::postgres(&ids)).expect("a database");
    let pool = database.pool().clone();
    let select = move |id: WorkspaceId| {
        let pool = pool.clone();
        async move {
            let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
            let row = sqlx::query(sql).bind(id.as_str()).fetch_one(&pool).await.expect("it has a row");
            Secret::new(row.get(0))
        }
    };
    let samples = measure(&runtime, &ids, select, Arc::new(database));
    show(report, "PostgreSQL over a Unix socket", &samples);
    report.at_most("a miss, to PostgreSQL's SELECT", ratio(&samples, MISS, ALONE), 1.05);
    let to_database = ratio(&samples, MISS, DATABASE);
    report.at_most("the same, to leasehold's own SELECT on PostgreSQL", to_database, 1.05);
}

fn measure<F>(
    runtime: &Runtime,
    ids: &Arc<[WorkspaceId]>,
    select: impl Fn(WorkspaceId) -> F + Clone + Send + 'static,
    database: Arc<dyn Database>,
) -> Vec<Sample>
where
    F: Future<Output = Secret> + Send,
{
    let read = |cache: Result<SecretCache, leasehold::BuildError>| {
        let cache = cache.expect("the default policy");
        move |id: WorkspaceId| {
            let cache = cache.clone();
            async move { cache.read(&id).await.expect("it has a row").secret }
        }
    };
    let (beside, inside) = (Arc::clone(&database), database);
    let through = move |id: WorkspaceId| {
        let database = Arc::clone(&beside);
        async move { database.select(&id).await.expect("it answers").expect("it has a row") }
    };
    let missing = read(runtime.block_on(never_fresh().database(inside).build()));
    let idle = read(runtime.block_on(never_fresh().database(Full).build()));
    let sides = vec![
        side(runtime, ids, ALONE, select),
        side(runtime, ids, DATABASE, through),
        side(runtime, ids, MISS, missing),
        side(runtime, ids, NO_DATABASE, idle),
    ];
    in_turns(ROUNDS, sides)
}

/// Returns a builder of a cache in which every read misses.
fn never_fresh() -> leasehold::Builder {
    SecretCache::builder().policy(Policy::from_bytes(leasehold_policies::TTL).setting("ttl", "0s"))
}

/// Returns a side that measures the microseconds of each miss of a round.
fn side<'a, F>(
    runtime: &'a Runtime,
    ids: &'a Arc<[WorkspaceId]>,
    name: &'static str,
    miss: impl Fn(WorkspaceId) -> F + Clone + Send + 'static,
) -> Side<'a>
where
    F: Future<Output = Secret> + Send,
{
    Side::new(name, move || {
        let (ids, miss) = (Arc::clone(ids), miss.clone());
        let round = runtime.spawn(async move {
            let started = now();
            for id in ids.iter().cycle().take(MISSES) {
                assert_eq!(miss(id.clone()).await.expose().len(), 43);
            }
            started.elapsed().as_nanos() as f64 / 1e3 / MISSES as f64
        });
        runtime.block_on(round).expect("it ends")
    })
}

fn show(report: &mut Report, database: &str, samples: &[Sample]) {
    let mut table = Table::new(&[database, "µs", "range", "to the SELECT alone"]);
    for Sample { name, median, least, most } in samples {
        let to = times(ratio(samples, name, ALONE));
        table.row([(*name).to_owned(), format!("{median:.1}"), format!("{least:.1} to {most:.1}"), to]);
    }
    report.table(&table);
}
