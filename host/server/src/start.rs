//! The choice of the policy at the start: the one that was active when the server last ran, or the one that
//! its command line names.
//!
//! It knows nothing of connections, and leaves to the cache whether a policy is any good.

use leasehold::{BuildError, Builder, Cause, Policy, Probation, SecretCache, Stage};

use crate::options::Serve;
use crate::state::{Journal, Requested, StartCandidate, State, candidates};
use crate::store::{Layout, Store};
use crate::trust::TrustConfig;

/// Builds the cache of the secrets, and the journal of its changes. `chosen` is the policy of the command
/// line, if it can be read. The first candidate that can be used is taken.
pub(crate) async fn secrets(
    serve: &Serve,
    chosen: anyhow::Result<Policy>,
    trust: &TrustConfig,
    store: &Store,
    layout: &Layout,
) -> anyhow::Result<(SecretCache, Journal)> {
    let state = State::open_within(&serve.state_dir, serve.state.state_lock_wait).await?;
    let requested = Requested::new(&serve.policy, &serve.settings, chosen.as_ref().ok());
    let (kept, remembered) = (state.kept(), state.highest_revision()?);
    let journal = Journal::start(state, requested.clone())?;
    let candidates = candidates(chosen.as_ref().ok(), kept.as_ref(), &requested);
    let mut refused = chosen.err();
    if let Some(error) = refused.as_ref().filter(|_| !candidates.is_empty()) {
        let error = format!("{error:#}");
        tracing::error!(error, "the command line's policy cannot be read; the one that was active serves on");
        journal.note_refused("start", &serve.policy, "read", &error);
    }
    let last = candidates.len().saturating_sub(1);
    for (tried, candidate) in candidates.into_iter().enumerate() {
        let policy = candidate.0.policy.clone();
        let builder = trust.clone().set(store.cache_of(&layout.secrets).await?);
        let builder = bounded(serve, builder.remembered_revision(remembered).probation(probation(serve)));
        match begin(builder, candidate, journal.clone(), tried == 0).await {
            Ok(cache) => return Ok((cache, journal)),
            // Another policy would fare no better, and none is to lose its place over it.
            Err(BuildError::Policy(error)) if error.stage == Stage::Host => return Err(error.into()),
            Err(BuildError::Policy(error)) => {
                // The error of the last candidate is the one that the process ends with.
                if tried < last {
                    let (digest, settings) = (policy.digest(), policy.settings());
                    tracing::error!(
                        digest,
                        ?settings,
                        %error,
                        "a policy cannot be used; the next one is tried"
                    );
                }
                journal.note_unusable(&policy, &error);
                refused.get_or_insert(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    journal.flushed().await;
    let refused = refused.unwrap_or_else(|| anyhow::anyhow!("there is none"));
    Err(refused.context(format!("the policy {:?} cannot be used", serve.policy)))
}

async fn begin(
    builder: Builder,
    (first, previous): StartCandidate,
    journal: Journal,
    is_first: bool,
) -> Result<SecretCache, BuildError> {
    let builder = builder.policy(first.policy).first_on_probation(!first.proven).previous(previous);
    // A start with a later candidate leaves the kept state as it is, until an operator or the host changes
    // something.
    let observed = builder.on_policy_change(move |change| {
        journal.note(change, is_first || change.record.cause != Cause::Start);
    });
    observed.build().await
}

/// Sets the bounds, and the way of running policies, that the options name.
pub(crate) fn bounded(serve: &Serve, builder: Builder) -> Builder {
    let builder = serve.bounds.set(builder);
    if serve.interpreter { builder.interpreter(true) } else { builder }
}

fn probation(serve: &Serve) -> Probation {
    Probation {
        lasts: serve.probation,
        faults: serve.probation_faults,
        call_time: serve.probation_call_time,
        loads: serve.probation_loads,
    }
}
