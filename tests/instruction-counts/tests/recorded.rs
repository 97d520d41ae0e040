//! The cost of a hit, a miss and a heartbeat, in instructions and in allocations, against `recorded.txt`.
//!
//! Valgrind counts them, and hardly differs from run to run: a regression is seen without a clock. Each
//! number is the cost of so many more of them, so that the cost of getting there cancels out. `tests/run
//! --counts` runs this, and with `--record` writes the file.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded.txt");

/// The counted actions, and the number of each that is enough to stand out.
const COUNTED: [(&str, u64); 5] =
    [("with", 200_000), ("get", 200_000), ("read", 200_000), ("miss", 10_000), ("heartbeat", 5_000)];

/// Number of runs, the least of which counts: now and then the seed of a hash puts many keys on top of each
/// other.
const RUNS: usize = 3;

/// Allowed difference of a number of instructions from the recorded one: hash seeds and allocators make one
/// or two percent.
const TOLERANCE: f64 = 0.05;
/// Allowed difference of a number of allocations: tables grow now and then, and one more each time is seen.
const ALLOCATIONS_TOLERANCE: f64 = 0.5;

const HEADER: &str = "\
# What one of each takes in instructions and in allocations, as valgrind counts them. \
The kernel's part is not in it.
# A test holds the code against this, within 5% and half an allocation. \
Written by: tests/run --counts --record
";

#[derive(Clone, Copy, Debug)]
struct Count {
    instructions: f64,
    allocations: f64,
}

#[test]
#[cfg_attr(debug_assertions, ignore = "the numbers are of optimised code: tests/run --counts")]
fn a_hit_a_miss_and_a_heartbeat_take_what_is_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = &folder.path().join("compiled");
    // The first runs compile the policies, the secrets' and the tokens', which takes long here. The others
    // find them compiled.
    for what in [COUNTED[0].0, "heartbeat"] {
        drop(valgrind("none", what, 0, cache));
    }
    let counted = thread::scope(|scope| {
        let counting = COUNTED.map(|(what, times)| (what, scope.spawn(move || count(what, times, cache))));
        counting.map(|(what, counting)| (what, counting.join().expect("it was counted")))
    });
    let table = counted.iter().fold(String::from(HEADER), |mut table, (what, count)| {
        let tenths = (count.allocations * 10.0).round().abs() / 10.0;
        writeln!(table, "{what} {:.0} {tenths:.1}", count.instructions).expect("a string grows");
        table
    });
    println!("{table}");
    #[expect(clippy::disallowed_methods, reason = "tests/run says with it what to do")]
    if std::env::var_os("LEASEHOLD_RECORD_COUNTS").is_some() {
        std::fs::write(FILE, table).expect("the file can be written");
        return;
    }
    let recorded = std::fs::read_to_string(FILE).expect("tests/instruction-counts/recorded.txt is there");
    let differing: Vec<String> =
        counted.iter().filter_map(|(what, count)| difference(what, *count, &recorded)).collect();
    assert!(
        differing.is_empty(),
        "{}\nIf that is meant, run `tests/run --counts --record` and say in the commit why.",
        differing.join("\n")
    );
    for (what, count) in &counted[..3] {
        assert!(count.allocations < 0.001, "{what} allocates {} times", count.allocations);
    }
}

/// Returns in words where a number differs from the recorded one.
fn difference(what: &str, count: Count, recorded: &str) -> Option<String> {
    let line = recorded.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
    let numbers: Option<Vec<f64>> = line.map(|line| line.split(' ').filter_map(|n| n.parse().ok()).collect());
    let Some([instructions, allocations]) = numbers.as_deref() else {
        return Some(format!("{what} is not recorded as NAME INSTRUCTIONS ALLOCATIONS in {FILE}"));
    };
    let off = count.instructions / instructions - 1.0;
    if off.abs() > TOLERANCE {
        return Some(format!(
            "{what} takes {:.0} instructions, and {instructions:.0} are recorded: {:+.1}%",
            count.instructions,
            off * 100.0
        ));
    }
    ((count.allocations - allocations).abs() > ALLOCATIONS_TOLERANCE).then(|| {
        format!("{what} takes {:.1} allocations, and {allocations:.1} are recorded", count.allocations)
    })
}

/// Returns the cost of one action, from a run with none and a run with so many.
fn count(what: &str, times: u64, cache: &Path) -> Count {
    let more = |runs: usize, tool: &str, before_the_number: &str| {
        let least = |times: u64| {
            let runs = (0..runs).map(|_| number(&valgrind(tool, what, times, cache), before_the_number));
            runs.fold(f64::MAX, f64::min)
        };
        (least(times) - least(0)) / times as f64
    };
    Count {
        instructions: more(RUNS, "callgrind", "Collected : "),
        // The line is "Total: N bytes in M blocks".
        allocations: more(1, "dhat", " bytes in "),
    }
}

/// Returns what a tool of valgrind prints at the end of a run of so many.
fn valgrind(tool: &str, what: &str, times: u64, cache: &Path) -> String {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}"));
    if tool != "none" {
        command.arg(format!("--{tool}-out-file=/dev/null"));
    }
    let output = command
        .args([env!("CARGO_BIN_EXE_counts"), what, &times.to_string()])
        .arg(cache)
        .output()
        .expect("valgrind is on PATH: tests/run installs it where it may");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "counts {what} {times} failed under valgrind: {said}");
    said.into_owned()
}

/// Returns the first number behind some words, which may have commas in it.
fn number(said: &str, before_the_number: &str) -> f64 {
    let digits = said.split_once(before_the_number).map(|(_, rest)| {
        rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect::<String>()
    });
    let number = digits.and_then(|digits| digits.parse().ok());
    number.unwrap_or_else(|| panic!("no number after {before_the_number:?}: {said}"))
}
