//! A test of a program's own, with a clock that it moves: `cargo run -p leasehold --features testing
//! --example manual_clock`.
//!
//! The cache is the real one and its policy a component as ever; the database is in memory, and time goes by
//! where the test says so.

use std::sync::Arc;
use std::time::Duration;

use leasehold::testing::InMemory;
use leasehold::{DatabaseError, Error, ManualClock, Policy, SecretCache, Status, WorkspaceId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (database, clock) = (InMemory::new(), Arc::new(ManualClock::new()));
    database.store("acme", "s3cret");
    // Every lease of five minutes, in place of some that end earlier so that not all end together.
    let policy = Policy::from_bytes(leasehold_policies::TTL).setting("ttl", "5m").setting("jitter", "0s");
    let builder = SecretCache::builder().database(database.clone()).clock(Arc::clone(&clock));
    let cache = builder.policy(policy).build().await?;
    let acme = WorkspaceId::new("acme")?;

    assert_eq!(cache.read(&acme).await?.status, Status::Miss);
    clock.advance(Duration::from_secs(299));
    assert_eq!(cache.read(&acme).await?.status, Status::Hit, "the lease lasts for five minutes");

    database.fail_with(DatabaseError::Unavailable("down".into()));
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.read(&acme).await.map(drop), Err(Error::Unavailable("down".into())));

    database.recover();
    assert_eq!((cache.read(&acme).await?.status, database.selects()), (Status::Miss, 3));
    println!("a hit for five minutes, an error while the database is down, and a miss once it is back");
    Ok(())
}
