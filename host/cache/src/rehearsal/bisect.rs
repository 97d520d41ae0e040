//! A search by halving, with few questions, for the end of something that holds at first and later no longer
//! does.
//!
//! Pure: the questions and their unit are the caller's.

use std::time::Duration;

/// Furthest moment of a rehearsal. Ceilings beyond it are of no use.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// A search for the first moment at which something no longer holds.
pub(super) struct Bisect {
    first: u64,
    /// The last moment at which it is known to hold.
    holds_at: Option<u64>,
    /// The first moment at which it is known not to hold, or assumed not to.
    ends_at: u64,
}

impl Bisect {
    /// Begins a search among all moments from `first` on. At `end` the answer is assumed to be no: a ceiling
    /// makes sure of that.
    pub(super) fn new(first: u64, end: u64) -> Self {
        Self { first, holds_at: None, ends_at: end }
    }

    /// Returns the moment to ask about next; `None` once there is nothing more to ask.
    pub(super) fn next(&self) -> Option<u64> {
        match self.holds_at {
            None => (self.ends_at > self.first).then_some(self.first),
            Some(holds_at) => {
                let open = self.ends_at - holds_at;
                (open > 1).then_some(holds_at + open / 2)
            }
        }
    }

    /// Notes the answer for a moment.
    pub(super) fn note(&mut self, moment: u64, holds: bool) {
        if holds {
            self.holds_at = Some(moment);
        } else {
            self.ends_at = moment;
        }
    }

    /// Returns the first moment at which it does not hold; `None` if it did not hold at the first of all.
    pub(super) fn end(&self) -> Option<u64> {
        self.holds_at.map(|_| self.ends_at)
    }
}

/// Returns the first nanosecond of `span` at which `holds` is no longer so; `span` (the horizon at most) if
/// there is none.
pub(super) fn nanos_while(span: Duration, holds: impl Fn(Duration) -> bool) -> Duration {
    let end = u64::try_from(span.min(HORIZON).as_nanos()).unwrap_or(u64::MAX);
    let mut bisect = Bisect::new(0, end);
    while let Some(moment) = bisect.next() {
        bisect.note(moment, holds(Duration::from_nanos(moment)));
    }
    Duration::from_nanos(bisect.end().unwrap_or(0))
}

/// Returns the time in whole milliseconds, rounded up: the unit of a policy's clock.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.min(HORIZON).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Returns the time in the middle; zero if there is none.
pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_first_moment_at_which_it_no_longer_holds() {
        for (limit, end, expected) in
            [(0, 100, 0), (1, 100, 1), (57, 100, 57), (99, 100, 99), (500, 100, 100)]
        {
            let found = nanos_while(Duration::from_nanos(end), |moment| moment.as_nanos() < limit);
            assert_eq!(found.as_nanos(), expected, "below {limit} of {end}");
        }
    }

    #[test]
    fn a_search_asks_few_questions_and_none_where_there_is_no_room() {
        let mut bisect = Bisect::new(1_000, 86_400_000);
        let mut asked = 0;
        while let Some(moment) = bisect.next() {
            bisect.note(moment, moment < 3_600_000);
            asked += 1;
        }
        assert_eq!(bisect.end(), Some(3_600_000));
        assert!(asked < 32, "{asked}");
        assert_eq!(Bisect::new(5, 5).next(), None);
        let mut bisect = Bisect::new(5, 10);
        bisect.note(5, false);
        assert_eq!((bisect.next(), bisect.end()), (None, None));
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let times = [9, 1, 5, 1_000, 3].map(Duration::from_micros);
        assert_eq!(median(times.to_vec()), Duration::from_micros(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
