//! The policy natively, on the fake host: its arithmetic, and its behaviour when the database fails.

use super::*;
use leasehold_policy::{Ceilings, FakeHost};

/// Settings for leases of exactly 5 minutes.
const EVEN: &[(&str, &str)] = &[("jitter", "0s"), ("refresh-ahead", "0s")];
const FAILURES: [DatabaseError; 3] =
    [DatabaseError::Unavailable, DatabaseError::Timeout, DatabaseError::Overloaded];

/// Makes a host with one row, whose value was read and then expired.
fn expired() -> FakeHost<Resilient> {
    let host = FakeHost::new(EVEN).expect("the settings are good");
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.advance(seconds(300));
    host
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_kept_value_is_the_answer_while_the_database_fails_and_it_is_asked_once_per_retry() {
    for error in FAILURES {
        let host = expired();
        host.fail(Some(error));
        for attempt in 1..=3 {
            for _ in 0..10 {
                assert_eq!(host.read("w"), Ok(Some("a".into())));
            }
            assert_eq!(host.selects(), 1 + attempt, "{error:?}");
            host.advance(seconds(5));
        }
        host.store("w", Some("b"));
        host.fail(None);
        assert_eq!(host.read("w"), Ok(Some("b".into())), "the first attempt that succeeds ends it");
    }
}

#[test]
fn a_kept_value_is_never_the_answer_beyond_its_bound() {
    let host = expired();
    host.fail(Some(DatabaseError::Unavailable));
    host.advance(Duration::from_millis(599_999));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    host.advance(Duration::from_millis(1));
    assert_eq!(
        host.read("w"),
        Err(DatabaseError::Unavailable),
        "not even under the lease of the last answer"
    );
}

#[test]
fn the_operators_ceilings_bound_it_further() {
    let host = expired();
    host.fail(Some(DatabaseError::Unavailable));
    host.set_ceilings(Ceilings { max_fresh: seconds(302), max_keep: seconds(310), ..Ceilings::default() });
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    let lease = host.lease("w").expect("it was put");
    assert_eq!((lease.fresh_until - host.now(), lease.keep_until - host.now()), (seconds(2), seconds(10)));
    host.advance(seconds(10));
    assert_eq!(host.read("w"), Err(DatabaseError::Unavailable));
}

#[test]
fn what_the_database_says_is_absent_or_unknown_is_not_answered_with_a_kept_value() {
    let host = expired();
    host.store("w", None);
    assert_eq!((host.read("w"), host.lease("w")), (Ok(None), None));
    host.fail(Some(DatabaseError::Unavailable));
    assert_eq!(host.read("w"), Err(DatabaseError::Unavailable), "an absence ends the value for good");
    let host = expired();
    host.fail(Some(DatabaseError::UnknownWorkspace));
    assert_eq!(host.read("w"), Err(DatabaseError::UnknownWorkspace));
}

#[test]
fn a_failed_issue_is_an_error_and_a_secret_issued_is_leased() {
    let host = expired();
    for error in FAILURES {
        host.fail(Some(error));
        assert_eq!(host.issue("w", IssueMode::Rotate), Err(error));
    }
    host.fail(None);
    let issued = host.issue("w", IssueMode::Rotate).expect("the row is there");
    assert_eq!(host.read("w"), Ok(Some(issued)));
    assert_eq!(host.selects(), 1);
}

#[test]
fn a_value_is_refreshed_ahead_of_its_end_and_kept_beyond_it() {
    let settings = [("ttl", "60s"), ("jitter", "0s"), ("refresh-ahead", "25%"), ("stale", "1m")];
    let host = FakeHost::<Resilient>::new(&settings).expect("the settings are good");
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    let lease = host.lease("w").expect("it was put");
    let after = |n| host.now() + seconds(n);
    assert_eq!(
        (lease.refresh_after, lease.fresh_until, lease.keep_until),
        (after(45), after(60), after(120))
    );
    // A swap in the meantime: a refresh that is due is not put off by it.
    host.advance(seconds(45));
    let host = host.swap::<Resilient>(&settings).expect("the settings are good");
    host.read("w").expect("the row is there");
    assert_eq!(host.selects(), 1);
    host.advance(Duration::from_millis(1));
    let host = host.swap::<Resilient>(&settings).expect("the settings are good");
    host.read("w").expect("the row is there");
    assert_eq!(host.selects(), 2);
}

#[test]
fn a_refresh_ahead_that_fails_leaves_the_lease_as_long_as_it_was() {
    let settings = [("ttl", "60s"), ("jitter", "0s"), ("refresh-ahead", "30s")];
    let host = FakeHost::<Resilient>::new(&settings).expect("the settings are good");
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.advance(seconds(31));
    host.fail(Some(DatabaseError::Timeout));
    let host = host.swap::<Resilient>(&settings).expect("the settings are good");
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    let lease = host.lease("w").expect("it was put");
    assert_eq!((lease.refresh_after - host.now(), lease.fresh_until - host.now()), (seconds(5), seconds(29)));
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (settings, words) in [
        (&[("ttl", "soon")][..], "setting ttl: expected a duration"),
        (&[("jitter", "101%")], "setting jitter: expected 0% to 100%"),
        (&[("jitter", "6m")], "setting jitter: expected at most ttl"),
        (&[("refresh-ahead", "91%")], "setting refresh-ahead: expected at most ttl less jitter"),
        (&[("retry", "0s")], "setting retry: expected more than 0s"),
        (&[("stale", "")], "setting stale"),
    ] {
        let error = FakeHost::<Resilient>::new(settings).err().expect("it is bad");
        assert!(error.contains(words), "{error}");
    }
    assert!(FakeHost::<Resilient>::new(&[("ttl", "0s")]).is_ok(), "asking each time is a good policy, too");
}
