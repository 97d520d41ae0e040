//! Issues take turns. An issue that gives up, or whose outcome is unknown, blocks no other and leaves nothing
//! behind.

use super::{Actor, actor, not_older, run, run_actors};
use crate::model::{Fate, Model, Policy, workspace};
use crate::sync::Arc;
use crate::{Error, WorkspaceId};

fn issues(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move {
        let issued = model.issue(&workspace, Fate::Committed).await.expect("it is committed");
        not_older(&model.read(&workspace).await.expect("there is a secret"), issued.version);
    })
}

fn reads(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move { drop(model.read(&workspace).await.expect("there is a secret")) })
}

/// Two issues, one of which gives up waiting for its turn at any moment, and another issue.
pub fn an_issue_that_gives_up_its_turn_blocks_nobody() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let gives_up = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let answer = model.issue_with_deadline(&w).await;
            let gave_up = matches!(answer, Err(Error::Overloaded | Error::OutcomeUnknown(_)));
            assert!(gave_up || answer.is_ok(), "{answer:?}");
        })
    };
    run(run_actors(&model, &[&w], [issues(&model, &w), gives_up, issues(&model, &w)]));
}

fn with_an_unknown_outcome(fate: Fate) {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let unknown = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let answer = model.issue(&w, fate).await;
            assert!(matches!(answer, Err(Error::OutcomeUnknown(_))), "{answer:?}");
        })
    };
    run(run_actors(&model, &[&w], [unknown, issues(&model, &w), reads(&model, &w)]));
}

/// An issue that is answered too late, another, and a reader.
pub fn after_an_issue_that_is_answered_late_the_cache_holds_what_the_database_does() {
    with_an_unknown_outcome(Fate::Late);
}

/// An issue whose connection is lost and that is committed later, at any moment: also after another issue
/// that began later.
pub fn after_an_issue_that_is_lost_the_cache_holds_what_the_database_does() {
    with_an_unknown_outcome(Fate::Lost);
}

fn hits_nothing_old_after_an_unknown_outcome(fate: Fate) {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let unknown = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let answer = model.issue(&w, fate).await;
            assert!(matches!(answer, Err(Error::OutcomeUnknown(_))), "{answer:?}");
            for _ in 0..2 {
                let held = model.database.stored(&w).expect("there is a secret");
                if let Some(hit) = model.covered(&w) {
                    not_older(&hit, held);
                }
                model.read(&w).await.expect("there is a secret");
            }
        })
    };
    run(run_actors(&model, &[&w], [unknown, reads(&model, &w)]));
}

/// An issue whose outcome is unknown: a caller that reads again, to learn whether it was committed, is not
/// answered from before it was.
pub fn after_a_late_answer_nothing_is_hit_that_is_older_than_what_the_database_holds() {
    hits_nothing_old_after_an_unknown_outcome(Fate::Late);
}

/// The same for an issue whose connection was lost.
pub fn after_a_lost_connection_nothing_is_hit_that_is_older_than_what_the_database_holds() {
    hits_nothing_old_after_an_unknown_outcome(Fate::Lost);
}

/// An issue that the database refuses, beside a reader and another issue.
pub fn an_issue_that_is_refused_changes_nothing() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let refused = {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let answer = model.issue(&w, Fate::Refused).await;
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        })
    };
    run(async {
        run_actors(&model, &[&w], [refused, issues(&model, &w), reads(&model, &w)]).await;
        assert_eq!(model.database.stored(&w), Some(2), "one was committed");
    });
}
