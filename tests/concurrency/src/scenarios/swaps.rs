//! Swaps: after a swap has returned, nothing is answered under an older policy, by no hit and by no flight.

use super::{Actor, actor, run, run_actors};
use crate::WorkspaceId;
use crate::lease::Generation;
use crate::model::{Fate, Model, Policy, workspace};
use crate::sync::Arc;

/// Reads, and holds the answer against the generation that was active before it asked.
fn reads(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move {
        let generation = model.core.rollout.generation();
        answers_under(&model, &workspace, generation).await;
    })
}

async fn answers_under(model: &Arc<Model>, workspace: &WorkspaceId, generation: Generation) {
    if let Some(hit) = model.covered(workspace) {
        assert!(hit.generation >= generation, "a hit under {:?} at {generation:?}", hit.generation);
    }
    let answer = model.read(workspace).await.expect("there is a secret");
    assert!(answer.generation >= generation, "a flight of {:?} at {generation:?}", answer.generation);
}

fn swaps(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move {
        let generation = model.swap();
        answers_under(&model, &workspace, generation).await;
    })
}

/// Two readers and a swap.
pub fn after_a_swap_no_hit_and_no_flight_is_of_an_older_policy() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    run(run_actors(&model, &[&w], [reads(&model, &w), swaps(&model, &w), reads(&model, &w)]));
}

/// The same, where the policies lease the kept entry again.
pub fn after_a_swap_a_renewed_entry_is_of_the_new_policy() {
    let (model, w) = (Model::new(Policy::Renews), workspace("w"));
    model.database.found(&w);
    run(async {
        model.read(&w).await.expect("there is a secret");
        run_actors(&model, &[&w], [reads(&model, &w), swaps(&model, &w), reads(&model, &w)]).await;
    });
}

/// A reader, an issue and a swap: an issue that began under the old policy stores nothing that the new one
/// would serve.
pub fn an_issue_of_an_older_policy_is_not_served_under_the_new_one() {
    let (model, w) = (Model::new(Policy::Renews), workspace("w"));
    model.database.found(&w);
    let issues = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let issued = model.issue(&w, Fate::Committed).await.expect("it is committed");
            super::not_older(&model.read(&w).await.expect("there is a secret"), issued.version);
        })
    };
    run(run_actors(&model, &[&w], [reads(&model, &w), swaps(&model, &w), issues]));
}
