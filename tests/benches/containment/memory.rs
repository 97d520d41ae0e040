//! The memory that hostile calls leave behind: resident memory and mappings before and after very many of
//! them.
//!
//! Only policies that do not take their whole limit of time are called: a hundred thousand of the others
//! would take half an hour. All are loaded and called before the first figure is taken.

use leasehold::{Policy, WorkspaceId};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile;
use leasehold_tests::scripted::Scripted;
use tokio::runtime::Builder;

use crate::measure::{Footprint, verdict};

const CALLS: u64 = 100_000;

const SDK: [&str; 16] = [
    "traps",
    "traps-after-put",
    "traps-after-issue",
    "traps-at-3",
    "traps-at-6",
    "selects-for-ever",
    "logs-a-megabyte",
    "recurses",
    "grows",
    "leaks-a-handle",
    "hoards-handles",
    "issues-in-a-read",
    "puts-absence-over-a-secret",
    "remembers-a-secret",
    "issues-twice",
    "leaks-the-issue",
];

/// Returns whether a guest ends by itself, and at once.
fn is_brief(name: &str) -> bool {
    let runaway =
        ["for-ever", "loops", "whole", "start", "describe", "-in-configure", "wants", "realloc", "allocates"];
    !runaway.iter().any(|word| name.contains(word))
}

pub(crate) fn run(percent: u64) -> bool {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let marker = Marker::new();
        let mut policies: Vec<Policy> = SDK.iter().map(|name| hostile::does(name, &marker)).collect();
        policies.extend(
            hostile::bare_names().filter(|name| is_brief(name)).map(|name| hostile::bare(name, &marker)),
        );
        let database = Scripted::new();
        let ids: Vec<_> = (0..50).map(|n| WorkspaceId::new(format!("w{n}")).expect("usable")).collect();
        ids.iter().for_each(|id| database.store(id.as_str(), Some("stored")));
        let first = Policy::from_bytes(leasehold_policies::TTL);
        let cache = crate::builder().database(database).policy(first).build().await.expect("it is good");
        let mut calls = 0;
        let mut rest = async |until: u64| {
            while calls < until {
                for policy in &policies {
                    cache.swap(policy.clone()).await.expect("it can be configured");
                    for id in &ids {
                        cache.read(id).await.expect("the row is there");
                        cache.issue(id).await.expect("the row is there");
                    }
                    calls += 2 * ids.len() as u64;
                }
            }
            calls
        };
        // Two rounds at least, so that every policy has been called.
        let warm = rest((CALLS * percent / 100 / 20).max(200 * policies.len() as u64)).await;
        let before = Footprint::of("self");
        let calls = rest(warm + CALLS * percent / 100).await - warm;
        let after = Footprint::of("self");
        let faults = cache.stats().policy_faults;
        let is_hostile = faults * 4 > calls;
        println!(
            "{} policies, {warm} calls to warm up, {calls} calls, {faults} faults in all {}",
            policies.len(),
            verdict(is_hostile)
        );
        before.compare("this process", after) & is_hostile
    })
}
