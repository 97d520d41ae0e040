//! The policy natively, on the fake host: that it sends a SELECT each time and leaves nothing behind.

use super::*;
use core::time::Duration;
use leasehold_policy::{FakeHost, Lease};

/// A policy that keeps everything for long, to be swapped for the one under test.
struct Hoard;

impl Policy for Hoard {
    const DESCRIPTION: Description = Passthrough::DESCRIPTION;

    fn configure(_: &Settings<'_>) -> Result<Self, String> {
        Ok(Self)
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        if let Some(kept) = cx.entry() {
            return Ok(kept.value);
        }
        let found = cx.select()?;
        found.iter().for_each(|secret| cx.put(secret, Lease::until(cx.now() + Duration::from_secs(3600))));
        Ok(found)
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        cx.issue(mode)
    }
}

#[test]
fn every_read_is_a_select_and_nothing_is_stored() {
    let host = FakeHost::<Passthrough>::new(&[]).expect("there are no settings");
    for (n, secret) in [Some("a"), Some("b"), None].into_iter().enumerate() {
        host.store("w", secret);
        assert_eq!(host.read("w"), Ok(secret.map(String::from)));
        assert_eq!((host.selects(), host.lease("w")), (n as u64 + 1, None));
    }
}

#[test]
fn an_issue_is_not_stored_either() {
    let host = FakeHost::<Passthrough>::new(&[]).expect("there are no settings");
    host.store("w", None);
    let issued = host.issue("w", IssueMode::Rotate).expect("the row is there");
    assert_eq!((host.lease("w"), host.selects()), (None, 0));
    assert_eq!(host.read("w"), Ok(Some(issued)));
    assert_eq!((host.lease("w"), host.selects()), (None, 1));
}

#[test]
fn what_an_earlier_policy_stored_goes_even_if_the_select_fails() {
    let host = FakeHost::<Hoard>::new(&[]).expect("there are no settings");
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    let host = host.swap::<Passthrough>(&[]).expect("there are no settings");
    host.fail(Some(DatabaseError::Unavailable));
    assert_eq!(host.read("w"), Err(DatabaseError::Unavailable));
    let host = host.swap::<Hoard>(&[]).expect("there are no settings");
    assert_eq!(host.read("w"), Err(DatabaseError::Unavailable), "it is not there any more");
}

#[test]
fn a_setting_is_refused_for_there_are_none() {
    let error = FakeHost::<Passthrough>::new(&[("ttl", "5m")]).err().expect("it is unknown");
    assert!(error.contains("\"ttl\"") && error.contains("it has none"), "{error}");
}
