//! The cost of a hostile policy to its neighbours, in figures: processor time, a neighbour's hits, memory.
//! And the cost of swaps.
//!
//! `cargo bench -p leasehold-tests --bench containment` runs all sections; `-- cpu`, `-- neighbour`, `--
//! memory`, `-- flood` and `-- swaps` run one each, and a number after it scales its counts in percent. It
//! prints what it measures and ends with code 1 where a limit is exceeded. Both sides of each comparison are
//! measured in the same run, in turns, because a machine has good and bad minutes.

#![allow(missing_docs, reason = "a benchmark has no interface")]

mod cpu;
mod flood;
mod measure;
mod memory;
mod neighbour;
mod swaps;

use std::process::ExitCode;
use std::time::Duration;

use leasehold::Builder;

/// A cache as the benchmark wants it.
fn builder() -> Builder {
    // The breaker would end what is measured.
    leasehold_tests::hostile::builder().breaker(u32::MAX, Duration::from_secs(1))
}

/// A section: returns whether all of its limits held, given its counts in percent.
type Section = fn(u64) -> bool;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let percent = words.iter().find_map(|word| word.parse().ok()).unwrap_or(100);
    let sections: [(&str, Section); 5] = [
        ("cpu", cpu::run),
        ("neighbour", neighbour::run),
        ("memory", memory::run),
        ("flood", flood::run),
        ("swaps", swaps::run),
    ];
    let named = |name: &str| words.iter().any(|word| word == name);
    let all = !sections.iter().any(|(name, _)| named(name));
    let mut good = true;
    for (name, run) in sections {
        if all || named(name) {
            println!("== {name}");
            good &= run(percent);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
