//! The findings about a database, for people: a table for a command, and one line for the log.

use std::fmt::Write as _;

/// Facts about a database, and the things that it lacks.
#[derive(Debug, Default)]
pub(crate) struct DatabaseReport {
    facts: Vec<(&'static str, String)>,
    pub(crate) lacks: Vec<String>,
}

impl DatabaseReport {
    pub(super) fn fact(&mut self, name: &'static str, words: impl Into<String>) {
        self.facts.push((name, words.into()));
    }

    pub(super) fn lack(&mut self, words: impl Into<String>) {
        self.lacks.push(words.into());
    }

    /// Returns a line for each fact.
    pub(crate) fn table(&self) -> String {
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.facts.iter().fold(String::new(), |mut table, (name, words)| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{name:width$}  {words}");
            table
        })
    }

    /// Returns all of it in one line.
    pub(super) fn line(&self) -> String {
        let facts: Vec<String> = self.facts.iter().map(|(name, words)| format!("{name}: {words}")).collect();
        facts.join("; ")
    }
}
