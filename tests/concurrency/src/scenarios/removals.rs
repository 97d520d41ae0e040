//! Values that were read before a removal must not be seen after it.
//!
//! The server deletes the row and then removes the entry. Once that has returned, the workspace has no
//! secret.

use super::{Actor, actor, not_older, run, run_actors};
use crate::model::{FAR, Fate, Model, Policy, keep_the_first_version, workspace};
use crate::sync::Arc;
use crate::{Error, WorkspaceId};

fn reads(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move {
        // The read sees the row from before its deletion, or none: either is right.
        let answer = model.read(&workspace).await;
        assert!(matches!(answer, Ok(_) | Err(Error::Absent)), "{answer:?}");
    })
}

async fn has_no_secret(model: &Arc<Model>, workspace: &WorkspaceId) {
    let hit = model.covered(workspace);
    assert!(hit.is_none(), "the row is gone: {hit:?}");
    let answer = model.read(workspace).await;
    assert!(matches!(answer, Err(Error::Absent)), "the row is gone: {answer:?}");
}

/// Deletes the row, and then removes the entry.
fn goes(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move {
        model.database.delete(&workspace);
        model.remove(&workspace);
        has_no_secret(&model, &workspace).await;
    })
}

/// Deletes the rows, and then drops every entry.
fn all_go(model: &Arc<Model>, workspaces: [&WorkspaceId; 2]) -> Actor {
    let (model, workspaces) = (Arc::clone(model), workspaces.map(WorkspaceId::clone));
    actor(async move {
        for workspace in &workspaces {
            model.database.delete(workspace);
        }
        model.reset();
        for workspace in &workspaces {
            has_no_secret(&model, workspace).await;
        }
    })
}

/// Returns a workspace with a secret. Where the policy renews, its entry is kept and the policy that leased
/// it is no longer active.
fn found(model: &Arc<Model>, policy: Policy, id: &str) -> WorkspaceId {
    let workspace = workspace(id);
    model.database.found(&workspace);
    if policy == Policy::Renews {
        keep_the_first_version(model, &workspace, FAR);
    }
    workspace
}

fn beside_a_removal(policy: Policy) {
    let model = Model::new(policy);
    let w = found(&model, policy, "w");
    model.swap();
    run(run_actors(&model, &[&w], [reads(&model, &w), goes(&model, &w), reads(&model, &w)]));
}

fn beside_a_reset(policy: Policy) {
    let model = Model::new(policy);
    let (w, v) = (found(&model, policy, "w"), found(&model, policy, "v"));
    model.swap();
    run(run_actors(&model, &[&w, &v], [reads(&model, &w), all_go(&model, [&w, &v]), reads(&model, &v)]));
}

/// Two readers, and a removal of the workspace.
pub fn a_fill_beside_a_removal_stores_and_shares_nothing_that_was_removed() {
    beside_a_removal(Policy::Selects);
}

/// The same, where a new policy leases the kept entry again without a SELECT.
pub fn a_renewal_beside_a_removal_stores_and_shares_nothing_that_was_removed() {
    beside_a_removal(Policy::Renews);
}

/// Readers of two workspaces, and a removal of both.
pub fn a_fill_beside_a_reset_stores_and_shares_nothing_that_was_dropped() {
    beside_a_reset(Policy::Selects);
}

/// The same, where a new policy leases the kept entries again without a SELECT.
pub fn a_renewal_beside_a_reset_stores_and_shares_nothing_that_was_dropped() {
    beside_a_reset(Policy::Renews);
}

/// A fill that a removal has voided, another one, and an issue of another process: what the voided fill
/// delivers is not followed by anything older, be the other one in flight or stored by then.
pub fn nothing_older_follows_what_a_voided_fill_delivers() {
    beside_an_issue_of_another_process(false);
}

/// The same, where the other fill has stored what it read before the issue.
pub fn nothing_older_that_is_stored_follows_what_a_voided_fill_delivers() {
    beside_an_issue_of_another_process(true);
}

fn beside_an_issue_of_another_process(reads_before_it: bool) {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let reads_twice = || {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let first = model.read(&w).await.expect("there is a secret");
            not_older(&model.read(&w).await.expect("there is a secret"), first.version);
        })
    };
    let changes = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            model.remove(&w);
            if reads_before_it {
                model.read(&w).await.expect("there is a secret");
            }
            model.database.issue_elsewhere(&w);
        })
    };
    // Of that issue the cache may know nothing: its entry is not held against the database.
    run(run_actors(&model, &[], [reads_twice(), changes, reads_twice()]));
}

/// An issue, and a removal of the workspace: what the issue had committed before is not stored after.
pub fn an_issue_beside_a_removal_stores_nothing_that_was_removed() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let issues = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let answer = model.issue(&w, Fate::Committed).await;
            assert!(matches!(answer, Ok(_) | Err(Error::UnknownWorkspace)), "{answer:?}");
        })
    };
    run(run_actors(&model, &[&w], [issues, goes(&model, &w), reads(&model, &w)]));
}
