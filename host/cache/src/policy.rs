//! A policy as the rest of the host sees it: bytes and settings on the way in, a verdict on the way out.
//!
//! It knows no SQL, and of the table only the form of an entry. Only the files below
//! `policy/runtime/` name wasmtime.

pub(crate) mod call;
pub(crate) mod card;
mod error;
pub(crate) mod host_io;
pub(crate) mod intake;
mod printable;
mod record;
mod report;
pub(crate) mod rollout;
pub(crate) mod runtime;
mod signature;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

pub use card::{Measure, OnError, PolicyCard, Range, WriteOrder};
pub use error::{Stage, SwapError};
pub use report::{
    BreakerStatus, Cause, PolicyChange, PolicyFailure, PolicyStatus, RetainedPolicy, SwapRecord, SwapReport,
};
pub use rollout::probation::Probation;
pub use runtime::compile_cache::{CompileCacheError, compile_cache};
use runtime::compiled::Compiled;
use runtime::execution::Each;
pub use runtime::execution::Execution;
pub use signature::{InvalidKey, PublicKey, Signed, SigningKey};

/// A policy to be made active: a component, and the operator's settings for it. Nothing is checked before
/// [`SecretCache::swap`](crate::SecretCache::swap) or [`Builder::build`](crate::Builder::build).
#[derive(Clone)]
pub struct Policy {
    source: Arc<PolicySource>,
    settings: Vec<(String, String)>,
    /// The text as it was given, not parsed yet.
    signature: Option<Arc<str>>,
    forced: bool,
    /// The key and revision that the gate has verified, once it has.
    signed_by: Option<Signed>,
}

/// A component and what is known of it, shared by all handles whatever their settings.
struct PolicySource {
    component: Cow<'static, [u8]>,
    digest: String,
    /// The compiled component, once there is one.
    compiled: Each<OnceLock<Arc<Compiled>>>,
}

impl AsRef<[u8]> for PolicySource {
    fn as_ref(&self) -> &[u8] {
        &self.component
    }
}

impl Policy {
    /// Makes a policy of a component in WebAssembly's binary format, of the world
    /// `leasehold:policy/cache-policy`. It is compiled when it is first used. The code is shared with every
    /// other policy of the process that has the same bytes, for as long as a cache or one of these handles
    /// has it; the code of the policies that come with this crate stays.
    pub fn from_bytes(component: impl Into<Cow<'static, [u8]>>) -> Self {
        let component = component.into();
        let digest = hex::encode(Sha256::digest(&component));
        let source = PolicySource { component, digest, compiled: Each::default() };
        Self {
            source: Arc::new(source),
            settings: Vec::new(),
            signature: None,
            forced: false,
            signed_by: None,
        }
    }

    /// Sets one setting, in place of an earlier value of the same name.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.settings.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.settings.push((name, value)),
        }
        self
    }

    /// Adds the component's signature: the text that [`SigningKey::sign`] made. It is read where trusted keys
    /// are configured, and ignored otherwise; see [`Builder::trusted_keys`](crate::Builder::trusted_keys).
    pub fn signed(mut self, signature: impl Into<Arc<str>>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// Allows a signed revision that is older than one that was active before. No other check is waived, and
    /// the record of the swap shows it.
    pub fn forced(mut self) -> Self {
        self.forced = true;
        self
    }

    /// The SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.source.digest
    }

    /// Checks the component as [`SecretCache::swap`](crate::SecretCache::swap) does before compilation:
    /// whether it is a component, and whether any part of it is so large that compiling it could take too
    /// long.
    ///
    /// # Errors
    ///
    /// [`SwapError`] at [`Stage::Size`] or [`Stage::Inspect`].
    pub fn inspect(&self) -> Result<(), SwapError> {
        intake::gate::check_bytes(self.component())
    }

    /// The settings that were given, by name.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Returns whether `other` has the same component and the same given settings.
    fn is(&self, other: &Self) -> bool {
        self.digest() == other.digest() && self.settings == other.settings
    }

    /// The signature, as it was given.
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    fn is_forced(&self) -> bool {
        self.forced
    }

    fn signed_by(&self) -> Option<&Signed> {
        self.signed_by.as_ref()
    }

    fn set_signed_by(&mut self, signed: Option<Signed>) {
        self.signed_by = signed;
    }

    /// The component, as it was given.
    pub fn component(&self) -> &[u8] {
        &self.source.component
    }

    /// The bytes, for a thread that may keep them for longer than the policy is wanted.
    fn shared_component(&self) -> runtime::compiled::Bytes {
        self.source.clone()
    }

    /// The compiled component, once it is there.
    fn compiled(&self, execution: Execution) -> Option<Arc<Compiled>> {
        self.source.compiled.of(execution).get().cloned()
    }

    /// Keeps the compiled component for as long as any handle of this one lives.
    fn set_compiled(&self, compiled: &Arc<Compiled>) {
        // It may be known already: then it is the same.
        let _ = self.source.compiled.of(compiled.execution()).set(Arc::clone(compiled));
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("digest", &self.digest())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
