//! The tokens' cache: from a token's hash to the workspace that it opens, under a policy that stays for as
//! long as the process lives.
//!
//! It decides which callers are let in, so only the command line chooses its policy, and only among the
//! bundled ones: no swap and no component from elsewhere ever reaches it. What is cached carries its own end,
//! so that a token that is being replaced ends on time without a statement; whatever is malformed lets nobody
//! in. Each change of a token has to [`forget`](Tokens::forget) it before it is answered. The default policy
//! keeps answering while the database is down, for a bounded time. The price: for that long a token that was
//! revoked or replaced through *another* process is still accepted here, if the database has been down ever
//! since. Once the database answers, its answer ends a token at once.

mod last_used;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use leasehold::{
    BuildError, Builder, Clock, Error, Policy, PolicyStatus, Secret, SecretCache, Stats, SystemClock,
    WorkspaceId,
};
use subtle::ConstantTimeEq as _;

use self::last_used::LastUsed;
use crate::auth::TokenHash;
use crate::options::{Serve, TOKEN_POLICY};
use crate::policy_source::{bundled_names, with_settings};
use crate::start;
use crate::store::{Layout, RowOwner, Store, StoreError};

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

/// Makes the tokens of a server, and has it written down again and again which of them were used.
pub(crate) async fn open(
    serve: &Serve,
    store: &Store,
    layout: &Layout,
    policy: Policy,
) -> anyhow::Result<Arc<Tokens>> {
    let (builder, lookup) = match layout.rows {
        RowOwner::Server => (store.token_cache().await?, TokenLookup::ByHash),
        RowOwner::Other => (store.cache_of(&layout.tokens).await?, TokenLookup::ByWorkspace),
    };
    let builder = start::bounded(serve, builder);
    // Nothing is written to a table of another program.
    let write_every = serve.tokens.write_every().filter(|_| lookup == TokenLookup::ByHash);
    let tokens = Tokens::new(cache(builder, policy).await?, Arc::new(SystemClock::new()), write_every);
    let tokens = Arc::new(Tokens { lookup, ..tokens });
    if let Some(span) = write_every {
        tokio::spawn(Arc::clone(&tokens).write_last_used_every(span, store.clone()));
    }
    Ok(tokens)
}

/// Builds the cache over the tokens' column.
async fn cache(builder: Builder, policy: Policy) -> anyhow::Result<SecretCache> {
    match builder.policy(policy).build().await {
        Ok(cache) => Ok(cache),
        Err(error @ BuildError::Policy(_)) => Err(anyhow::Error::new(error)
            .context("the tokens' policy cannot be used; look at --token-policy and --token-setting")),
        Err(error) => Err(error.into()),
    }
}

/// The tokens' cache, and the note of those that are used.
pub(crate) struct Tokens {
    cache: SecretCache,
    clock: Arc<dyn Clock>,
    lookup: TokenLookup,
    /// `None` where nothing is written down.
    last_used: Option<Arc<LastUsed>>,
}

/// The way in which a token is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenLookup {
    /// By its hash, which leads to its end and its workspace: in the server's own table.
    ByHash,
    /// By its workspace, which has one hash: in a table of another program.
    ByWorkspace,
}

/// Judgement of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenVerdict {
    Admitted,
    /// The token is unknown, has ended, or is another workspace's: to the caller these are one answer.
    Refused,
}

impl Tokens {
    /// Makes it from a cache. With `write_every` the use of a token is written down, that long after it at
    /// most.
    pub(crate) fn new(cache: SecretCache, clock: Arc<dyn Clock>, write_every: Option<Duration>) -> Self {
        let last_used = write_every.map(|_| Arc::default());
        Self { cache, clock, lookup: TokenLookup::ByHash, last_used }
    }

    /// Judges whether a token opens a workspace.
    pub(crate) async fn judge(&self, workspace: &WorkspaceId, token: &str) -> Result<TokenVerdict, Error> {
        let hash = TokenHash::of(token);
        if self.lookup == TokenLookup::ByWorkspace {
            let is_its = self.cache.verify(workspace, hash.hex().as_str().as_bytes()).await?;
            return Ok(if is_its { TokenVerdict::Admitted } else { TokenVerdict::Refused });
        }
        // A hash in hexadecimal is an id.
        let Ok(key) = WorkspaceId::new(hash.hex().as_str()) else { return Ok(TokenVerdict::Refused) };
        let verdict = match self.cache.with(&key, |admits| self.compare(admits, workspace)) {
            Some(verdict) => verdict,
            None => match self.cache.read(&key).await {
                Ok(lookup) => self.compare(&lookup.secret, workspace),
                Err(Error::Absent | Error::UnknownWorkspace) => TokenVerdict::Refused,
                Err(error) => return Err(error),
            },
        };
        if let (TokenVerdict::Admitted, Some(last_used)) = (verdict, &self.last_used) {
            last_used.note(hash);
        }
        Ok(verdict)
    }

    /// Compares what a token admits to, its end and its workspace, with what is asked for. The time that it
    /// takes depends on lengths only.
    fn compare(&self, admits: &Secret, workspace: &WorkspaceId) -> TokenVerdict {
        let text = admits.expose_str().unwrap_or_default();
        let Some((end, owner)) = text.split_once(' ') else { return TokenVerdict::Refused };
        let is_owner: bool = owner.as_bytes().ct_eq(workspace.as_str().as_bytes()).into();
        let is_live = end.is_empty() || end.parse().is_ok_and(|end_ms: u64| self.now_ms() < end_ms);
        if is_owner && is_live { TokenVerdict::Admitted } else { TokenVerdict::Refused }
    }

    /// Returns the time of day, in milliseconds since 1970: the end of a token is a time of day, since all
    /// servers have to agree on it.
    pub(crate) fn now_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // 584 million years of milliseconds fit.
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Drops the entries of the tokens with these hashes, loads in flight included.
    pub(crate) fn forget<'a>(&self, hashes: impl IntoIterator<Item = &'a str>) {
        for key in hashes.into_iter().filter_map(|hash| WorkspaceId::new(hash).ok()) {
            self.cache.remove(&key);
        }
    }

    /// Drops the entry of a token that was presented for a workspace.
    pub(crate) fn forget_presented(&self, workspace: &WorkspaceId, token: TokenHash) {
        match self.lookup {
            TokenLookup::ByHash => self.forget([token.hex().as_str()]),
            TokenLookup::ByWorkspace => self.cache.remove(workspace),
        }
    }

    /// Drops the entries of all tokens of a workspace.
    pub(crate) async fn forget_all_of(
        &self,
        workspace: &WorkspaceId,
        store: &Store,
    ) -> Result<(), StoreError> {
        match self.lookup {
            TokenLookup::ByHash => {
                let tokens = store.tokens(workspace).await?.unwrap_or_default();
                self.forget(tokens.iter().map(|token| token.hash.as_str()));
            }
            TokenLookup::ByWorkspace => self.cache.remove(workspace),
        }
        Ok(())
    }

    /// Drops every entry.
    pub(crate) fn reset(&self) {
        self.cache.reset();
    }

    /// The counters of the cache.
    pub(crate) fn stats(&self) -> Stats {
        self.cache.stats()
    }

    /// The status of the policy.
    pub(crate) fn policy(&self) -> PolicyStatus {
        self.cache.policy()
    }

    /// Writes down which tokens were used since the last time.
    pub(crate) async fn write_last_used(&self, store: &Store) {
        if let Some(last_used) = &self.last_used {
            last_used.write(store, self.now_ms()).await;
        }
    }

    /// Does so again and again.
    pub(crate) async fn write_last_used_every(self: Arc<Self>, span: Duration, store: Store) {
        loop {
            tokio::time::sleep(span).await;
            self.write_last_used(&store).await;
        }
    }
}

#[cfg(test)]
mod tests;
