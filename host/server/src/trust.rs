//! The command line's limits on who may bring a policy: pinned digests, trusted keys, a floor for revisions.
//!
//! It checks that the values can be meant. Their meaning for a component is the library's to decide.

use anyhow::Context as _;
use leasehold::{Builder, PublicKey};

use crate::options::Serve;

/// The command line's limits on who may bring a policy.
#[derive(Clone)]
pub(crate) struct TrustConfig {
    trusted: Vec<PublicKey>,
    pinned: Vec<String>,
    revision_floor: u64,
}

impl TrustConfig {
    pub(crate) fn of(serve: &Serve) -> anyhow::Result<Self> {
        let trusted = serve.trusted_keys.iter().map(|text| {
            text.parse().with_context(|| {
                format!(
                    "--trusted-key {text:?} cannot be used; `leasehold policy keygen` prints one that can"
                )
            })
        });
        for digest in &serve.pinned_digests {
            let good = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            anyhow::ensure!(
                good,
                "--pin-digest {digest:?} is no digest; expected the SHA-256 of a component: 64 hexadecimal \
                 digits"
            );
        }
        Ok(Self {
            trusted: trusted.collect::<anyhow::Result<_>>()?,
            pinned: serve.pinned_digests.clone(),
            revision_floor: serve.revision_floor,
        })
    }

    pub(crate) fn set(self, builder: Builder) -> Builder {
        builder.trusted_keys(self.trusted).pinned_digests(self.pinned).revision_floor(self.revision_floor)
    }
}
