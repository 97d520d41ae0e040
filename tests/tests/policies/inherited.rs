//! The treatment of entries that another policy has left: rehearsed before a policy meets the first of them.
//!
//! Each of these policies is honest with every entry of its own, and with those of another policy while they
//! are young. Not one of them may be swapped in: after a swap all of a server's reads meet such entries.

use leasehold::{BuildError, Policy, SecretCache, Stage, Status, WorkspaceId};
use leasehold_policies::TTL;
use leasehold_tests::scripted::Scripted;

use super::{TestBed, W, hostile};

const CASES: [(&str, &str, &str); 4] = [
    ("leaks-what-is-too-old", "a read", "it kept handles"),
    ("leaks-what-is-too-old-while-the-database-fails", "a read while the database fails", "it kept handles"),
    ("leaks-what-is-too-old-in-an-issue", "an issue", "it kept handles"),
    ("traps-at-a-kept-absence", "a read", "read failed"),
];

#[tokio::test]
async fn a_policy_that_fails_at_what_another_one_has_left_is_refused_by_card_and_swap() {
    let database = Scripted::new();
    database.store(W, Some("stored"));
    let id = WorkspaceId::new(W).expect("a usable id");
    let cache = SecretCache::builder().database(database).build().await.expect("the default policy");
    cache.read(&id).await.expect("the row is there");
    for (does, step, fault) in CASES {
        let carded = SecretCache::builder().policy(hostile(does)).rehearse().await.expect_err(does);
        let BuildError::Policy(carded) = carded else { panic!("{does}: {carded}") };
        let swapped = cache.swap(hostile(does)).await.expect_err(does);
        for error in [carded, swapped] {
            assert_eq!(error.stage, Stage::Rehearsal, "{does}: {error}");
            let names_the_entry = error.reason.contains(", where another policy has kept ");
            let names_the_rest = error.reason.starts_with(step) && error.reason.contains(fault);
            assert!(names_the_entry && names_the_rest, "{does}: {}", error.reason);
        }
        assert_eq!(cache.read(&id).await.map(|lookup| lookup.status), Ok(Status::Hit), "{does}");
    }
}

/// The outcome without a rehearsal.
#[tokio::test]
async fn what_is_refused_there_would_be_at_fault_at_the_first_read_after_a_swap() {
    let bench = TestBed::new(Policy::from_bytes(TTL)).await;
    bench.read().await.expect("the row is there");
    bench.clock.advance(std::time::Duration::from_secs(2));
    bench.cache.swap(hostile("leaks-what-is-too-old")).await.expect("nothing is rehearsed here");
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Bypassed)));
    assert_eq!(bench.cache.stats().policy_faults, 1);
}
