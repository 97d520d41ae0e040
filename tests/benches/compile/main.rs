//! The cost of the costliest components that the gate lets through: time to compile, and memory meanwhile.
//!
//! `cargo bench -p leasehold-tests --bench compile` looks for the largest size of each way of being costly
//! that the inspection accepts, and swaps that in, each in a process of its own; `-- WORDS` takes the ways
//! whose names contain the words. It ends with code 1 where a swap takes longer than 5 s or more than 256
//! MiB. That each component is refused at the world once it has been compiled is part of the measurement:
//! none of them is a policy.

#![allow(missing_docs, reason = "a benchmark has no interface")]

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use leasehold::{Policy, SecretCache};
use leasehold_tests::artifacts::Costly;
use leasehold_tests::hostile;
use leasehold_tests::scripted::Scripted;
use rustix::time::{ClockId, clock_gettime};

const LONGEST: Duration = Duration::from_secs(5);
const MOST_KIB: u64 = 256 << 10;
/// Time for which a process waits for a swap that takes too long.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// The argument by which a process knows that it is to measure one way in one size.
const MEASURE: &str = "measure";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [measure, name, size] = words.as_slice()
        && measure == MEASURE
    {
        println!("{}", measured(&component(name, size.parse().expect("a number"))));
        return ExitCode::SUCCESS;
    }
    let wanted = words.join(" ");
    let mut good = true;
    println!("{:40} {:>9} {:>9} {:>9} {:>9}  then", "", "size", "bytes", "ms", "KiB");
    for shipped in ["the default policy", "the hostile policy"] {
        if shipped.contains(&wanted) {
            good &= report(shipped, 0, "");
        }
    }
    for way in Costly::all().filter(|way| way.name.contains(&wanted)) {
        let (size, beyond) = largest(way);
        good &= report(way.name, size, &beyond);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn component(name: &str, size: u32) -> Vec<u8> {
    match name {
        "the default policy" => leasehold_policies::TTL.to_vec(),
        "the hostile policy" => hostile::COMPONENT.to_vec(),
        _ => Costly::named(name).expect("a known way").component(size),
    }
}

/// Returns the largest size that is let through, to one part in a hundred, and the words in which a larger
/// one is refused.
fn largest(way: Costly) -> (u32, String) {
    let inspect = |size| Policy::from_bytes(way.component(size)).inspect();
    let (mut good, mut bad) = (1, 2);
    let mut beyond = loop {
        match inspect(bad) {
            Ok(()) => (good, bad) = (bad, bad * 2),
            Err(error) => break error.reason,
        }
    };
    while bad - good > good / 100 + 1 {
        let middle = (good + bad) / 2;
        match inspect(middle) {
            Ok(()) => good = middle,
            Err(error) => (bad, beyond) = (middle, error.reason),
        }
    }
    (good, beyond)
}

/// Measures in another process, and returns whether the bounds hold.
fn report(name: &str, size: u32, beyond: &str) -> bool {
    let bytes = component(name, size).len();
    let this = std::env::current_exe().expect("the benchmark is a file");
    let output = Command::new(this).args([MEASURE, name, &size.to_string()]).output().expect("it starts");
    let line = String::from_utf8_lossy(&output.stdout);
    let mut fields = line.trim().splitn(3, ' ');
    let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (Some(millis), Some(kib)) = (number(), number()) else {
        println!("{name:40} {size:>9} {bytes:>9} ended with {} <-- FAILED", output.status);
        return false;
    };
    let good = Duration::from_millis(millis) <= LONGEST && kib <= MOST_KIB;
    let verdict = if good { "" } else { " <-- ABOVE THE LIMIT" };
    println!(
        "{name:40} {size:>9} {bytes:>9} {millis:>9} {kib:>9}  {}{verdict}",
        fields.next().unwrap_or_default()
    );
    if !beyond.is_empty() {
        println!("{:40} beyond: {beyond}", "");
    }
    good
}

/// Swaps the component in, and returns the milliseconds, the KiB and the outcome.
fn measured(component: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        // The engine and the default policy are made before the measurement.
        let builder = SecretCache::builder().database(Scripted::new()).policy_compile_limit(MAX_WAIT);
        let cache = builder.build().await.expect("the default policy");
        let policy = Policy::from_bytes(component.to_vec());
        // From here on the peak is counted from zero.
        fs::write("/proc/self/clear_refs", "5").expect("the kernel takes it");
        let (before, began) = (status_kib("VmRSS:"), now());
        let swapped = cache.swap(policy).await;
        let (took, peak) = (now() - began, status_kib("VmHWM:"));
        let became = match swapped {
            Ok(_) => "active".to_owned(),
            Err(error) => format!("{}: {}", error.stage, error.reason.chars().take(60).collect::<String>()),
        };
        format!("{} {} {became}", took.as_millis(), peak.saturating_sub(before))
    })
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel shows it");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("it has this line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
