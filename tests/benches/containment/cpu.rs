//! The processor time that a runaway call takes before it is ended, with everything that its ending costs.
//!
//! The whole call runs on this thread, so the thread's own clock measures it, whatever else the machine does.
//! The cost of an honest call is measured in the same manner and subtracted.

use std::time::Duration;

use leasehold::{Policy, SecretCache, WorkspaceId};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile;
use leasehold_tests::scripted::Scripted;
use tokio::runtime::{Builder, Runtime};

use crate::measure::{percentile, thread_cpu, verdict};

/// The limit of a call, and the allowance for its end.
const LIMIT: Duration = Duration::from_millis(12);

const SDK: [&str; 15] = [
    "spins",
    "spins-after-select",
    "spins-in-issue",
    "spins-after-issue",
    "asks-the-clock-for-ever",
    "asks-for-the-entry-for-ever",
    "puts-for-ever",
    "removes-for-ever",
    "selects-for-ever",
    "logs-for-ever",
    "logs-a-megabyte",
    "recurses",
    "grows",
    "fills",
    "hoards-handles",
];

pub(crate) fn run(percent: u64) -> bool {
    let calls = (50 * percent / 100).max(5);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let marker = Marker::new();
    let honest = measure(&runtime, hostile::does("nothing", &marker), calls * 4, false).0;
    println!("an honest call: {honest:.1?}");
    let sdk = SDK.map(|name| (name, hostile::does(name, &marker), name.contains("issue")));
    let bare = hostile::bare_names().filter(|name| {
        name.contains("for-ever")
            || name.contains("later")
            || name.contains("whole")
            || *name == "loops-in-post-return"
    });
    let bare = bare.map(|name| (name, hostile::bare(name, &marker), false));
    let busy = [("busy in start and configure, then spins", busy(&runtime, &marker), false)];
    let mut worst = Duration::ZERO;
    for (name, policy, issues) in sdk.into_iter().chain(bare).chain(busy) {
        let (median, most) = measure(&runtime, policy, calls, issues);
        let (median, most) = (median.saturating_sub(honest), most.saturating_sub(honest));
        println!("{name:40} median {median:>8.2?}  worst {most:>8.2?} {}", verdict(most <= LIMIT));
        worst = worst.max(most);
    }
    println!("the worst of all: {worst:.2?}, allowed {LIMIT:?} {}", verdict(worst <= LIMIT));
    worst <= LIMIT
}

/// A policy that is busy for 4 ms in its start function, for 4 ms in `configure`, and then in `read` until it
/// is ended: three entries into the guest that are one call to the caller.
fn busy(runtime: &Runtime, marker: &Marker) -> Policy {
    const TURNS: u64 = 5_000_000;
    let before = thread_cpu();
    // The policy is compiled on another thread: only the guest's own work is measured.
    runtime.block_on(cache(hostile::busy(TURNS, marker), Duration::from_secs(10)));
    let took = (thread_cpu() - before) / 2;
    let turns = TURNS as f64 * 0.004 / took.as_secs_f64();
    hostile::busy(turns as u64, marker)
}

async fn cache(policy: Policy, limit: Duration) -> SecretCache {
    let database = Scripted::new();
    database.store("w", Some("stored"));
    let builder = crate::builder().database(database).policy_cpu_limit(limit);
    // The processor time of this thread is what is measured.
    let builder = builder.offload_long_calls(false);
    builder.policy(policy).build().await.expect("the policy can be configured")
}

fn id() -> WorkspaceId {
    WorkspaceId::new("w").expect("a usable id")
}

/// Returns the median and the maximum of some calls.
fn measure(runtime: &Runtime, policy: Policy, calls: u64, issues: bool) -> (Duration, Duration) {
    runtime.block_on(async {
        let cache = cache(policy, Duration::from_millis(10)).await;
        let id = id();
        let mut spans = Vec::new();
        for _ in 0..calls {
            cache.remove(&id);
            let before = thread_cpu();
            if issues {
                cache.issue(&id).await.expect("the row is there");
            } else {
                cache.read(&id).await.expect("the row is there");
            }
            spans.push(thread_cpu() - before);
        }
        (percentile(&mut spans, 50), percentile(&mut spans, 100))
    })
}
