//! An author's expectation of a policy: one figure of its card, an operator and a value, such as
//! `fresh<=10m`.
//!
//! It is parsed before anything is rehearsed, so that a slip of the pen is a usage error whatever the policy
//! does. Where a figure differs from workspace to workspace, an upper bound has to hold for the maximum and a
//! lower one for the minimum.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use leasehold::{Measure, PolicyCard};

/// An expectation of one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    figure: &'static str,
    operator: Comparison,
    value: FigureValue,
    /// The expectation as it was written.
    text: String,
}

/// Reason why an expectation cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtMost,
    LessThan,
    AtLeast,
    MoreThan,
    Equals,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum FigureValue {
    Word(&'static str),
    Time(Duration),
    Number(f64),
    Bytes(u64),
}

/// Kind of a figure's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FigureKind {
    Words(&'static [&'static str]),
    Time,
    Number,
    Bytes,
}

/// The card's figures, in its order.
const FIGURES: [(&str, FigureKind); 11] = [
    ("fresh", FigureKind::Time),
    ("issue-fresh", FigureKind::Time),
    ("jitter", FigureKind::Time),
    ("refresh-ahead", FigureKind::Time),
    ("absence", FigureKind::Words(&["uncached", "cached"])),
    ("absent", FigureKind::Time),
    ("stale", FigureKind::Time),
    ("on-error", FigureKind::Words(&["error", "stale"])),
    ("write", FigureKind::Words(&["database-then-cache", "database-only"])),
    ("statements-per-heartbeat", FigureKind::Number),
    ("memory", FigureKind::Bytes),
];

/// Operators, the longer ones first.
const OPERATORS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::LessThan),
    (">", Comparison::MoreThan),
    ("=", Comparison::Equals),
];

impl Expectation {
    /// Description of the possible expectations, for `--help`.
    pub(crate) const HELP: &str = "\
An EXPR is a figure of the card, an operator and a value:
  fresh, issue-fresh, jitter, refresh-ahead, absent, stale   <= < >= > =  a duration such as 30s or 10m
  statements-per-heartbeat                                   <= < >= > =  a number such as 0.25
  memory                                                     <= < >= > =  a size such as 2MiB
  absence=uncached|cached   on-error=error|stale   write=database-then-cache|database-only
Quote it: the shell has plans of its own for < and >. Where a figure differs from workspace to workspace, an \
upper bound
has to hold for the maximum and a lower one for the minimum.";

    /// Returns whether the card bears it out, and the card's figure.
    pub(crate) fn held_against(&self, card: &PolicyCard) -> (bool, Measure) {
        let figures = card.figures();
        let found = figures.iter().find(|(figure, _)| *figure == self.figure).map(|(_, measure)| *measure);
        // Every known figure is on the card: a test checks that.
        let found = found.unwrap_or(Measure::Word("nothing"));
        let (min, max) = match (found, self.value) {
            (Measure::Time(found), FigureValue::Time(wanted)) => (found.cmp(&wanted), found.cmp(&wanted)),
            (Measure::Range(found), FigureValue::Time(wanted)) => {
                (found.min.cmp(&wanted), found.max.cmp(&wanted))
            }
            (Measure::Bytes(found), FigureValue::Bytes(wanted)) => (found.cmp(&wanted), found.cmp(&wanted)),
            (Measure::Number(found), FigureValue::Number(wanted)) => {
                let order = found.total_cmp(&wanted);
                (order, order)
            }
            (Measure::Word(found), FigureValue::Word(wanted)) => {
                return (found == wanted, Measure::Word(found));
            }
            _ => return (false, found),
        };
        (self.operator.holds(min, max), found)
    }
}

impl Comparison {
    /// Returns whether the comparison holds, given how the minimum and the maximum compare with the wanted
    /// value.
    fn holds(self, min: Ordering, max: Ordering) -> bool {
        match self {
            Self::AtMost => max.is_le(),
            Self::LessThan => max.is_lt(),
            Self::AtLeast => min.is_ge(),
            Self::MoreThan => min.is_gt(),
            Self::Equals => min.is_eq() && max.is_eq(),
        }
    }
}

impl FromStr for Expectation {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let cannot = |reason: String| Malformed(format!("{text:?}: {reason}"));
        let at = text.find(['<', '>', '=']).ok_or_else(|| {
            cannot(format!(
                "it has no operator; expected FIGURE OPERATOR VALUE, the operator one of {}",
                operators()
            ))
        })?;
        let (named, rest) = text.split_at(at);
        let (operator, given) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)))
            .ok_or_else(|| cannot(format!("expected an operator, one of {}", operators())))?;
        let (named, given) = (named.trim(), given.trim());
        let (figure, kind) = FIGURES.iter().find(|(figure, _)| *figure == named).ok_or_else(|| {
            let known: Vec<&str> = FIGURES.iter().map(|(figure, _)| *figure).collect();
            cannot(format!("there is no figure {named:?}; the figures are {}", known.join(", ")))
        })?;
        if matches!(kind, FigureKind::Words(_)) && operator != Comparison::Equals {
            return Err(cannot(format!(
                "{figure} is a word, which has no more or less; expected {figure}=..."
            )));
        }
        let value = kind.parse(given).map_err(|expected| cannot(format!("{given:?} is not {expected}")))?;
        Ok(Self { figure, operator, value, text: text.to_owned() })
    }
}

impl FigureKind {
    /// Parses a value. The error describes the value that was expected.
    fn parse(self, given: &str) -> Result<FigureValue, String> {
        match self {
            Self::Words(words) => {
                let word = words.iter().find(|word| **word == given);
                word.map(|word| FigureValue::Word(word)).ok_or_else(|| format!("one of {}", words.join(", ")))
            }
            Self::Time => humantime::parse_duration(given)
                .map(FigureValue::Time)
                .map_err(|_| "a duration such as 250ms, 30s, 5m or 1h30m".into()),
            Self::Number => given
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite() && *number >= 0.0)
                .map(FigureValue::Number)
                .ok_or_else(|| "a number such as 0.25".into()),
            Self::Bytes => {
                bytes(given).map(FigureValue::Bytes).ok_or_else(|| "a size such as 512KiB or 2MiB".into())
            }
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn operators() -> String {
    OPERATORS.map(|(sign, _)| sign).join(" ")
}

/// Parses a whole number of bytes, KiB or MiB.
fn bytes(given: &str) -> Option<u64> {
    let digits = given.find(|c: char| !c.is_ascii_digit()).unwrap_or(given.len());
    let (number, unit) = given.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use leasehold::{Policy, SecretCache};

    use super::*;

    fn expect(text: &str) -> Expectation {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    async fn card(jitter: &str) -> PolicyCard {
        let ttl = Policy::from_bytes(leasehold_policies::TTL).setting("jitter", jitter);
        SecretCache::builder().policy(ttl).rehearse().await.unwrap()
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_what_could() {
        for (text, words) in [
            (
                "fresh",
                "\"fresh\": it has no operator; expected FIGURE OPERATOR VALUE, the operator one of <= >= < \
                 > =",
            ),
            ("", "no operator"),
            (
                "<=5m",
                "no figure \"\"; the figures are fresh, issue-fresh, jitter, refresh-ahead, absence, absent, \
                 stale",
            ),
            ("freshness<=5m", "no figure \"freshness\""),
            ("fresh<=", "\"\" is not a duration such as"),
            ("fresh=<5m", "\"<5m\" is not a duration"),
            ("fresh<=soon", "\"soon\" is not a duration such as 250ms, 30s, 5m or 1h30m"),
            ("fresh==5m", "\"=5m\" is not a duration"),
            ("absence=sometimes", "\"sometimes\" is not one of uncached, cached"),
            ("absence<=cached", "absence is a word"),
            ("write=", "one of database-then-cache, database-only"),
            ("statements-per-heartbeat<=few", "a number such as 0.25"),
            ("statements-per-heartbeat<=NaN", "a number such as 0.25"),
            ("statements-per-heartbeat<=-1", "a number such as 0.25"),
            ("memory<=2MB", "a size such as 512KiB or 2MiB"),
            ("memory<=99999999999999MiB", "a size such as"),
        ] {
            let error = text.parse::<Expectation>().expect_err(text).to_string();
            assert!(error.contains(words) && error.starts_with(&format!("{text:?}: ")), "{error}");
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, expected) in [("65536", 65536), ("512B", 512), ("2 KiB", 2048), ("3MiB", 3 << 20)] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!((bytes("MiB"), bytes("1.5MiB"), bytes("-1")), (None, None, None));
    }

    #[tokio::test]
    async fn every_figure_of_the_card_can_be_expected_and_as_what_it_is() {
        let card = card("0s").await;
        assert_eq!(card.figures().map(|(figure, _)| figure), FIGURES.map(|(figure, _)| figure));
        for ((figure, found), (_, kind)) in card.figures().into_iter().zip(FIGURES) {
            let fits = match found {
                Measure::Word(word) => matches!(kind, FigureKind::Words(words) if words.contains(&word)),
                Measure::Time(_) | Measure::Range(_) => kind == FigureKind::Time,
                Measure::Number(_) => kind == FigureKind::Number,
                Measure::Bytes(_) => kind == FigureKind::Bytes,
                _ => false,
            };
            assert!(fits, "{figure} is {found:?} on the card");
        }
    }

    #[tokio::test]
    async fn each_operator_means_what_it_says() {
        let card = card("0s").await;
        for (text, holds) in [
            ("fresh<=5m", true),
            ("fresh<=299s", false),
            ("fresh<5m", false),
            ("fresh < 301s", true),
            ("fresh>=5m", true),
            ("fresh>=301s", false),
            ("fresh>5m", false),
            ("fresh>4m", true),
            ("fresh=5m", true),
            ("fresh=4m", false),
            ("absence=uncached", true),
            ("absence=cached", false),
            ("statements-per-heartbeat<=0.25", true),
            ("statements-per-heartbeat<=0.1", false),
            ("memory<=2MiB", true),
            ("memory<=64KiB", false),
        ] {
            assert_eq!(expect(text).held_against(&card).0, holds, "{text}");
        }
    }

    #[tokio::test]
    async fn a_bound_has_to_hold_for_every_workspace() {
        let card = card("1m").await;
        for (text, holds) in [
            ("fresh<=5m", true),
            ("fresh<=4m30s", false),
            ("fresh>=4m", true),
            ("fresh>=4m30s", false),
            ("fresh=5m", false),
        ] {
            assert_eq!(expect(text).held_against(&card).0, holds, "{text}: {}", card.fresh);
        }
    }
}
