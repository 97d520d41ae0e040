//! A miss, beside the SELECT that it sends: one after the other, in a task as a server's handlers are.

use std::sync::Arc;
use std::time::Duration;

use leasehold::WorkspaceId;
use sqlx::Row as _;
use tokio::runtime::Runtime;

use super::turns::Side;
use super::{Fixture, Stopwatch};

pub(super) fn sides<'a>(runtime: &'a Runtime, fixture: &'a Fixture) -> anyhow::Result<Vec<Side<'a>>> {
    let pool = fixture.database.pool().clone();
    let select = move |id: WorkspaceId| {
        let pool = pool.clone();
        async move {
            let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
            let row = sqlx::query(sql).bind(id.as_str()).fetch_one(&pool).await?;
            let secret: &str = row.try_get(0)?;
            anyhow::ensure!(!secret.is_empty(), "a secret is gone");
            Ok(())
        }
    };
    let cache = runtime.block_on(fixture.cache("0s"))?;
    let read = move |id: WorkspaceId| {
        let cache = cache.clone();
        async move {
            cache.read(&id).await?;
            Ok(())
        }
    };
    Ok(vec![
        side(runtime, fixture, "the SELECT alone, over sqlx on SQLite", select),
        side(runtime, fixture, "a read that misses", read),
    ])
}

fn side<'a, F>(
    runtime: &'a Runtime,
    fixture: &'a Fixture,
    name: &str,
    action: impl Fn(WorkspaceId) -> F + Clone + Send + 'static,
) -> Side<'a>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let measure = move |span: Duration| {
        let (ids, action) = (Arc::clone(&fixture.ids), action.clone());
        let turn = runtime.spawn(async move {
            let mut stopwatch = Stopwatch::of(span);
            for id in ids.iter().cycle() {
                action(id.clone()).await?;
                stopwatch.lap();
                if stopwatch.is_over() {
                    break;
                }
            }
            anyhow::Ok(stopwatch.nanos.into())
        });
        runtime.block_on(turn)?
    };
    Side { what: "a miss", name: name.to_owned(), at_once: 1, measure: Box::new(measure) }
}
