//! A client of the cache: one operation after the other, some of them dropped half-way.
//!
//! Clients begin in milliseconds of their own, so that no two of them ever begin in the same one: tokio wakes
//! the waiters of one load in an order that no seed decides. Against the database's answers they may collide
//! as they like, and after a few steps aside they begin between any two steps of what an answer sets off.

use std::time::Duration;

use leasehold::{Error, Lookup, Policy, Secret};
use tokio::time::timeout;

use super::checker::{self, Open, Outcome};
use super::plan::{Plan, Verb};
use super::rng::Rng;
use super::row::Content;
use super::run::Sim;
use super::time::{cut, step_aside};
use super::world::{Actor, World};

/// The limit after which a caller is dropped.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Endless,
    /// The caller is dropped in the step in which it has waited so many times.
    Polls(u64),
    /// The caller is dropped after so many milliseconds.
    For(u64),
}

pub(crate) async fn live(sim: Sim, client: u64, mut rng: Rng) {
    for _ in 0..sim.plan.operations {
        sim.own_millisecond(client, Plan::think_ms(&mut rng)).await;
        for _ in 0..rng.below(6) {
            step_aside().await;
        }
        act(&sim, client, &mut rng).await;
    }
}

async fn act(sim: &Sim, client: u64, rng: &mut Rng) {
    let verb = rng.weighted(&sim.plan.verbs);
    // Most operations are on one key: what happens to another one at the same time says little.
    let key = if rng.percent(65) { 0 } else { usize::try_from(rng.below(sim.plan.keys)).expect("few keys") };
    let patience = Patience::draw(rng);
    match verb {
        Verb::Read | Verb::ReadOrIssue | Verb::Issue => ask(sim, client, verb, key, patience).await,
        Verb::Get | Verb::With => look(sim, client, verb, key),
        Verb::Verify => verify(sim, client, key, patience, rng).await,
        Verb::Remove | Verb::Delete | Verb::Reset => drop_entries(sim, client, verb, key),
        Verb::Swap => {
            let policy = sim.plan.policy(rng, &sim.policies.ttl, &sim.policies.hostile);
            swap(sim, client, policy).await;
        }
        Verb::Rollback => roll_back(sim, client).await,
    }
}

pub(crate) async fn read(sim: &Sim, client: u64, key: usize) {
    ask(sim, client, Verb::Read, key, Patience::Endless).await;
}

async fn ask(sim: &Sim, client: u64, verb: Verb, key: usize, patience: Patience) {
    let open = sim.open(client, verb, key, None);
    let id = &sim.ids[key];
    let outcome = match verb {
        Verb::Read => patience.with(sim.cache.read(id)).await.map(|answer| of_lookup(&sim.world(), answer)),
        Verb::ReadOrIssue => {
            patience.with(sim.cache.read_or_issue(id)).await.map(|answer| of_lookup(&sim.world(), answer))
        }
        _ => patience.with(sim.cache.issue(id)).await.map(|answer| {
            answer.map_or_else(Outcome::Failed, |secret| Outcome::Secret(sim.world().identify(&secret), None))
        }),
    };
    sim.close(open, outcome.unwrap_or(Outcome::Dropped));
}

fn look(sim: &Sim, client: u64, verb: Verb, key: usize) {
    let open = sim.open(client, verb, key, None);
    let identify = |secret: &Secret| sim.world().identify(secret);
    let found = match verb {
        Verb::Get => sim.cache.get(&sim.ids[key]).map(|secret| identify(&secret)),
        _ => sim.cache.with(&sim.ids[key], identify),
    };
    let hit = |secret| Outcome::Secret(secret, Some(leasehold::Status::Hit));
    sim.close(open, found.map_or(Outcome::Nothing, hit));
}

async fn verify(sim: &Sim, client: u64, key: usize, patience: Patience, rng: &mut Rng) {
    let (presented, text) = {
        let row = &sim.world().rows[key];
        let newest = u64::from(row.versions);
        let version = if rng.percent(60) { newest } else { rng.below(newest + 1) };
        let index = usize::try_from(version).expect("few versions").checked_sub(1);
        index.map_or((None, "never stored".to_owned()), |index| {
            (Some(index as u32 + 1), row.texts[index].clone())
        })
    };
    let open = sim.open(client, Verb::Verify, key, presented);
    let outcome = match patience.with(sim.cache.verify(&sim.ids[key], text.as_bytes())).await {
        None => Outcome::Dropped,
        Some(Ok(true)) => Outcome::Secret(presented.map(|version| (key, version)), None),
        Some(Ok(false)) => Outcome::Mismatch,
        Some(Err(error)) => Outcome::Failed(error),
    };
    sim.close(open, outcome);
}

fn drop_entries(sim: &Sim, client: u64, verb: Verb, key: usize) {
    let open = sim.open(client, verb, key, None);
    if verb == Verb::Delete {
        // The order is a server's: the row first.
        sim.world().commit(key, Content::NoRow);
    }
    if verb == Verb::Reset {
        sim.cache.reset();
        (0..sim.ids.len()).for_each(|key| checker::void(&mut sim.world(), key));
    } else {
        sim.cache.remove(&sim.ids[key]);
        checker::void(&mut sim.world(), key);
    }
    sim.close(open, Outcome::Done);
}

/// Swaps to a policy. No caller is dropped here: with compiled code to share there is nothing to wait for.
async fn swap(sim: &Sim, client: u64, policy: Policy) {
    let note = format!("swaps in {:?}", policy.settings());
    sim.world().note(Actor::Client(client), note);
    let open = sim.open(client, Verb::Swap, 0, None);
    let swapped = sim.cache.swap(policy).await.is_ok();
    finish_swap(sim, open, swapped);
}

async fn roll_back(sim: &Sim, client: u64) {
    let open = sim.open(client, Verb::Rollback, 0, None);
    let swapped = sim.cache.rollback().await.is_ok();
    if !swapped {
        sim.world().count("rollbacks without an earlier policy");
    }
    finish_swap(sim, open, swapped);
}

fn finish_swap(sim: &Sim, open: Open, swapped: bool) {
    if swapped {
        checker::swapped(&mut sim.world(), open.start);
    }
    sim.close(open, Outcome::Done);
}

fn of_lookup(world: &World, answer: Result<Lookup, Error>) -> Outcome {
    match answer {
        Ok(lookup) => Outcome::Secret(world.identify(&lookup.secret), Some(lookup.status)),
        Err(error) => Outcome::Failed(error),
    }
}

impl Patience {
    fn draw(rng: &mut Rng) -> Self {
        let (polls, ms) = (1 + rng.below(3), rng.below(60));
        rng.weighted(&[(82, Self::Endless), (12, Self::Polls(polls)), (6, Self::For(ms))])
    }

    async fn with<T>(self, operation: impl Future<Output = T>) -> Option<T> {
        match self {
            Self::Endless => Some(operation.await),
            Self::Polls(polls) => cut(polls, operation).await,
            Self::For(ms) => timeout(Duration::from_millis(ms), operation).await.ok(),
        }
    }
}
