//! The policies between which callers swap: all that are shipped, with leases of some milliseconds
//! and with long ones.

use leasehold::Policy;
use leasehold_policies::{NEGATIVE, PASSTHROUGH, RESILIENT, TTL, WATCHED};

/// Returns few combinations, because each is rehearsed once.
pub(crate) fn all() -> Vec<Policy> {
    let ttl = |span| Policy::from_bytes(TTL).setting("ttl", span);
    vec![
        ttl("5m"),
        ttl("20ms"),
        ttl("200ms").setting("jitter", "0s"),
        first(),
        Policy::from_bytes(RESILIENT).setting("ttl", "50ms").setting("stale", "1s").setting("retry", "50ms"),
        Policy::from_bytes(WATCHED),
        Policy::from_bytes(NEGATIVE).setting("absent-ttl", "20ms"),
        Policy::from_bytes(NEGATIVE).setting("ttl", "50ms"),
        passthrough(),
    ]
}

/// Returns the policy that callers find first: it refreshes ahead of the end of its leases.
pub(crate) fn first() -> Policy {
    Policy::from_bytes(RESILIENT)
        .setting("ttl", "100ms")
        .setting("jitter", "20%")
        .setting("refresh-ahead", "50%")
}

/// Settings for the active policy: those of one policy are refused by another one.
pub(crate) const SETTINGS: [(&str, &str); 4] =
    [("ttl", "40ms"), ("ttl", "1s"), ("jitter", "0s"), ("absent-ttl", "100ms")];

/// Returns the policy under which everything is leased for as long as the operator allows.
pub(crate) fn longest() -> Policy {
    Policy::from_bytes(TTL).setting("jitter", "0s")
}

/// Returns the policy under which nothing is leased.
pub(crate) fn passthrough() -> Policy {
    Policy::from_bytes(PASSTHROUGH)
}
