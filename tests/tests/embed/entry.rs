//! A look at one entry: what it says, and that it is no read.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use leasehold::{EntryState, ManualClock, Policy, SecretCache, WorkspaceId};
use leasehold_tests::Engine;

#[tokio::test]
async fn an_entry_says_what_a_read_would_find_and_is_not_touched() -> Result<()> {
    let rows = Engine::Sqlite.workspaces().await?;
    rows.insert("w", Some("stored")).await?;
    rows.insert("none", None).await?;
    let clock = Arc::new(ManualClock::new());
    let policy =
        Policy::from_bytes(leasehold_policies::NEGATIVE).setting("ttl", "60s").setting("jitter", "0s");
    let builder = SecretCache::builder().database(rows.secrets().await?).policy(policy);
    let cache = builder.clock(Arc::clone(&clock)).build().await?;
    let (w, none) = (WorkspaceId::new("w")?, WorkspaceId::new("none")?);
    assert_eq!(cache.entry(&w), None);
    cache.read(&w).await?;
    assert!(cache.read(&none).await.is_err());
    let (fresh, absent) = (cache.entry(&w).context("kept")?, cache.entry(&none).context("kept")?);
    assert_eq!((fresh.state, absent.state, fresh.generation), (EntryState::Fresh, EntryState::Absent, 1));
    let stats = cache.stats();
    clock.advance(Duration::from_secs(5));
    let later = cache.entry(&w).context("kept")?;
    assert_eq!(later.age - fresh.age, Duration::from_secs(5));
    assert_eq!(fresh.fresh_for - later.fresh_for, Duration::from_secs(5));
    assert_eq!(fresh.keep_for - later.keep_for, Duration::from_secs(5));
    assert_eq!((cache.stats().hits, cache.stats().statements), (stats.hits, stats.statements));
    clock.advance(fresh.fresh_for);
    let over = cache.entry(&w);
    assert!(over.is_none_or(|over| over.state == EntryState::Stale && over.fresh_for.is_zero()), "{over:?}");
    cache.remove(&none);
    assert_eq!(cache.entry(&none), None);
    Ok(())
}
