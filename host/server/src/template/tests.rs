//! The policy natively: a fake host stands in for the cache, with a clock and a database that the test sets.

use super::*;
use leasehold_policy::FakeHost;

fn host(settings: &[(&str, &str)]) -> FakeHost<Custom> {
    FakeHost::new(settings).expect("the settings are good")
}

#[test]
fn a_secret_is_selected_once_per_ttl_and_no_sooner() {
    let host = host(&[("ttl", "30s")]);
    host.store("w", Some("old"));
    assert_eq!(host.read("w"), Ok(Some("old".into())));
    host.store("w", Some("new"));
    host.advance(Duration::from_millis(29_999));
    assert_eq!(host.read("w"), Ok(Some("old".into())));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.read("w"), Ok(Some("new".into())));
    assert_eq!(host.selects(), 2);
}

#[test]
fn an_issue_is_served_without_a_select() {
    let host = host(&[]);
    host.store("w", Some("old"));
    let issued = host.issue("w", IssueMode::Rotate).expect("the row is there");
    assert_eq!(host.read("w"), Ok(Some(issued)));
    assert_eq!(host.selects(), 0);
}

#[test]
fn neither_absence_nor_an_error_is_stored() {
    let host = host(&[]);
    assert_eq!(host.read("w"), Ok(None));
    host.fail(Some(DatabaseError::Unavailable));
    assert_eq!(host.read("w"), Err(DatabaseError::Unavailable));
    assert_eq!(host.lease("w"), None);
}

#[test]
fn a_bad_setting_is_refused_by_name() {
    let error = FakeHost::<Custom>::new(&[("ttl", "soon")]).err().expect("it is bad");
    assert!(error.contains("ttl"), "{error}");
}
