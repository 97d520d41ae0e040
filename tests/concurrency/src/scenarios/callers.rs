//! Dropped callers: no other caller hangs, and nothing is left behind.

use super::{Actor, actor, run, run_actors};
use crate::flight::FlightKind;
use crate::model::{Model, Policy, workspace};
use crate::start::LoadStart;
use crate::sync::Arc;
use crate::{Error, WorkspaceId};

fn waits(model: &Arc<Model>, workspace: &WorkspaceId) -> Actor {
    let (model, workspace) = (Arc::clone(model), workspace.clone());
    actor(async move {
        let answer = model.read(&workspace).await;
        assert!(matches!(answer, Ok(_) | Err(Error::Internal(_))), "{answer:?}");
    })
}

/// A flight whose task is cancelled at any of its steps, and two callers that may wait for it. A caller that
/// comes later starts another flight.
pub fn whoever_waits_for_a_flight_that_is_dropped_gets_an_error() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let LoadStart::InFlight(waiter) = model.core.find_or_start(&w, FlightKind::Fill) else {
        panic!("nothing is stored")
    };
    let leads = model.runtime.newest();
    let leader = actor(async move {
        let answer = waiter.outcome().await;
        assert!(matches!(answer, Ok(_) | Err(Error::Internal(_))), "{answer:?}");
    });
    let ends = actor(async move { leads.abort() });
    run(async {
        run_actors(&model, &[&w], [leader, waits(&model, &w), ends]).await;
        assert!(model.read(&w).await.is_ok(), "a new flight starts");
        run_actors(&model, &[&w], []).await;
    });
}

/// Three callers, one of which is dropped at any of its steps: the others are served, by one SELECT for all.
pub fn a_caller_that_is_dropped_takes_nothing_from_those_who_wait() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let dropped = {
        let (model, w) = (Arc::clone(&model), w.clone());
        shuttle::future::spawn(async move {
            let _ = model.read(&w).await;
        })
    };
    let reads = || {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move {
            let answer = model.read(&w).await;
            assert!(answer.is_ok(), "somebody else was dropped: {answer:?}");
        })
    };
    let ends = actor(async move { dropped.abort() });
    run(async {
        run_actors(&model, &[&w], [reads(), ends, reads()]).await;
        assert_eq!(model.database.selects(), 1, "one SELECT serves everyone");
    });
}

/// Four callers, and one SELECT.
pub fn everyone_who_misses_at_once_is_served_by_one_select() {
    let (model, w) = (Model::new(Policy::Selects), workspace("w"));
    model.database.found(&w);
    let reads = || {
        let (model, w) = (Arc::clone(&model), w.clone());
        actor(async move { drop(model.read(&w).await.expect("there is a secret")) })
    };
    run(async {
        run_actors(&model, &[&w], [reads(), reads(), reads(), reads()]).await;
        assert_eq!(model.database.selects(), 1);
    });
}
