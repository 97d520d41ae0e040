//! Measures the cost of Leasehold, beside what a server would use otherwise, and writes
//! `host/cache/BENCHMARKS.md`.
//!
//! `tests/run --benchmarks` runs all sections and writes the file; with the names of sections it runs those
//! and prints them. Every comparison is made in one run, in turns. It ends with code 1 where a goal is
//! missed.

mod batch;
mod fleet;
mod growth;
mod hit;
mod memory;
mod miss;
mod report;
mod server;
mod start;
mod stores;
mod storms;
mod swap;
mod turns;

use std::process::{Command, ExitCode};

use self::report::Report;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/cache/BENCHMARKS.md");

type Section = fn(&mut Report);

const SECTIONS: [(&str, Section); 9] = [
    ("hit", hit::run),
    ("miss", miss::run),
    ("batch", batch::run),
    ("storms", storms::run),
    ("server", server::run),
    ("swap", swap::run),
    ("start", start::run),
    ("growth", growth::run),
    ("memory", memory::run),
];

/// Runs the sections that the command line names, or all of them.
#[must_use]
pub fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((memory::ALONE, rest)) = words.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        memory::alone(rest);
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    for (name, section) in SECTIONS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            section(&mut report);
        }
    }
    let (text, good) = report.finish();
    if words.is_empty() {
        std::fs::write(FILE, head() + &text).expect("the folder is there");
        println!("\nwrote {FILE}");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the head of the file: the object, the place and the time of the measurement.
fn head() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, name)| name);
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "# Benchmarks\n\nWritten by `tests/run --benchmarks`; not by hand. Commit {}, {}, {cores} cores of \
         {model}, Linux {}, {}.\n\n\
         Every comparison was made in one run, in turns, and the range is that of its rounds. The machine is \
         a virtual one that others share: look at ratios, and at the range before a difference.\n",
        run("git", &["rev-parse", "--short", "HEAD"]),
        run("date", &["-u", "+%F"]),
        run("uname", &["-r"]),
        run("rustc", &["--version"]),
    )
}
