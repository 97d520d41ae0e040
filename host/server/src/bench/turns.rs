//! Turns of several sides to measure, and their results as a table. It knows nothing of what is measured.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Number of turns of each side that count. One turn before them does not.
const ROUNDS: u32 = 5;

/// One side of the comparison.
pub(super) struct Side<'a> {
    /// Kind of action: a hit, a miss, a heartbeat.
    pub(super) what: &'static str,
    pub(super) name: String,
    /// Number of actions at once.
    pub(super) at_once: usize,
    /// Measures for the given time.
    pub(super) measure: Box<dyn FnMut(Duration) -> anyhow::Result<Turn> + 'a>,
}

/// Result of a turn, in nanoseconds.
pub(super) struct Turn {
    /// The mean time of an action.
    pub(super) each: f64,
    /// The time of each action, where that is measured.
    pub(super) nanos: Vec<f64>,
}

/// Time that all turns together may take.
pub(super) struct Turns(Duration);

impl Turns {
    pub(super) fn of(seconds: u32) -> Self {
        Self(Duration::from_secs(seconds.into()))
    }

    /// Measures all sides, and returns a table.
    pub(super) fn measure(&self, mut sides: Vec<Side<'_>>) -> anyhow::Result<String> {
        let count = u32::try_from(sides.len())?;
        let span = self.0 / (count * (ROUNDS + 1)).max(1);
        let bar = progress(u64::from(count * (ROUNDS + 1)));
        let mut found: Vec<Vec<Turn>> = sides.iter().map(|_| Vec::new()).collect();
        for round in 0..=ROUNDS {
            for (side, turns) in sides.iter_mut().zip(&mut found) {
                bar.set_message(format!("{}: {}", side.what, side.name));
                let turn = (side.measure)(span)?;
                if round > 0 {
                    turns.push(turn);
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let mut table = String::from("| | | each | range | p50 | p99 | per second |\n");
        table.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for (side, turns) in sides.iter().zip(found) {
            row(&mut table, side, turns);
        }
        Ok(table)
    }
}

fn row(table: &mut String, side: &Side<'_>, turns: Vec<Turn>) {
    let mut means: Vec<f64> = turns.iter().map(|turn| turn.each).collect();
    means.sort_by(f64::total_cmp);
    let at = |sorted: &[f64], share: f64| {
        let index = (sorted.len().saturating_sub(1)) as f64 * share;
        sorted.get(index as usize).copied()
    };
    let mut nanos: Vec<f64> = turns.into_iter().flat_map(|turn| turn.nanos).collect();
    nanos.sort_by(f64::total_cmp);
    let [least, median, most] = [0.0, 0.5, 1.0].map(|share| at(&means, share).unwrap_or(f64::NAN));
    let [p50, p99] = [0.5, 0.99].map(|share| at(&nanos, share).map_or_else(String::new, time));
    // Writing to a string cannot fail.
    let _ = writeln!(
        table,
        "| {} | {} | {} | {} to {} | {p50} | {p99} | {:.0} |",
        side.what,
        side.name,
        time(median),
        time(least),
        time(most),
        side.at_once as f64 * 1e9 / median,
    );
}

/// Formats nanoseconds, to be read.
fn time(nanos: f64) -> String {
    if nanos < 1e3 { format!("{nanos:.1} ns") } else { format!("{:.1} µs", nanos / 1e3) }
}

fn progress(steps: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    let bar = ProgressBar::with_draw_target(Some(steps), target);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_side_with_the_median_of_the_turns_that_count() {
        let mut turns = [9.0, 3.0, 1.0, 2.0, 5.0, 4.0].into_iter();
        let slow = Side {
            what: "a miss",
            name: "slow".into(),
            at_once: 1,
            measure: Box::new(|_| Ok(Turn { each: 2_000.0, nanos: vec![1_000.0, 3_000.0] })),
        };
        let quick = Side {
            what: "a hit",
            name: "quick".into(),
            at_once: 2,
            measure: Box::new(move |_| Ok(Turn { each: turns.next().unwrap(), nanos: Vec::new() })),
        };
        let table = Turns::of(0).measure(vec![slow, quick]).unwrap();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| a miss | slow | 2.0 µs | 2.0 µs to 2.0 µs | 1.0 µs | 3.0 µs | 500000 |",
                "| a hit | quick | 3.0 ns | 1.0 ns to 5.0 ns |  |  | 666666667 |",
            ]
        );
    }
}
