//! The gate: all checks of a component before it is compiled, and the wait for the compiler.
//!
//! The order is from cheap to expensive, and from what an operator decides to what the bytes are: size,
//! digest, signature, inspection, compilation. The gate runs nothing of the component, and knows nothing of
//! what is active.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::inspect::inspect;
use crate::policy::Policy;
use crate::policy::runtime::compiled::{Compiled, Register};
use crate::policy::runtime::engine::{engine, made};
use crate::policy::runtime::execution::Execution;
use crate::policy::signature::{PublicKey, Signature, Signed, ids};
use crate::{Clock, Instant, Stage, SwapError, blocking};

/// Maximum size of a component. The shipped ones are below 40 KB.
const MAX_COMPONENT_BYTES: usize = 4 << 20;

/// Default wait for the compiler: six times what the costliest component that passes the inspection takes on
/// a processor of its own. The compiler's thread gives way to all others, and on a busy machine it may have
/// a tenth of a processor.
const COMPILE_LIMIT: Duration = Duration::from_secs(30);

/// The operator's demands on a component.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The only components that are let in, by the SHA-256 in hexadecimal; if empty, any component is.
    pub(crate) pinned: Vec<String>,
    /// Keys whose signatures are accepted; if empty, no signature is needed.
    pub(crate) trusted: Vec<PublicKey>,
    /// The highest signed revision that ever became active.
    pub(crate) highest_revision: AtomicU64,
    /// The highest revision that was active in an earlier process. It counts once the policies of the start
    /// are in: they may be older, after a rollback.
    pub(crate) remembered_revision: u64,
    /// Maximum wait of a swap for the compiler.
    pub(crate) compile_limit: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        let highest_revision = AtomicU64::new(0);
        Self {
            pinned: Vec::new(),
            trusted: Vec::new(),
            highest_revision,
            remembered_revision: 0,
            compile_limit: COMPILE_LIMIT,
        }
    }
}

/// A component that was let in and compiled, and how long each stage took.
pub(super) struct Admitted {
    pub(super) compiled: Arc<Compiled>,
    /// `true` if it was compiled for this request. Otherwise another cache of the process had it, or was
    /// having it compiled.
    pub(super) is_new: bool,
    /// Key and revision of the signature, where one was demanded.
    pub(super) signed: Option<Signed>,
    pub(super) stages: Vec<(Stage, Duration)>,
}

/// Checks a policy and compiles it. A policy whose component has been let in already, by any cache of the
/// process, is only checked against the operator's demands; for a new one, the inspection and the hand-over
/// to the compiler run on a blocking thread, which is not one that serves callers. `active` is the digest of
/// the active policy, if that policy is to get other settings.
pub(super) async fn admit(
    gate: &Arc<Gate>,
    clock: &Arc<dyn Clock>,
    policy: &Policy,
    active: Option<&str>,
    execution: Option<Execution>,
) -> Result<Admitted, SwapError> {
    // The settings of the active policy are changed: it is no older than it was.
    let is_active = active == Some(policy.digest());
    let began = clock.now();
    let known = made(execution).and_then(|engine| {
        let known = policy.compiled(engine.execution);
        known.or_else(|| engine.register.shared(policy.digest()))
    });
    let (signed, inspected, compiled, is_new) = match known {
        Some(compiled) => (gate.check_author(policy, is_active)?, clock.now(), compiled, false),
        None => {
            let (gate, clock, checked) = (Arc::clone(gate), Arc::clone(clock), policy.clone());
            let work = move || {
                let signed = gate.check(&checked, is_active)?;
                let inspected = clock.now();
                let (compiled, is_new) =
                    engine(execution)?.compile(checked.digest(), checked.shared_component())?;
                Ok((signed, inspected, compiled, is_new))
            };
            blocking::run(work).await.map_err(|reason| SwapError::new(Stage::Host, reason))??
        }
    };
    let compiled = compiled.wait(gate.compile_limit).await?;
    policy.set_compiled(&compiled);
    if is_bundled(policy) {
        Register::keep(&compiled);
    }
    Ok(Admitted { compiled, is_new, signed, stages: stages(began, inspected, clock.now()) })
}

fn stages(began: Instant, inspected: Instant, compiled: Instant) -> Vec<(Stage, Duration)> {
    vec![
        (Stage::Inspect, inspected.saturating_since(began)),
        (Stage::Compile, compiled.saturating_since(inspected)),
    ]
}

impl Gate {
    /// Refuses a component at the first stage that it does not pass.
    fn check(&self, policy: &Policy, is_active: bool) -> Result<Option<Signed>, SwapError> {
        check_size(policy.component())?;
        let signed = self.check_author(policy, is_active)?;
        check_inside(policy.component())?;
        Ok(signed)
    }

    /// Notes that a policy became active: no older revision gets in from now on.
    pub(in crate::policy) fn note_active(&self, signed: Option<&Signed>) {
        if let Some(Signed { revision, .. }) = signed {
            self.highest_revision.fetch_max(*revision, Ordering::SeqCst);
        }
    }

    /// Notes that the policies of the start are in: from now on the remembered revision counts.
    pub(in crate::policy) fn note_started(&self) {
        self.highest_revision.fetch_max(self.remembered_revision, Ordering::SeqCst);
    }

    pub(in crate::policy) fn highest_revision(&self) -> u64 {
        self.highest_revision.load(Ordering::SeqCst)
    }

    fn check_author(&self, policy: &Policy, is_active: bool) -> Result<Option<Signed>, SwapError> {
        if is_bundled(policy) {
            return Ok(None);
        }
        let digest = policy.digest();
        if !self.pinned.is_empty() && !self.pinned.iter().any(|pinned| pinned == digest) {
            let pinned = self.pinned.len();
            return Err(SwapError::new(
                Stage::Digest,
                format!(
                    "its digest is {digest}, which is none of the {pinned} that are pinned: pin it, or bring \
                     a component that is"
                ),
            ));
        }
        self.check_signature(policy, is_active).map_err(|reason| SwapError::new(Stage::Signature, reason))
    }

    fn check_signature(&self, policy: &Policy, is_active: bool) -> Result<Option<Signed>, String> {
        if self.trusted.is_empty() {
            return Ok(None);
        }
        let Some(signature) = policy.signature() else {
            let known = ids(&self.trusted);
            return Err(format!(
                "it is not signed, and this host takes policies that are signed by one of {known}: sign it \
                 with `leasehold policy sign`, and bring the signature along"
            ));
        };
        let signed = signature.parse::<Signature>()?.check(policy.digest(), &self.trusted)?;
        let (revision, highest) = (signed.revision, self.highest_revision());
        if revision < highest && !is_active && !policy.is_forced() {
            return Err(format!(
                "its revision is {revision}, and {highest} was active before it: sign it under a higher one, \
                 or force it if an older policy is what is wanted"
            ));
        }
        Ok(Some(signed))
    }
}

/// Returns whether a policy came with this binary, which is trusted as the binary is: the breaker falls back
/// on one of these.
fn is_bundled(policy: &Policy) -> bool {
    leasehold_policies::ALL.iter().any(|(_, bundled)| *bundled == policy.component())
}

/// Checks the stages that every component passes, whatever its author.
pub(in crate::policy) fn check_bytes(component: &[u8]) -> Result<(), SwapError> {
    check_size(component)?;
    check_inside(component)
}

fn check_inside(component: &[u8]) -> Result<(), SwapError> {
    inspect(component).map_err(|reason| SwapError::new(Stage::Inspect, reason))
}

fn check_size(bytes: &[u8]) -> Result<(), SwapError> {
    let refuse = |reason: String| Err(SwapError::new(Stage::Size, reason));
    match bytes.len() {
        0 => refuse("it is empty; expected a WebAssembly component".into()),
        size if size > MAX_COMPONENT_BYTES => {
            refuse(format!("it has {size} bytes; expected {MAX_COMPONENT_BYTES} at most"))
        }
        _ => Ok(()),
    }
}
