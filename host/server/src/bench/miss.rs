//! A miss, beside the SELECT that it sends: one after the other, in a task as a server's handlers are.

use std::sync::Arc;
use std::time::Duration;

use leasehold::WorkspaceId;
use sqlx::Row as _;
use tokio::runtime::Runtime;

use super::turns::Side;
use super::{Bed, Laps};

pub(super) fn sides<'a>(runtime: &'a Runtime, bed: &'a Bed) -> anyhow::Result<Vec<Side<'a>>> {
    let pool = bed.database.pool().clone();
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
    let cache = runtime.block_on(bed.cache("0s"))?;
    let read = move |id: WorkspaceId| {
        let cache = cache.clone();
        async move {
            cache.read(&id).await?;
            Ok(())
        }
    };
    Ok(vec![
        side(runtime, bed, "the SELECT alone, over sqlx on SQLite", select),
        side(runtime, bed, "a read that misses", read),
    ])
}

fn side<'a, F>(
    runtime: &'a Runtime,
    bed: &'a Bed,
    name: &str,
    action: impl Fn(WorkspaceId) -> F + Clone + Send + 'static,
) -> Side<'a>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let measure = move |span: Duration| {
        let (ids, action) = (Arc::clone(&bed.ids), action.clone());
        let turn = runtime.spawn(async move {
            let mut laps = Laps::of(span);
            for id in ids.iter().cycle() {
                action(id.clone()).await?;
                laps.lap();
                if laps.is_over() {
                    break;
                }
            }
            anyhow::Ok(laps.nanos.into())
        });
        runtime.block_on(turn)?
    };
    Side { what: "a miss", name: name.to_owned(), at_once: 1, measure: Box::new(measure) }
}
