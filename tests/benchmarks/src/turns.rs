//! Several sides of a comparison, measured in turns: a round of each, then the next round, beginning with
//! another side. A machine has good and bad minutes, and each side has its share of them.

use std::time::Instant;

/// One side of a comparison.
pub(crate) struct Side<'a> {
    pub(crate) name: &'static str,
    /// Runs one round, and returns its measurement.
    pub(crate) round: Box<dyn FnMut() -> f64 + 'a>,
}

/// Summary of the rounds of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl<'a> Side<'a> {
    pub(crate) fn new(name: &'static str, round: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, round: Box::new(round) }
    }
}

/// Runs so many rounds of each side after one that does not count.
pub(crate) fn in_turns(rounds: usize, mut sides: Vec<Side<'_>>) -> Vec<Sample> {
    let mut results: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    let count = sides.len();
    for round in 0..=rounds {
        for turn in 0..count {
            let side = (round + turn) % count;
            let result = (sides[side].round)();
            if round > 0 {
                results[side].push(result);
            }
        }
    }
    let sample = |(side, results): (&Side<'_>, &mut Vec<f64>)| sample(side.name, results);
    sides.iter().zip(&mut results).map(sample).collect()
}

/// The median and the range of some results.
pub(crate) fn sample(name: &'static str, results: &mut [f64]) -> Sample {
    results.sort_by(f64::total_cmp);
    Sample { name, median: results[results.len() / 2], least: results[0], most: results[results.len() - 1] }
}

/// Returns the ratio of one side's figure to another's.
pub(crate) fn ratio(samples: &[Sample], of: &str, to: &str) -> f64 {
    let median = |name: &str| {
        let sample = samples.iter().find(|sample| sample.name == name);
        sample.unwrap_or_else(|| panic!("nothing is called {name}")).median
    };
    median(of) / median(to)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
