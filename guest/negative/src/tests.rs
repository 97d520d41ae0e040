//! The policy natively, on the fake host: its treatment of absence. Secrets are leased as by the default
//! policy.

use super::*;
use leasehold_policy::{Ceilings, FakeHost};

/// Makes a host without jitter, unless the settings say otherwise: leases of exactly `ttl`.
fn host(settings: &[(&str, &str)]) -> FakeHost<Negative> {
    FakeHost::new(&even(settings)).expect("the settings are good")
}

fn even<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let is_set = settings.iter().any(|(name, _)| *name == "jitter");
    settings.iter().copied().chain((!is_set).then_some(("jitter", "0s"))).collect()
}

#[test]
fn absence_is_selected_once_per_absent_ttl_and_no_sooner() {
    let host = host(&[]);
    assert_eq!(host.read("w"), Ok(None));
    host.store("w", Some("a"));
    host.advance(Duration::from_millis(9_999));
    assert_eq!(host.read("w"), Ok(None));
    assert_eq!((host.selects(), host.calls()), (1, 1), "the host answers by itself");
    host.advance(Duration::from_millis(1));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    assert_eq!(host.selects(), 2);
}

#[test]
fn an_issue_replaces_absence() {
    let host = host(&[]);
    host.store("w", None);
    assert_eq!(host.read("w"), Ok(None));
    let issued = host.issue("w", IssueMode::Heal).expect("the row is there");
    assert_eq!(host.read("w"), Ok(Some(issued)));
    assert_eq!(host.selects(), 1);
}

#[test]
fn an_absence_replaces_a_secret() {
    let host = host(&[("ttl", "1m")]);
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.delete("w");
    host.advance(Duration::from_secs(60));
    assert_eq!(host.read("w"), Ok(None));
    let host = host.swap::<Negative>(&even(&[("ttl", "1h")])).expect("the settings are good");
    assert_eq!(host.read("w"), Ok(None), "the old secret is not served again");
}

#[test]
fn after_a_swap_young_secrets_and_absences_need_no_select() {
    let host = host(&[]);
    host.store("w", Some("a"));
    assert_eq!((host.read("w"), host.read("none")), (Ok(Some("a".into())), Ok(None)));
    host.advance(Duration::from_secs(4));
    let host = host.swap::<Negative>(&even(&[("absent-ttl", "5s")])).expect("the settings are good");
    assert_eq!((host.read("w"), host.read("none")), (Ok(Some("a".into())), Ok(None)));
    assert_eq!(host.selects(), 2);
    host.store("none", Some("b"));
    host.advance(Duration::from_secs(1));
    assert_eq!(host.read("none"), Ok(Some("b".into())), "the new lease counts from when absence was found");
    assert_eq!(host.selects(), 3);
}

#[test]
fn an_error_is_returned_and_leaves_what_is_stored() {
    let host = host(&[]);
    assert_eq!(host.read("w"), Ok(None));
    let lease = host.lease("w");
    host.advance(Duration::from_secs(10));
    host.fail(Some(DatabaseError::Unavailable));
    assert_eq!(host.read("w"), Err(DatabaseError::Unavailable));
    assert_eq!(host.lease("w"), lease, "an error is never absence");
}

#[test]
fn the_operators_ceiling_ends_absence_earlier() {
    let host = host(&[("absent-ttl", "1h")]);
    host.set_ceilings(Ceilings { max_absent: Duration::from_secs(3), ..Ceilings::default() });
    assert_eq!(host.read("w"), Ok(None));
    host.store("w", Some("a"));
    host.advance(Duration::from_secs(3));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (settings, word) in
        [(("ttl", "soon"), "ttl"), (("absent-ttl", "10"), "absent-ttl"), (("jitter", "6m"), "jitter")]
    {
        let error = FakeHost::<Negative>::new(&[settings]).err().expect("it is bad");
        assert!(error.contains(word), "{error}");
    }
}
