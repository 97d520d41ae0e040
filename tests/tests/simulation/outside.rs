//! Events behind the cache's back: other writers of the same rows, outages, failovers, a machine that is
//! suspended.
//!
//! The cache is not notified of any of it. It may serve what it has under its leases, and no longer.

use super::plan::Plan;
use super::rng::Rng;
use super::row::Content;
use super::run::Sim;
use super::time::step_aside;
use super::world::{Actor, World};

#[derive(Clone, Copy, Debug)]
enum Incident {
    Update,
    Clear,
    Empty,
    Delete,
    Outage,
    Failover,
    Suspension,
}

const INCIDENTS: &[(u64, Incident)] = &[
    (60, Incident::Update),
    (9, Incident::Clear),
    (2, Incident::Empty),
    (4, Incident::Delete),
    (7, Incident::Outage),
    (8, Incident::Failover),
    (3, Incident::Suspension),
];

/// Creates the rows that a run starts with.
pub(crate) fn prepare(world: &mut World, rng: &mut Rng) {
    for key in 0..world.rows.len() {
        match rng.below(10) {
            0 => {}
            1 | 2 => drop(world.commit(key, Content::Null)),
            _ => update(world, key),
        }
    }
}

pub(crate) async fn happen(sim: Sim, mut rng: Rng) {
    for _ in 0..sim.plan.incidents {
        // It acts less often than a client, so that the clients meet it.
        let think_ms = Plan::think_ms(&mut rng) + Plan::think_ms(&mut rng);
        sim.own_millisecond(sim.plan.clients, think_ms).await;
        for _ in 0..rng.below(6) {
            step_aside().await;
        }
        let key =
            if rng.percent(65) { 0 } else { usize::try_from(rng.below(sim.plan.keys)).expect("few keys") };
        let incident = rng.weighted(INCIDENTS);
        happens(&sim, incident, key, &mut rng);
    }
}

fn happens(sim: &Sim, incident: Incident, key: usize, rng: &mut Rng) {
    let mut world = sim.world();
    world.note(Actor::Outside, format!("{incident:?} of w{key}"));
    match incident {
        Incident::Update => {
            world.count("updates by others");
            update(&mut world, key);
        }
        Incident::Clear => drop(world.commit(key, Content::Null)),
        Incident::Empty => drop(world.commit(key, Content::Empty)),
        Incident::Delete => {
            world.count("rows deleted by others");
            world.commit(key, Content::NoRow);
        }
        Incident::Outage => {
            world.count("outages");
            world.unreachable_until_ms = sim.time.ms() + 20 + rng.below(2_000);
        }
        Incident::Failover => {
            world.count("failovers");
            world.fail_over(rng.below(4));
        }
        Incident::Suspension => {
            world.count("suspensions");
            let moment = world.moment();
            world.suspensions.push(moment);
            sim.time.suspend(1_000 + rng.below(600_000));
        }
    }
}

fn update(world: &mut World, key: usize) {
    let text = format!("of another writer: w{key}, {}", world.rows[key].versions);
    world.commit_secret(key, &text);
}
