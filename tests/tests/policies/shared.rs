//! Many caches in one process, as in a test suite: what they have in common is compiled once.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use leasehold::{BuildError, Builder, Policy, SecretCache};
use leasehold_tests::scripted::Scripted;

const THREADS: usize = 24;

/// Returns the policy `ttl` as a component that nothing else has: with a word of its own in it, which does
/// nothing.
fn another_ttl(word: &str) -> Policy {
    let mut component = leasehold_policies::TTL.to_vec();
    let length = |bytes: usize| u8::try_from(bytes).expect("a short word");
    component.extend([0, length(word.len() + 1), length(word.len())]);
    component.extend(word.as_bytes());
    Policy::from_bytes(component)
}

fn builder(policy: Policy) -> Builder {
    // On a machine with two processors the last of many is late.
    SecretCache::builder()
        .database(Scripted::new())
        .policy(policy)
        .policy_compile_limit(Duration::from_secs(60))
}

/// Waits until the built-in policy is compiled, whichever test is the first.
async fn with_the_built_in_one() {
    builder(Policy::from_bytes(leasehold_policies::TTL)).build().await.expect("the default policy");
}

/// Builds a cache in each of so many threads at once, each with a runtime of its own, and returns how many
/// components were compiled for each. None is dropped before the last one is there.
fn at_once(policy: impl Fn(usize) -> Policy) -> Vec<Result<u64, BuildError>> {
    let all = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (all, builder) = (Arc::clone(&all), builder(policy(number)));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    all.wait();
                    let cache = builder.build().await;
                    all.wait();
                    cache.map(|cache| cache.stats().compilations)
                })
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
}

#[tokio::test]
async fn caches_that_are_built_at_once_by_many_threads_compile_their_policy_once() {
    with_the_built_in_one().await;
    let compiled = at_once(|_| another_ttl("the same for all"));
    let sum: u64 = compiled.into_iter().map(|cache| cache.expect("none is turned away")).sum();
    assert_eq!(sum, 1);
}

#[tokio::test]
async fn different_policies_of_many_threads_wait_for_each_other() {
    with_the_built_in_one().await;
    for compiled in at_once(|number| another_ttl(&format!("of thread {number}"))) {
        assert_eq!(compiled.expect("none is turned away"), 1);
    }
}

#[tokio::test]
async fn what_one_cache_holds_is_not_compiled_for_another_and_what_none_holds_is_compiled_again() {
    with_the_built_in_one().await;
    let build = async || {
        // The policy is its own each time, with the same bytes.
        let cache = builder(another_ttl("held by one")).build().await.expect("it is a policy");
        (cache.stats().compilations, cache)
    };
    let (first, cache) = build().await;
    let (second, other) = build().await;
    assert_eq!((first, second), (1, 0));
    drop(cache);
    let (third, cache) = build().await;
    assert_eq!(third, 0, "another one holds it");
    drop((cache, other));
    assert_eq!(build().await.0, 1);
}

#[tokio::test]
async fn the_built_in_policy_is_compiled_once_in_a_process() {
    with_the_built_in_one().await;
    let cache =
        builder(Policy::from_bytes(leasehold_policies::TTL)).build().await.expect("the default policy");
    assert_eq!(cache.stats().compilations, 0, "nobody has held it meanwhile");
    let ttl = Policy::from_bytes(leasehold_policies::TTL).setting("ttl", "1m");
    let report = cache.swap(ttl).await.expect("the settings are good");
    assert!(report.card.is_some(), "with other settings it is rehearsed");
}

#[tokio::test]
async fn a_swap_that_is_dropped_while_it_waits_for_the_compiler_is_as_if_it_had_never_been() {
    with_the_built_in_one().await;
    let cache =
        builder(Policy::from_bytes(leasehold_policies::TTL)).build().await.expect("the default policy");
    for number in 0..100 {
        // There are more than may wait, and each is gone before the next one comes.
        let mut swap = pin!(cache.swap(another_ttl(&format!("dropped {number}"))));
        assert!(poll_fn(|context| Poll::Ready(swap.as_mut().poll(context))).await.is_pending());
    }
    let last =
        cache.swap(another_ttl("the last one")).await.expect("nothing is before it but one that is compiled");
    assert_eq!(cache.policy().generation, last.generation);
}

/// A cache is built in a moment by an optimised compiler alone, and each project has profiles of its own.
#[test]
fn the_profile_that_the_readme_has_to_copy_is_the_projects_own() {
    let (readme, own) = (include_str!("../../../README.md"), include_str!("../../../Cargo.toml"));
    let blocks = readme.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    let shown = blocks.filter(|block| block.contains("[profile."));
    let lines: Vec<_> = shown.flat_map(str::lines).filter(|line| !line.starts_with('#')).collect();
    assert!(lines.contains(&"[profile.dev.package.cranelift-codegen]"), "{lines:?}");
    for pair in lines.chunks(2) {
        assert!(own.contains(&format!("{}\n", pair.join("\n"))), "Cargo.toml has not {pair:?}");
    }
}
