//! The cache of the workspaces' tokens: which policy it runs, for as long as the process lives.
//!
//! It decides which callers are let in, so only the command line chooses its policy, and only among the
//! bundled ones: no swap and no component from elsewhere ever reaches it. The default keeps answering while
//! the database is down, for a bounded time. The price: for that long a token that was rotated or deleted
//! through *another* process is still accepted here, if the database has been down ever since. Once the
//! database answers, its answer ends a token at once.

use anyhow::Context as _;
use leasehold::{BuildError, Builder, Policy, SecretCache};

use crate::options::{Serve, TOKEN_POLICY};
use crate::policy_source::{bundled_names, with_settings};

/// Default bound of `stale`: with `ttl` an hour since the token was last read, which is as long as the host
/// lets a lease last. Beyond that every heartbeat would wait for a database that is down.
const STALE: (&str, &str) = ("stale", "55m");

/// Returns the policy that `--token-policy` and `--token-setting` name.
pub(crate) fn policy(serve: &Serve) -> anyhow::Result<Policy> {
    let name = serve.token_policy.as_str();
    let bundled = leasehold_policies::ALL.iter().find(|(known, _)| *known == name);
    let (_, component) = bundled.with_context(|| {
        format!(
            "--token-policy {name:?} is no bundled policy; expected one of {}: who is let in never depends \
             on a component from elsewhere",
            bundled_names()
        )
    })?;
    let policy = Policy::from_bytes(*component);
    let policy = if name == TOKEN_POLICY { policy.setting(STALE.0, STALE.1) } else { policy };
    with_settings(policy, "--token-setting", &serve.token_settings)
}

/// Builds the cache over the tokens' column.
pub(crate) async fn cache(builder: Builder, policy: Policy) -> anyhow::Result<SecretCache> {
    match builder.policy(policy).build().await {
        Ok(cache) => Ok(cache),
        Err(error @ BuildError::Policy(_)) => Err(anyhow::Error::new(error)
            .context("the tokens' policy cannot be used; look at --token-policy and --token-setting")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
