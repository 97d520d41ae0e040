//! The measurements as Markdown, and the goals that they miss.

use std::fmt::Write as _;

/// The text so far.
#[derive(Default)]
pub(crate) struct Report {
    text: String,
    goals: Vec<Goal>,
}

struct Goal {
    name: String,
    measured: f64,
    bound: f64,
    is_met: bool,
}

impl Report {
    pub(crate) fn section(&mut self, title: &str, words: &str) {
        println!("\n== {title}");
        let _ = writeln!(self.text, "\n## {title}\n\n{words}");
    }

    pub(crate) fn table(&mut self, table: &Table) {
        print!("{}", table.0);
        let _ = write!(self.text, "\n{}", table.0);
    }

    pub(crate) fn at_most(&mut self, name: &str, measured: f64, bound: f64) {
        self.goal(name, measured, bound, measured <= bound);
    }

    pub(crate) fn at_least(&mut self, name: &str, measured: f64, bound: f64) {
        self.goal(name, measured, bound, measured >= bound);
    }

    fn goal(&mut self, name: &str, measured: f64, bound: f64, is_met: bool) {
        if !is_met {
            println!("MISSED: {name}: {measured:.2}, the goal is {bound:.2}");
        }
        self.goals.push(Goal { name: name.to_owned(), measured, bound, is_met });
    }

    /// Returns the whole text with the missed goals at its end, and whether there are none.
    pub(crate) fn finish(self) -> (String, bool) {
        let Self { mut text, goals } = self;
        let missed: Vec<&Goal> = goals.iter().filter(|goal| !goal.is_met).collect();
        let _ = writeln!(text, "\n## Goals\n\n{} of {} are met.", goals.len() - missed.len(), goals.len());
        if !missed.is_empty() {
            let _ = writeln!(text, "\n| missed | measured | goal |\n|---|---|---|");
        }
        for Goal { name, measured, bound, .. } in &missed {
            let _ = writeln!(text, "| {name} | {measured:.2} | {bound:.2} |");
        }
        (text, missed.is_empty())
    }
}

/// A table of Markdown.
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut table = Self(String::new());
        table.row(head.iter().map(ToString::to_string));
        table.row(head.iter().map(|_| "---".to_owned()));
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }
}

/// Formats nanoseconds for a reader.
pub(crate) fn nanos(nanos: f64) -> String {
    if nanos < 100.0 { format!("{nanos:.1}") } else { format!("{nanos:.0}") }
}

/// Formats a ratio for a reader.
pub(crate) fn times(ratio: f64) -> String {
    format!("{ratio:.2}")
}
