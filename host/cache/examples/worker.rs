//! A worker that signs jobs with their workspace's secret: `cargo run -p leasehold --features testing
//! --example worker`.
//!
//! It warms the cache for a batch in few statements, and then borrows each secret where it is: a hit copies
//! nothing and waits for nothing. A workspace without a secret is issued one.

use leasehold::testing::InMemory;
use leasehold::{Error, SecretCache, WorkspaceId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = InMemory::new();
    let jobs: Vec<WorkspaceId> =
        (0..1_000).map(|job| WorkspaceId::new(format!("w{}", job % 100))).collect::<Result<_, _>>()?;
    for workspace in &jobs {
        database.store(workspace.as_str(), "a secret of this workspace");
    }
    database.store_null("new");
    let cache = SecretCache::builder().database(database.clone()).build().await?;

    let warm = cache.warm(&jobs).await;
    println!("{} of {} are cached, by {} SELECTs", warm.present, jobs.len(), database.selects());

    let mut sum = 0_u64;
    for workspace in &jobs {
        sum = sum.wrapping_add(cache.read_with(workspace, |secret| sign(secret.expose())).await?);
    }
    println!("signed {} jobs, {} hits: {sum:x}", jobs.len(), cache.stats().hits);

    let new = WorkspaceId::new("new")?;
    assert_eq!(cache.read(&new).await.map(drop), Err(Error::Absent));
    println!("a new workspace: {}", cache.read_or_issue(&new).await?.status.as_str());
    Ok(())
}

/// A stand-in for an HMAC.
fn sign(secret: &[u8]) -> u64 {
    secret.iter().fold(7, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte))
}
