//! A hit, from as many threads as the machine runs at once, and from one.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use leasehold::{SecretCache, WorkspaceId};
use tokio::runtime::Runtime;

use super::turns::{Side, Turn, now};
use super::{Fixture, WORKSPACES};

/// Number of hits between two looks at the time; a look takes as long as a hit.
const BETWEEN_LOOKS: usize = 1_000;

type Method = fn(&SecretCache, &WorkspaceId) -> bool;

pub(super) fn sides<'a>(runtime: &Runtime, fixture: &'a Fixture) -> anyhow::Result<Vec<Side<'a>>> {
    let cache = runtime.block_on(async {
        let cache = fixture.cache("1h").await?;
        for id in &*fixture.ids {
            cache.read(id).await?;
        }
        anyhow::Ok(cache)
    })?;
    let methods: [(&str, Method); 2] = [
        ("with", |cache, id| cache.with(id, |secret| !secret.expose().is_empty()) == Some(true)),
        ("get", |cache, id| cache.get(id).is_some()),
    ];
    let all = thread::available_parallelism().map_or(1, usize::from);
    let mut sides = Vec::new();
    for threads in if all > 1 { vec![1, all] } else { vec![1] } {
        for (name, way) in methods {
            let cache = cache.clone();
            sides.push(Side {
                what: "a hit",
                name: format!("`{name}`, {threads} {}", if threads == 1 { "thread" } else { "threads" }),
                at_once: threads,
                measure: Box::new(move |span| {
                    let each = on_threads(&cache, &fixture.ids, threads, way, span)?;
                    Ok(Turn { each, nanos: Vec::new() })
                }),
            });
        }
    }
    Ok(sides)
}

/// Returns the nanoseconds that a hit takes on the slowest of the threads.
fn on_threads(
    cache: &SecretCache,
    ids: &[WorkspaceId],
    threads: usize,
    method: Method,
    span: Duration,
) -> anyhow::Result<f64> {
    let together = Barrier::new(threads);
    let run = |thread: usize| {
        // The threads start at different workspaces, and no processor foresees the order.
        let mut order = (thread * WORKSPACES / threads..).map(|number| number * 7919 % WORKSPACES);
        together.wait();
        let (begun, mut hits, mut missed) = (now(), 0_u64, false);
        loop {
            for index in order.by_ref().take(BETWEEN_LOOKS) {
                missed |= !ids.get(index).is_some_and(|id| method(cache, id));
            }
            hits += BETWEEN_LOOKS as u64;
            let took = now().duration_since(begun);
            if took >= span {
                anyhow::ensure!(!missed, "a hit was none; leases of an hour are over");
                return Ok(took.as_nanos() as f64 / hits as f64);
            }
        }
    };
    thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        let mut slowest = run(0)?;
        for other in others {
            let each = other.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            slowest = slowest.max(each);
        }
        Ok(slowest)
    })
}
