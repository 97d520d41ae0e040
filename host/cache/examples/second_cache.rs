//! What a second cache of one process costs: `cargo run -p leasehold --example second_cache`, unoptimised
//! as tests are.
//!
//! The first one compiles the policy and rehearses it. Those after it share the compiled code for as long
//! as one of them lives, and need no rehearsal under the same settings and ceilings.

use std::time::Duration;

use leasehold::{
    Answer, Clock as _, Database, IssueMode, Policy, Secret, SecretCache, SystemClock, WorkspaceId,
};

/// A database that holds the same secret for everyone.
struct Full;

impl Database for Full {
    fn select<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async { Ok(Some(Secret::new("stored"))) })
    }

    fn issue<'a>(
        &'a self,
        _: &'a WorkspaceId,
        _: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async { Ok(minted) })
    }

    fn statements(&self) -> u64 {
        0
    }
}

async fn build(what: &str, policy: Policy) -> Result<SecretCache, Box<dyn std::error::Error>> {
    let clock = SystemClock::new();
    let began = clock.now();
    let cache = SecretCache::builder().database(Full).policy(policy).build().await?;
    println!("{what:40} {:>10.1?}", clock.now().saturating_since(began));
    Ok(cache)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ttl = |setting| Policy::from_bytes(leasehold_policies::TTL).setting("ttl", setting);
    let first = build("the first cache", ttl("5m")).await?;
    let mut caches = Vec::new();
    for _ in 0..3 {
        caches.push(build("another one", ttl("5m")).await?);
    }
    caches.push(build("another one, with other settings", ttl("1m")).await?);
    caches.push(
        build("the first one of another policy", Policy::from_bytes(leasehold_policies::RESILIENT)).await?,
    );
    caches.push(build("another one of that", Policy::from_bytes(leasehold_policies::RESILIENT)).await?);
    println!("\na swap to the same policy, by its stages:");
    for (stage, took) in first.swap(ttl("5m")).await?.stages {
        println!("{:40} {:>10.1?}", stage.as_str(), took.max(Duration::ZERO));
    }
    let compilations: u64 = caches.iter().chain([&first]).map(|cache| cache.stats().compilations).sum();
    println!("\n{compilations} components were compiled for {} caches", caches.len() + 1);
    Ok(())
}
