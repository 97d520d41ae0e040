//! The rehearsal: a candidate is driven through a fixed scenario before it serves callers.
//!
//! Around the candidate stands a whole cache of its own, with the operator's ceilings, a clock that is moved
//! by hand and a database in memory: leases, ceilings and judging are the host's real ones, and every figure
//! of the card is one that was seen there. The rehearsal is a user of the cache, so that it stands above it;
//! the loader of policies is handed it.
//!
//! It runs on a thread of its own, beside the requests: it costs a server a core for some milliseconds. An
//! operator in an incident waits for it, so that it does not run at a lower priority, as the compiler does.
//! No time passes in it but on its own clock, so that a slow machine changes no verdict.

mod bisect;
mod check;
mod database;
mod harness;
mod inherited;
mod scenario;

use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tracing::Dispatch;
use tracing::callsite::rebuild_interest_cache;
use tracing::dispatcher::with_default;
use tracing::subscriber::NoSubscriber;

use crate::lease::Ceilings;
use crate::policy::intake::gate::Gate;
use crate::policy::intake::{Loader, Rehearsing};
use crate::policy::runtime::pool::{CallLimits, Loaded};
use crate::{Clock, Policy, PolicyCard, Stage, SwapError};

/// Compiles, configures and rehearses a policy that is not going to be used.
pub(crate) async fn load_and_rehearse(
    policy: Policy,
    gate: Gate,
    clock: Arc<dyn Clock>,
    calls: CallLimits,
    ceilings: Ceilings,
) -> Result<PolicyCard, SwapError> {
    let counters = Arc::default();
    let loader = Loader { gate: Arc::new(gate), clock, calls, counters, rehearsal: None };
    let (loaded, _) = loader.load(policy, None).await?;
    rehearse(&loaded, ceilings).await
}

/// Runs the rehearsal for [`Loader`], which is below the cache that the rehearsal builds.
pub(crate) fn rehearsing(loaded: Arc<Loaded>, ceilings: Ceilings) -> Rehearsing {
    Box::pin(async move { rehearse(&loaded, ceilings).await })
}

/// Runs a policy through the scenario, and leaves the card with it.
async fn rehearse(loaded: &Arc<Loaded>, ceilings: Ceilings) -> Result<PolicyCard, SwapError> {
    let candidate = Arc::clone(loaded);
    let (tx, rx) = oneshot::channel();
    candidate.set_rehearsed(true);
    let thread = thread::Builder::new().name("leasehold-rehearsal".into()).spawn(move || {
        // Its log lines are about workspaces that do not exist. `Dispatch::none()` would not do: where a log
        // line is first reached under that, tracing takes it never to be wanted.
        let silence = Dispatch::new(NoSubscriber::default());
        let rehearsed = with_default(&silence, || on_this_thread(Arc::clone(&candidate), ceilings));
        drop(silence);
        rebuild_interest_cache();
        candidate.set_rehearsed(false);
        // The caller may have gone.
        let _ = tx.send(rehearsed);
    });
    let lacking =
        |error| SwapError::new(Stage::Host, format!("the rehearsal's thread cannot start: {error}"));
    thread.map_err(lacking)?;
    let card = rx.await.unwrap_or_else(|_| Err(refused("the rehearsal itself failed".into())))?;
    // It may have been rehearsed before, with the same result.
    let _ = loaded.card.set(card.clone());
    // The instances that took part have seen another clock: serving begins with new ones.
    loaded.retire();
    loaded.revive();
    Ok(card)
}

fn on_this_thread(candidate: Arc<Loaded>, ceilings: Ceilings) -> Result<PolicyCard, SwapError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|error| {
        SwapError::new(Stage::Host, format!("the rehearsal's runtime cannot start: {error}"))
    })?;
    runtime.block_on(scenario::run(candidate, ceilings))
}

fn refused(reason: String) -> SwapError {
    SwapError::new(Stage::Rehearsal, reason)
}
