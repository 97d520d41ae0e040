use super::*;

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let builder = crate::SecretCache::builder;
    assert_eq!(builder().check(), Ok(()));
    for (refused, method) in [
        (builder().capacity(0), "capacity"),
        (builder().database_timeout(Duration::ZERO), "database_timeout"),
        (builder().database_timeout(Duration::MAX), "database_timeout"),
        (builder().max_selects(0), "max_selects"),
        (builder().max_issues(0), "max_issues"),
        (builder().policy_cpu_limit(Duration::from_millis(2)), "policy_cpu_limit"),
    ] {
        assert!(matches!(refused.check(), Err(BuildError::OutOfRange { name, .. }) if name == method));
    }
}
