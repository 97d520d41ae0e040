//! Inputs that are nearly good: a seed that is, with a few edits, and the loop that tries them on a target.
//!
//! The number of a case decides all of it, so that a run can be repeated, and a longer one goes on from where
//! a shorter one ends. An input that fails is made smaller by leaving edits out, and written to a file.
//! Nothing here knows a target.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "the environment says which cases are tried")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::{env, fs};

use fastrand::Rng;
use leasehold_tests::Tier;

/// Variable with the cases to try, such as `0..1000000`, or the one to replay, such as `4711`.
const CASES: &str = "LEASEHOLD_FUZZ_CASES";

/// Maximum number of edits of one input.
const MAX_EDITS: usize = 8;

/// A good input, and the part of it that half of the edits are for.
#[derive(Clone, Debug)]
pub struct Seed {
    bytes: Vec<u8>,
    part: Range<usize>,
}

/// Bytes in place of other ones. It fits any input: the place is taken modulo its length.
#[derive(Clone, Debug)]
struct Edit {
    at: usize,
    removed: usize,
    inserted: Vec<u8>,
}

/// What is fuzzed.
#[derive(Debug)]
pub struct Target<'a> {
    /// The name in reports and of the file with an input that fails.
    pub name: &'a str,
    /// Good inputs.
    pub seeds: Vec<Seed>,
    /// Words of the target's language, for edits.
    pub words: &'a [&'a [u8]],
    /// Number of cases in the gate.
    pub gate: u64,
    /// Number of cases in the long tier.
    pub long: u64,
}

impl<T: Into<Vec<u8>>> From<T> for Seed {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self { part: 0..bytes.len(), bytes }
    }
}

impl Seed {
    /// Returns the seed with half of the edits in the `length` bytes that begin with `begin`.
    ///
    /// # Panics
    ///
    /// If it has no such bytes.
    pub fn around(bytes: Vec<u8>, begin: &[u8], length: usize) -> Self {
        let at = bytes.windows(begin.len()).position(|window| window == begin);
        let at = at.unwrap_or_else(|| panic!("the seed has no {:?}", begin.escape_ascii().to_string()));
        Self { part: at..bytes.len().min(at + length), bytes }
    }
}

impl Target<'_> {
    /// Tries the check on every case of this run.
    ///
    /// # Panics
    ///
    /// If the check does. What to do about it is printed before.
    pub fn run(&self, check: impl Fn(&[u8])) {
        let attempt = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| check(input)));
        for seed in &self.seeds {
            check(&seed.bytes);
        }
        for case in cases(Tier::current().pick(self.gate, self.long)) {
            // The last of these lines is near where a target has ended the process.
            if case % 256 == 0 {
                eprintln!("{}: case {case}", self.name);
            }
            let (seed, edits) = self.draw(case);
            let Err(failure) = attempt(&edited(&seed.bytes, &edits)) else { continue };
            let (edits, failure) = fewest(&seed.bytes, edits, failure, attempt);
            self.report(case, &edited(&seed.bytes, &edits), &edits);
            resume_unwind(failure);
        }
    }

    fn draw(&self, case: u64) -> (&Seed, Vec<Edit>) {
        let mut rng = Rng::with_seed(case);
        let seed = &self.seeds[rng.usize(..self.seeds.len())];
        // Most faults take one slip; the rest is for those that take several.
        let count = if rng.bool() { 1 } else { rng.usize(2..=MAX_EDITS) };
        let edits = (0..count).map(|_| self.edit(&mut rng, seed)).collect();
        (seed, edits)
    }

    fn edit(&self, rng: &mut Rng, seed: &Seed) -> Edit {
        let part = if rng.bool() { seed.part.clone() } else { 0..seed.bytes.len() };
        let at = part.start + rng.usize(..=part.len());
        let inserted = match rng.u8(..6) {
            0 => Vec::new(),
            1 => vec![rng.u8(..)],
            2 => vec![*rng.choice([0, 1, 0x1b, b' ', b'"', 0x40, 0x7f, 0x80, 0xff].iter()).unwrap_or(&0)],
            3 => rng.choice(self.words).copied().unwrap_or_default().to_vec(),
            4 => slice(&self.seeds[rng.usize(..self.seeds.len())].bytes, rng).to_vec(),
            _ => vec![rng.u8(..); 1 << rng.u8(..12)],
        };
        let removed = match rng.u8(..4) {
            0 => 0,
            1 | 2 => inserted.len(),
            _ => rng.usize(..=64),
        };
        Edit { at, removed, inserted }
    }

    fn report(&self, case: u64, input: &[u8], edits: &[Edit]) {
        let file = env::temp_dir().join(format!("leasehold-fuzz-{}-{case}", self.name));
        let kept = fs::write(&file, input).map_or_else(|error| error.to_string(), |()| "written".into());
        let shown = input[..input.len().min(512)].escape_ascii();
        eprintln!(
            "{name}: case {case} fails with {} edits: {edits:?}\n{CASES}={case} cargo test -p leasehold-fuzz \
             {name} replays it; its {} bytes are in {} ({kept}): {shown}",
            edits.len(),
            input.len(),
            file.display(),
            name = self.name,
        );
    }
}

/// Leaves out each edit without which the input still fails. Returns the others, and their failure.
fn fewest<F>(
    bytes: &[u8],
    mut edits: Vec<Edit>,
    mut failure: F,
    attempt: impl Fn(&[u8]) -> Result<(), F>,
) -> (Vec<Edit>, F) {
    for index in (0..edits.len()).rev() {
        let mut fewer = edits.clone();
        fewer.remove(index);
        if let Err(smaller) = attempt(&edited(bytes, &fewer)) {
            (edits, failure) = (fewer, smaller);
        }
    }
    (edits, failure)
}

/// Returns the cases of this run.
fn cases(count: u64) -> Range<u64> {
    let Ok(asked) = env::var(CASES) else { return 0..count };
    let (first, end) = asked.split_once("..").unwrap_or((&asked, ""));
    let number =
        |text: &str| text.parse().unwrap_or_else(|_| panic!("{CASES} is {asked:?}; expected 0..99 or 7"));
    let first = number(first);
    first..if end.is_empty() { first + 1 } else { number(end) }
}

fn slice<'a>(bytes: &'a [u8], rng: &mut Rng) -> &'a [u8] {
    let from = rng.usize(..=bytes.len());
    &bytes[from..bytes.len().min(from + rng.usize(..=64))]
}

fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for Edit { at, removed, inserted } in edits {
        let at = at % (bytes.len() + 1);
        let end = bytes.len().min(at + removed);
        bytes.splice(at..end, inserted.iter().copied());
    }
    bytes
}

/// Checks that a text may be shown to an operator: on one line, of a bounded length.
///
/// # Panics
///
/// If it may not.
pub fn assert_printable(text: &str, max_bytes: usize) {
    assert!(!text.chars().any(char::is_control), "control characters in {text:?}");
    assert!(text.len() <= max_bytes, "{} bytes, which are more than {max_bytes}: {text:.200}", text.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_and_the_edits_that_do_not_matter_are_left_out() {
        let seeds = vec![Seed::from("a good input")];
        let target = Target { name: "planted", seeds, words: &[b"bad"], gate: 10_000, long: 10_000 };
        let attempt = |input: &[u8]| match input.windows(3).any(|window| window == b"bad") {
            true => Err(()),
            false => Ok(()),
        };
        let found = (0..10_000)
            .map(|case| target.draw(case))
            .find(|(seed, edits)| edits.len() > 3 && attempt(&edited(&seed.bytes, edits)).is_err());
        let (seed, edits) = found.expect("an input has the word in it");
        let (kept, ()) = fewest(&seed.bytes, edits.clone(), (), attempt);
        assert!(attempt(&edited(&seed.bytes, &kept)).is_err() && kept.len() < edits.len(), "{kept:?}");
        // Each case is the same at any time.
        let (seed, edits) = target.draw(17);
        assert_eq!(edited(&seed.bytes, &edits), edited(&seed.bytes, &target.draw(17).1));
    }
}
