//! The policy card: the findings of a rehearsal about a policy, in figures and in words.
//!
//! Plain data. Nothing here knows how a figure was measured. The card takes nothing from what the policy says
//! of itself but its name, its version and its settings. An author's `--expect` and an operator's page go by
//! the same names.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Behaviour of a policy, as the host saw it under a clock and a database of the host's own.
///
/// `Display` prints it in about 20 lines. [`figures`](Self::figures) has the same by name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyCard {
    /// The name that the policy gives itself.
    pub name: String,
    /// The version that the policy gives itself.
    pub version: String,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Every setting with the value in force, defaults included.
    pub settings: Vec<(String, String)>,
    /// Time for which a secret is served after a read without a call of the policy, over dozens of workspaces
    /// at three instants.
    pub fresh: Range,
    /// Time for which a secret is served after an issue without a call of the policy.
    pub issue_fresh: Range,
    /// Time before the end of freshness from which a hit also calls the policy in the background, which then
    /// sends a SELECT; zero if it never does.
    pub refresh_ahead: Range,
    /// Time for which reads still report no secret after one has appeared; zero if absence is not cached.
    pub absent: Duration,
    /// Maximum age of an answer, counted from when the database last gave it: under a lease, kept beyond one,
    /// or while the database fails. The longest that was seen.
    pub stale: Duration,
    /// Result of a read when no lease covers it and the database fails.
    pub on_error: OnError,
    /// Order in which an issue writes.
    pub write: WriteOrder,
    /// Number of statements that the heartbeats of a simulated hour cost, one heartbeat a minute from each of
    /// several workspaces, once the lengths of their leases have settled.
    pub statements: u64,
    /// Number of those heartbeats.
    pub heartbeats: u64,
    /// Median processor time of a call: the policy's own and the host's work for it, without any wait.
    /// Measured on this machine just now; everything else comes out the same each time.
    pub call: Duration,
    /// The linear memory of the instance that made the last call, in bytes.
    pub memory_bytes: usize,
    /// Number of calls that the rehearsal took.
    pub calls: u64,
}

/// Minimum and maximum of a value that differs from workspace to workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The minimum.
    pub min: Duration,
    /// The maximum.
    pub max: Duration,
}

/// Result of a read when no lease covers it and the database fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The database's error.
    Error,
    /// For some time the secret that was kept, with the status `stale`.
    Stale,
}

/// Order in which an issue writes. The database comes first whatever the policy does: the host makes sure of
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOrder {
    /// The database, and then the cache: the next read is a hit.
    DatabaseThenCache,
    /// The database alone: the next read sends a SELECT.
    DatabaseOnly,
}

/// Value of a figure of the card.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Measure {
    /// A word, one of a few.
    Word(&'static str),
    /// A time, the same for all workspaces.
    Time(Duration),
    /// A time that may differ from workspace to workspace.
    Range(Range),
    /// A number without a unit.
    Number(f64),
    /// A size.
    Bytes(u64),
}

impl PolicyCard {
    /// Every figure by its name, in the order in which the card shows them.
    pub fn figures(&self) -> [(&'static str, Measure); 11] {
        [
            ("fresh", Measure::Range(self.fresh)),
            ("issue-fresh", Measure::Range(self.issue_fresh)),
            ("jitter", Measure::Time(self.jitter())),
            ("refresh-ahead", Measure::Range(self.refresh_ahead)),
            ("absence", Measure::Word(if self.absent.is_zero() { "uncached" } else { "cached" })),
            ("absent", Measure::Time(self.absent)),
            ("stale", Measure::Time(self.stale)),
            ("on-error", Measure::Word(self.on_error.as_str())),
            ("write", Measure::Word(self.write.as_str())),
            ("statements-per-heartbeat", Measure::Number(self.statements_per_heartbeat())),
            ("memory", Measure::Bytes(self.memory_bytes as u64)),
        ]
    }

    /// Returns how far apart the workspaces' times after a read were.
    pub fn jitter(&self) -> Duration {
        self.fresh.max.saturating_sub(self.fresh.min)
    }

    /// Returns how many statements a heartbeat costs on average.
    pub fn statements_per_heartbeat(&self) -> f64 {
        // The numbers are in the thousands at most: a float is exact.
        self.statements as f64 / self.heartbeats.max(1) as f64
    }

    fn sentence(&self, figure: &str) -> String {
        let (fresh, issued) = (self.fresh, self.issue_fresh);
        let not = "not at all: the next read asks the policy";
        match figure {
            "fresh" if fresh.max.is_zero() => format!("after a read: {not}"),
            "fresh" => format!("{fresh} after a read, without asking the policy"),
            "issue-fresh" if issued.max.is_zero() => format!("after an issue: {not}"),
            "issue-fresh" => format!("{issued} after an issue, without asking the policy"),
            "jitter" if self.jitter().is_zero() => "none: the same for every workspace".into(),
            "jitter" => format!("{}, from workspace to workspace", Words(self.jitter())),
            "refresh-ahead" if self.refresh_ahead.max.is_zero() => "none".into(),
            "refresh-ahead" => format!("{} before the end, in the background", self.refresh_ahead),
            "absence" if self.absent.is_zero() => "uncached: a secret that appears is found at once".into(),
            "absence" => {
                format!("cached: answered for up to {} after a secret has appeared", Words(self.absent))
            }
            "stale" => format!("no answer was older than {}", Words(self.stale)),
            "on-error" => match self.on_error {
                OnError::Error => "error: a read that no lease covers says that the database failed".into(),
                OnError::Stale => "stale: a read that no lease covers may be given the kept secret".into(),
            },
            "write" => match self.write {
                WriteOrder::DatabaseThenCache => "the database first, then the cache".into(),
                WriteOrder::DatabaseOnly => "the database; the cache keeps nothing of it".into(),
            },
            "statements-per-heartbeat" => {
                let (statements, heartbeats) = (self.statements, self.heartbeats);
                let each = self.statements_per_heartbeat();
                format!("{each:.3}: {statements} for {heartbeats}, one a minute for an hour")
            }
            "memory" => format!("{} KiB in an instance", self.memory_bytes.div_ceil(1024)),
            _ => String::new(),
        }
    }
}

impl fmt::Display for PolicyCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, text: &str| writeln!(f, "{label:<26}{text}");
        line("policy", &format!("{} {}", self.name, self.version))?;
        line("digest", &self.digest)?;
        for (name, value) in &self.settings {
            line(&format!("setting {name}"), value)?;
        }
        for (figure, _) in self.figures() {
            // Absence has one line for its two figures.
            if figure != "absent" {
                line(figure, &self.sentence(figure))?;
            }
        }
        line("call", &format!("{} µs of processor time", self.call.as_micros()))?;
        line("rehearsed", &format!("with {} calls", self.calls))
    }
}

impl Range {
    /// Widens the range to include one more value.
    pub(crate) fn widen(spread: &mut Option<Self>, seen: Duration) {
        let Self { min, max } = spread.unwrap_or(Self { min: seen, max: seen });
        *spread = Some(Self { min: min.min(seen), max: max.max(seen) });
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            Words(self.max).fmt(f)
        } else {
            write!(f, "{} to {}", Words(self.min), Words(self.max))
        }
    }
}

impl OnError {
    /// Returns the word for JSON and for `--expect`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Stale => "stale",
        }
    }
}

impl WriteOrder {
    /// Returns the word for JSON and for `--expect`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseThenCache => "database-then-cache",
            Self::DatabaseOnly => "database-only",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Time(time) => Words(*time).fmt(f),
            Self::Range(spread) => spread.fmt(f),
            Self::Number(number) => write!(f, "{number:.3}"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

/// A time as people write it: `5m`, `1h30m`, `2.5s`. A policy's clock counts in milliseconds; less than one
/// is shown as one, so that a little is not mistaken for nothing.
struct Words(Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_nanos().div_ceil(1_000_000);
        let (seconds, rest) = (millis / 1000, millis % 1000);
        if seconds == 0 && rest > 0 {
            return write!(f, "{rest}ms");
        }
        let mut text = String::new();
        for (amount, unit) in [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm')] {
            if amount > 0 {
                write!(text, "{amount}{unit}")?;
            }
        }
        if rest > 0 {
            let fraction = format!("{rest:03}");
            write!(text, "{}.{}s", seconds % 60, fraction.trim_end_matches('0'))?;
        } else if seconds % 60 > 0 || text.is_empty() {
            write!(text, "{}s", seconds % 60)?;
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests;
