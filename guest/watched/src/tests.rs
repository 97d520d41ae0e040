//! The policy natively, on the fake host, which has no invalidation channel: there it must behave as the
//! default policy.

use super::*;
use leasehold_policy::FakeHost;

/// Makes a host without jitter, unless the settings say otherwise: leases of exactly `ttl`.
fn host(settings: &[(&str, &str)]) -> FakeHost<Watched> {
    FakeHost::new(&even(settings)).expect("the settings are good")
}

fn even<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let is_set = settings.iter().any(|(name, _)| *name == "jitter");
    settings.iter().copied().chain((!is_set).then_some(("jitter", "0s"))).collect()
}

#[test]
fn without_a_channel_a_secret_is_selected_once_per_ttl_and_no_sooner() {
    let host = host(&[]);
    host.store("w", Some("a"));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    host.store("w", Some("b"));
    host.advance(Duration::from_millis(299_999));
    assert_eq!(host.read("w"), Ok(Some("a".into())));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.read("w"), Ok(Some("b".into())), "it is kept for longer, and not served for longer");
    assert_eq!(host.selects(), 2);
}

#[test]
fn the_lease_is_longer_for_a_host_that_is_told_of_changes() {
    let host = host(&[("ttl", "1m"), ("watched-ttl", "30m")]);
    host.store("w", Some("a"));
    host.issue("w", IssueMode::Rotate).expect("the row is there");
    let lease = host.lease("w").expect("it was put");
    let minutes = |n: u64| host.now() + Duration::from_secs(n * 60);
    assert_eq!(
        (lease.fresh_until, lease.watched_until, lease.keep_until),
        (minutes(1), minutes(30), minutes(30))
    );
    assert!(lease.refresh_after >= lease.fresh_until, "it asks ahead of nothing");
}

#[test]
fn an_error_is_returned_though_a_value_is_kept() {
    let host = host(&[]);
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.advance(Duration::from_secs(300));
    host.fail(Some(DatabaseError::Timeout));
    assert_eq!(host.read("w"), Err(DatabaseError::Timeout));
}

#[test]
fn absence_drops_what_was_kept() {
    let host = host(&[]);
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.advance(Duration::from_secs(300));
    host.delete("w");
    assert_eq!((host.read("w"), host.lease("w")), (Ok(None), None));
}

#[test]
fn a_swap_goes_by_ttl() {
    let host = host(&[]);
    host.store("w", Some("a"));
    host.read("w").expect("the row is there");
    host.advance(Duration::from_secs(20));
    let host = host.swap::<Watched>(&even(&[("ttl", "30s")])).expect("the settings are good");
    host.read("w").expect("the row is there");
    assert_eq!(host.selects(), 1);
    host.advance(Duration::from_secs(10));
    host.read("w").expect("the row is there");
    assert_eq!(host.selects(), 2);
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (settings, word) in
        [(("ttl", "soon"), "ttl"), (("watched-ttl", "4m"), "watched-ttl"), (("ttl", "2h"), "watched-ttl")]
    {
        let error = FakeHost::<Watched>::new(&[settings]).err().expect("it is bad");
        assert!(error.contains(word), "{error}");
    }
}
