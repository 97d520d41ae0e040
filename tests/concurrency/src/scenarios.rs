//! Concurrent actions, and the properties that must hold for every interleaving.
//!
//! A scenario is one function that shuttle runs anew for each interleaving: it builds a model, lets a few
//! actors run, and asserts. It has no clock, no randomness and no environment, or a schedule could not be
//! replayed.

pub mod active;
pub mod callers;
pub mod entries;
pub mod fills;
pub mod register;
pub mod removals;
pub mod swaps;
pub mod writers;

use std::pin::Pin;

use shuttle::future::{block_on, spawn};

use crate::WorkspaceId;
use crate::model::{Model, Stamp};
use crate::sync::Arc;

/// A future that acts at the same time as the others.
type Actor = Pin<Box<dyn Future<Output = ()> + Send>>;

fn actor(does: impl Future<Output = ()> + Send + 'static) -> Actor {
    Box::pin(does)
}

/// Lets the actors run, waits for them and for the tasks they left behind, and holds what they left against
/// the database.
async fn run_actors<const N: usize>(model: &Arc<Model>, workspaces: &[&WorkspaceId], actors: [Actor; N]) {
    let actors = actors.map(spawn);
    for actor in actors {
        // An actor that was cancelled early has ended.
        let _ = actor.await;
    }
    model.settle().await;
    assert_eq!(model.core.flights.len(), 0, "something is left under way");
    for workspace in workspaces {
        agrees(model, workspace);
    }
    // A refresh that this read asked for.
    model.settle().await;
}

/// Runs a scenario's future to its end.
fn run(scenario: impl Future<Output = ()>) {
    block_on(scenario);
}

/// Asserts that the cache would answer with what the database holds, or ask.
fn agrees(model: &Arc<Model>, workspace: &WorkspaceId) {
    if let Some(stamp) = model.covered(workspace) {
        assert_eq!(
            Some(stamp.version),
            model.database.stored(workspace),
            "the cache and the database differ"
        );
        assert_eq!(stamp.workspace, workspace.as_str(), "another workspace's secret");
    }
}

/// Panics if `seen` is older than `floor`: than what an issue or a read had returned before the read began.
fn not_older(seen: &Stamp, floor: u64) {
    assert!(seen.version >= floor, "version {} is older than {floor}, which was known", seen.version);
}
