//! Values that were read before an issue must not be seen after it: neither stored, nor joined, nor renewed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Actor, actor, not_older, run, run_actors};
use crate::model::{FAR, Fate, Model, Policy, keep_the_first_version, workspace};
use crate::sync::Arc;
use crate::{Instant, WorkspaceId};

/// The latest version that an issue has returned. The atomic is of std: a look at it is no step.
type Floor = Arc<AtomicU64>;

fn reads(model: &Arc<Model>, workspace: &WorkspaceId, floor: &Floor) -> Actor {
    let (model, workspace, floor) = (Arc::clone(model), workspace.clone(), Arc::clone(floor));
    actor(async move {
        let issued = floor.load(Ordering::Relaxed);
        not_older(&model.read(&workspace).await.expect("there is a secret"), issued);
    })
}

fn issues(model: &Arc<Model>, workspace: &WorkspaceId, floor: &Floor) -> Actor {
    let (model, workspace, floor) = (Arc::clone(model), workspace.clone(), Arc::clone(floor));
    actor(async move {
        let stamp = model.issue(&workspace, Fate::Committed).await.expect("it is committed");
        floor.fetch_max(stamp.version, Ordering::Relaxed);
        if let Some(hit) = model.covered(&workspace) {
            not_older(&hit, stamp.version);
        }
        not_older(&model.read(&workspace).await.expect("there is a secret"), stamp.version);
    })
}

fn beside_an_issue(policy: Policy, prepare: impl FnOnce(&Arc<Model>, &WorkspaceId)) {
    let (model, w, floor) = (Model::new(policy), workspace("w"), Floor::default());
    model.database.found(&w);
    prepare(&model, &w);
    let actors = [reads(&model, &w, &floor), issues(&model, &w, &floor), reads(&model, &w, &floor)];
    run(run_actors(&model, &[&w], actors));
}

/// Two readers and an issue, with nothing stored.
pub fn a_fill_beside_an_issue_stores_and_shares_nothing_older_than_the_issue() {
    beside_an_issue(Policy::Selects, |_, _| {});
}

/// The same, where the first version is stored under a lease that asks for a refresh.
pub fn a_refresh_beside_an_issue_stores_nothing_older_than_the_issue() {
    beside_an_issue(Policy::Refreshes, |model, w| keep_the_first_version(model, w, Instant::default()));
}

/// The same, where a new policy leases the kept first version again without a SELECT.
pub fn a_renewal_beside_an_issue_stores_nothing_older_than_the_issue() {
    beside_an_issue(Policy::Renews, |model, w| {
        keep_the_first_version(model, w, FAR);
        model.swap();
    });
}

/// The same, past a policy that puts what it has read and fails then: nothing of it is stored.
pub fn a_fill_past_a_policy_that_fails_stores_nothing_beside_an_issue() {
    let (model, w, floor) = (Model::new(Policy::Fails), workspace("w"), Floor::default());
    model.database.found(&w);
    let actors = [reads(&model, &w, &floor), issues(&model, &w, &floor), reads(&model, &w, &floor)];
    run(async {
        run_actors(&model, &[&w], actors).await;
        assert!(model.covered(&w).is_none(), "the put of a call that failed");
    });
}

/// Two issues of one workspace and a reader.
pub fn two_issues_and_a_fill_leave_what_the_database_holds() {
    let (model, w, floor) = (Model::new(Policy::Selects), workspace("w"), Floor::default());
    model.database.found(&w);
    let actors = [issues(&model, &w, &floor), reads(&model, &w, &floor), issues(&model, &w, &floor)];
    run(run_actors(&model, &[&w], actors));
}

/// Two callers that find no secret, and a rotation: each gets what was stored when it asked, or newer.
pub fn heals_mint_once_and_return_nothing_older_than_an_issue() {
    let (model, w, floor) = (Model::new(Policy::Selects), workspace("w"), Floor::default());
    model.database.found_empty(&w);
    let heals = || {
        let (model, w, floor) = (Arc::clone(&model), w.clone(), Arc::clone(&floor));
        actor(async move {
            let issued = floor.load(Ordering::Relaxed);
            let stamp = model.read_or_issue(&w).await.expect("it is healed");
            not_older(&stamp, issued.max(1));
            floor.fetch_max(stamp.version, Ordering::Relaxed);
        })
    };
    let actors = [heals(), issues(&model, &w, &floor), heals()];
    run(async {
        run_actors(&model, &[&w], actors).await;
        let stored = model.database.stored(&w);
        assert!(stored.is_some_and(|version| version <= 2), "a rotation and at most one heal: {stored:?}");
    });
}
