//! The contract's version as a component states it: which versions this host runs, and its words about the
//! others.
//!
//! The rule is in `wit/0.1/world.wit`. The components here are the default policy with the version in its
//! imports and exports replaced, so that nothing but the version can be the reason.

use leasehold::{Policy, Stage, Status};

use super::TestBed;

/// Returns the default policy as if it had been built against the contract of another version, of as many
/// digits.
fn built_against(version: &str) -> Policy {
    let (old, new) = ("@0.1.0", format!("@{version}"));
    assert_eq!(old.len(), new.len(), "or every length in the component would be wrong");
    let mut component = leasehold_policies::TTL.to_vec();
    let mut found = 0;
    for at in 0..component.len() - old.len() {
        if component[at..].starts_with(old.as_bytes()) {
            component[at..at + old.len()].copy_from_slice(new.as_bytes());
            found += 1;
        }
    }
    assert!(found > 6, "it names its five imports and two exports with a version");
    Policy::from_bytes(component)
}

#[tokio::test]
async fn a_component_of_this_version_or_of_a_patch_of_it_runs() {
    for version in ["0.1.0", "0.1.9"] {
        let bench = TestBed::new(built_against(version)).await;
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)), "{version}");
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Hit)), "{version}");
        assert_eq!(bench.cache.stats().policy_faults, 0, "{version}");
    }
}

#[tokio::test]
async fn a_component_of_another_version_is_refused_with_both_versions_in_the_words() {
    let bench = TestBed::new(Policy::from_bytes(leasehold_policies::TTL)).await;
    for version in ["0.2.0", "0.0.9", "1.0.0", "9.1.0"] {
        let error = bench.cache.swap(built_against(version)).await.expect_err(version);
        assert_eq!(error.stage, Stage::World, "{error}");
        for words in [format!("@{version}"), "leasehold:policy@0.1.0".to_owned()] {
            assert!(error.reason.contains(&words), "no {words:?} in {error}");
        }
    }
    assert_eq!(bench.cache.policy().generation, 1);
}
