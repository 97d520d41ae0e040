//! The default policy natively: its own arithmetic and its order of writes, on the fake host.

use super::*;
use leasehold_policy::{Ceilings, FakeHost};

fn host(settings: &[(&str, &str)]) -> FakeHost<Ttl> {
    FakeHost::new(settings).expect("the settings are good")
}

#[test]
fn a_secret_is_selected_once_per_ttl_and_no_sooner() {
    let host = host(&[]);
    host.store("w", Some("a"));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    host.store("w", Some("b"));
    host.advance(Duration::from_millis(299_999));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.read("w"), Ok(Some("b".into())));
    assert_eq!(host.selects(), 2);
}

#[test]
fn absence_is_not_stored() {
    let host = host(&[]);
    host.store("w", None);
    assert_eq!(host.read("w"), Ok(None));
    assert_eq!(host.lease("w"), None);
    host.store("w", Some("a"));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
}

#[test]
fn absence_drops_what_was_stored_before() {
    let host = host(&[("ttl", "1m")]);
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.store("w", None);
    let host = host.swap::<Ttl>(&[("ttl", "0s")]).expect("the settings are good");
    assert_eq!(host.read("w"), Ok(None));
    let host = host.swap::<Ttl>(&[("ttl", "1m")]).expect("the settings are good");
    assert_eq!(host.read("w"), Ok(None), "the old secret is not served again");
}

#[test]
fn an_error_is_returned_and_stores_nothing() {
    let host = host(&[]);
    host.store("w", Some("a"));
    for error in [DatabaseError::Unavailable, DatabaseError::Timeout, DatabaseError::Overloaded] {
        host.fail(Some(error));
        assert_eq!(host.read("w"), Err(error));
        assert_eq!(host.issue("w", IssueMode::Rotate), Err(error));
        assert_eq!(host.lease("w"), None);
    }
}

#[test]
fn an_issue_is_served_without_a_select() {
    let host = host(&[]);
    host.store("w", Some("old"));
    let issued = host.issue("w", IssueMode::Rotate).expect("the row is there");
    assert_eq!(host.read("w"), Ok(Some(issued)));
    assert_eq!(host.selects(), 0);
    assert_eq!(host.issue("no-row", IssueMode::Heal), Err(DatabaseError::UnknownWorkspace));
    assert_eq!(host.lease("no-row"), None);
}

#[test]
fn a_swap_leases_young_entries_again_without_a_select() {
    let host = host(&[]);
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.advance(Duration::from_secs(20));
    let host = host.swap::<Ttl>(&[("ttl", "30s")]).expect("the settings are good");
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    assert_eq!(host.selects(), 1);
    host.advance(Duration::from_secs(10));
    host.read("w").expect("the row is there");
    assert_eq!(host.selects(), 2, "the new lease counts from when the value was obtained");
}

#[test]
fn what_is_younger_than_ttl_and_older_than_the_operator_allows_is_read_again() {
    let host = host(&[]);
    host.set_ceilings(Ceilings { max_fresh: Duration::from_secs(60), ..Ceilings::default() });
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.store("w", Some("b"));
    host.advance(Duration::from_secs(59));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    host.advance(Duration::from_secs(1));
    assert_eq!(host.read("w"), Ok(Some("b".into())));
    assert_eq!(host.selects(), 2);
}

#[test]
fn jitter_shortens_the_ttl_within_its_range_and_differently() {
    let host = host(&[("ttl", "60s"), ("jitter", "20s")]);
    let mut ends = Vec::new();
    for n in 0..200 {
        let workspace = format!("w{n}");
        host.store(&workspace, Some("a"));
        host.read(&workspace).expect("the row is there");
        ends.push(host.lease(&workspace).expect("it was put").fresh_until - host.now());
    }
    assert!(ends.iter().all(|life| (40..=60).contains(&life.as_secs())), "{ends:?}");
    let (shortest, longest) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(*longest - *shortest > Duration::from_secs(15), "{shortest:?} to {longest:?}");
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (settings, word) in [(("ttl", "soon"), "ttl"), (("jitter", "6m"), "jitter"), (("tll", "5m"), "tll")] {
        let error = FakeHost::<Ttl>::new(&[settings]).err().expect("it is bad");
        assert!(error.contains(word), "{error}");
    }
}
