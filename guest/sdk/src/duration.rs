//! Durations as an operator writes them: `250ms`, `30s`, `5m`, `1h30m`.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

const UNITS: [(&[u8], u64); 5] =
    [(b"ms", 1), (b"s", 1_000), (b"m", 60_000), (b"h", 3_600_000), (b"d", 86_400_000)];

/// Parses a duration: whole numbers, each with a unit of `ms`, `s`, `m`, `h` or `d`, one after the other.
///
/// The error names the text and what was expected, for an operator to read.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let total_ms = if text.is_empty() { None } else { milliseconds(text.as_bytes()) };
    total_ms
        .map(Duration::from_millis)
        .ok_or_else(|| format!("expected a duration such as 250ms, 30s, 5m or 1h30m, got \"{text}\""))
}

/// Parses bytes: slicing a `str` would link the tables that print any character of Unicode into every policy.
fn milliseconds(mut rest: &[u8]) -> Option<u64> {
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, scale_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(decimal(number)?.checked_mul(*scale_ms)?)?;
        rest = tail;
    }
    Some(total_ms)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let (first, rest) = digits.split_first()?;
    rest.iter().try_fold(u64::from(first - b'0'), |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_their_sums_are_understood() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5x",
            "1.5s",
            "5mm",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("30s"), "{error}");
        }
    }
}
