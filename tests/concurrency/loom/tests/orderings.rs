//! Each scenario in every execution that the atomic orderings allow. The scenarios state what must hold.
//!
//! Loom explores to exhaustion by itself: there is nothing to choose here.

use leasehold_concurrency_loom::scenarios;

#[test]
fn whoever_sees_a_generation_finds_its_value_or_a_newer_one() {
    scenarios::whoever_sees_a_generation_finds_its_value_or_a_newer_one();
}

#[test]
fn no_generation_is_given_twice() {
    scenarios::no_generation_is_given_twice();
}
