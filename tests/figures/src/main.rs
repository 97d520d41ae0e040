//! Measures what Leasehold costs, beside what a server would use otherwise, and writes `host/cache/BENCHMARKS.md`.
//!
//! `tests/run --figures` runs all sections and writes the file; with the names of sections it runs those and prints them.
//! Every comparison is made in one run, in turns. It ends with code 1 where a goal is missed.

mod fleet;
mod hit;
mod memory;
mod report;
mod turns;

use std::process::ExitCode;

use self::report::Report;

type Section = fn(&mut Report);

const SECTIONS: [(&str, Section); 2] = [("hit", hit::run), ("memory", memory::run)];

fn main() -> ExitCode {
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
    let (_, good) = report.finish();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
