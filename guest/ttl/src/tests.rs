//! The default policy natively: its own arithmetic and its order of writes, on the fake host.

use super::*;
use leasehold_policy::{Ceilings, FakeHost};

/// Makes a host without jitter, unless the settings say otherwise: leases of exactly `ttl`.
fn host(settings: &[(&str, &str)]) -> FakeHost<Ttl> {
    FakeHost::new(&even(settings)).expect("the settings are good")
}

fn even<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let is_set = settings.iter().any(|(name, _)| *name == "jitter");
    settings.iter().copied().chain((!is_set).then_some(("jitter", "0s"))).collect()
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
    let host = host.swap::<Ttl>(&even(&[("ttl", "0s")])).expect("the settings are good");
    assert_eq!(host.read("w"), Ok(None));
    let host = host.swap::<Ttl>(&even(&[("ttl", "1m")])).expect("the settings are good");
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
    let host = host.swap::<Ttl>(&even(&[("ttl", "30s")])).expect("the settings are good");
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

/// Returns the lengths of the leases of a workspace that is read at every moment, one after the other.
fn leases(workspace: &str, settings: &[(&str, &str)], count: usize) -> Vec<Duration> {
    let host = FakeHost::<Ttl>::new(settings).expect("the settings are good");
    host.store(workspace, Some("a"));
    let mut lengths = Vec::new();
    for _ in 0..count {
        host.read(workspace).expect("the row is there");
        let length = host.lease(workspace).expect("it was put").fresh_until - host.now();
        host.advance(length);
        lengths.push(length);
    }
    assert_eq!(host.selects(), count as u64);
    lengths
}

#[test]
fn jitter_shortens_the_first_leases_within_its_range_and_differently() {
    let first = |n: usize| leases(&format!("w{n}"), &[("ttl", "60s"), ("jitter", "20s")], 1)[0];
    let lengths: Vec<_> = (0..200).map(first).collect();
    assert!(lengths.iter().all(|length| (40..=60).contains(&length.as_secs())), "{lengths:?}");
    let (shortest, longest) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
    assert!(*longest - *shortest > Duration::from_secs(15), "{shortest:?} to {longest:?}");
    let share = leases("w", &[("ttl", "60s"), ("jitter", "10%")], 1)[0];
    assert!((54..=60).contains(&share.as_secs()), "{share:?}");
}

#[test]
fn by_default_a_lease_lasts_for_a_fifth_of_ttl_at_least_and_after_a_few_for_all_of_it() {
    let ttl = Duration::from_secs(300);
    for n in 0..200 {
        let lengths = leases(&format!("w{n}"), &[], 8);
        assert!(lengths.iter().all(|length| (ttl / 5..=ttl).contains(length)), "{lengths:?}");
        assert!(lengths[3..].iter().all(|length| ttl - *length < Duration::from_secs(3)), "{lengths:?}");
        let all: Duration = lengths.iter().sum();
        assert!(ttl * 8 - all < ttl, "less than one lease is lost for good: {lengths:?}");
    }
}

#[test]
fn a_fleet_that_is_first_read_in_the_same_moment_expires_evenly() {
    // So many that chance alone does not make a second twice as busy as the mean one.
    const WORKSPACES: usize = 20_000;
    let mut seconds = vec![0_u32; 3_000];
    for n in 0..WORKSPACES {
        let mut end = Duration::ZERO;
        for length in leases(&format!("workspace-{n}"), &[], 12) {
            end += length;
            if let Some(second) = seconds.get_mut(end.as_secs() as usize) {
                *second += 1;
            }
        }
    }
    // The first minute is before the first lease ends.
    let (busiest, mean) = (*seconds.iter().max().unwrap(), WORKSPACES as f64 / 300.0);
    assert!(f64::from(busiest) <= 2.0 * mean, "{busiest} in a second, {mean:.0} in the mean");
    let settled = &seconds[1_000..2_000];
    let settled: u32 = settled.iter().sum();
    assert!((f64::from(settled) / 1_000.0 - mean).abs() < mean * 0.02, "{settled} in 1,000 s");
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (settings, word) in [
        (("ttl", "soon"), "ttl"),
        (("jitter", "6m"), "jitter"),
        (("jitter", "101%"), "jitter"),
        (("tll", "5m"), "tll"),
    ] {
        let error = FakeHost::<Ttl>::new(&[settings]).err().expect("it is bad");
        assert!(error.contains(word), "{error}");
    }
}
