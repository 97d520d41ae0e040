//! The rules: each answer of the cache is held against what the database knows, in the step in which it is
//! given.
//!
//! Every rule is a statement that must be true of any correct cache with these policies, whatever the order
//! of events; each says in its comment why. None looks inside the cache. A policy may change how old an
//! answer is and what it costs, within the operator's ceilings; where a rule depends on the policy it asks
//! [`Kind`], and nowhere else.

mod answer;
mod history;
mod kind;
mod loads;
mod origin;
mod promise;

use super::world::{Actor, World};
pub(crate) use history::{Open, Outcome, Record};
pub(crate) use kind::Kind;
pub(crate) use loads::{one_issue, one_load};
pub(crate) use promise::{claims, swapped, void};

/// A rule that was broken, and how.
type Verdict = Result<(), (&'static str, String)>;

/// Ends an operation: checks its answer, and what it promises to operations that begin later.
pub(crate) fn close(world: &mut World, open: Open, outcome: Outcome) {
    let end = world.moment();
    let record = Record { open, end, generation: world.generation, outcome };
    let Err((rule, story)) = answer::judge(world, &record) else { return promise::settle(world, record) };
    world.note(Actor::Client(record.open.client), record.to_string());
    world.violate(rule, format!("{record}: {story}"));
    world.history.push(record);
}
