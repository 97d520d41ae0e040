//! Policies in the interpreter: the same answers, the same limits, and code of their own.

use std::sync::Arc;

use leasehold::{Builder, Execution, ManualClock, Policy, SecretCache, Status, WorkspaceId};
use leasehold_tests::scripted::Scripted;

use super::{TestBed, W, hostile};

async fn bench(builder: Builder, policy: Policy) -> TestBed {
    let database = Scripted::new();
    database.store(W, Some("stored"));
    let clock = Arc::new(ManualClock::new());
    let builder = builder.interpreter(true).database(database.clone()).clock(Arc::clone(&clock));
    let cache = builder.policy(policy).build().await.expect("the policy is taken");
    TestBed { cache, database, clock, id: WorkspaceId::new(W).expect("a usable id") }
}

#[tokio::test]
async fn every_shipped_policy_is_rehearsed_and_serves_in_the_interpreter_as_it_does_natively() {
    for (name, component) in leasehold_policies::ALL {
        let bench = bench(SecretCache::builder(), Policy::from_bytes(*component)).await;
        let status = bench.cache.policy();
        assert_eq!((status.name.as_str(), status.execution), (*name, Execution::Interpreter));
        let natively = SecretCache::builder().interpreter(false).policy(Policy::from_bytes(*component));
        let (mut here, there) = (status.card.expect("it was rehearsed"), natively.rehearse().await);
        let there = there.expect("it is native code");
        // The duration of a call depends on the machine, and everything else on the policy.
        here.call = there.call;
        assert_eq!(format!("{here:?}"), format!("{there:?}"), "{name}");
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)), "{name}");
        let issued = bench.issue().await.expect("there is a row");
        assert_eq!(bench.read().await.expect("there is a row").0, issued, "{name}");
        assert_eq!(bench.cache.stats().policy_faults, 0, "{name}");
    }
}

#[tokio::test]
async fn the_same_component_is_compiled_once_for_each_way_of_running_it() {
    let policy = hostile("spins");
    let native = leasehold_tests::hostile::builder().interpreter(false).database(Scripted::new());
    let native = native.policy(policy.clone()).build().await.expect("it can be configured");
    let interpreted = bench(leasehold_tests::hostile::builder(), policy).await;
    assert_eq!(native.policy().execution, Execution::Native);
    assert_eq!(interpreted.cache.policy().execution, Execution::Interpreter);
    // A call that neither the limit nor the meter would end goes on for ever in either.
    assert_eq!(interpreted.read().await, Ok(("stored".into(), Status::Bypassed)));
    assert_eq!(interpreted.cache.stats().policy_faults, 1);
}
