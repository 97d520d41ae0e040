//! The effects of a policy on the host, of which there are none: it is refused at the gate, or contained
//! behind it (G2, G4, G6, G7).

mod artifacts;
mod boundary;
mod breaker;
mod contained;
mod corpus;
mod fleet;
mod inherited;
mod interpreter;
mod observer;
mod probation;
mod refresh;
mod refused;
mod rehearsal;
mod shared;
mod shipped;
mod signed;
mod versions;

use std::sync::Arc;

use leasehold::{Error, ManualClock, Policy, SecretCache, Status, WorkspaceId};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::scripted::Scripted;

const W: &str = "w";

/// Returns a policy that breaks the rule of this name; see `tests/hostile`.
fn hostile(does: &str) -> Policy {
    leasehold_tests::hostile::does(does, &Marker::new())
}

struct TestBed {
    cache: SecretCache,
    database: Scripted,
    clock: Arc<ManualClock>,
    id: WorkspaceId,
}

impl TestBed {
    async fn new(policy: Policy) -> Self {
        let database = Scripted::new();
        database.store(W, Some("stored"));
        let clock = Arc::new(ManualClock::new());
        let builder =
            leasehold_tests::hostile::builder().database(database.clone()).clock(Arc::clone(&clock));
        let cache = builder.policy(policy).build().await.expect("the policy can be configured");
        Self { cache, database, clock, id: WorkspaceId::new(W).expect("a usable id") }
    }

    async fn read(&self) -> Result<(String, Status), Error> {
        let lookup = self.cache.read(&self.id).await?;
        Ok((lookup.secret.expose_str().expect("text").to_owned(), lookup.status))
    }

    async fn issue(&self) -> Result<String, Error> {
        Ok(self.cache.issue(&self.id).await?.expose_str().expect("text").to_owned())
    }
}
