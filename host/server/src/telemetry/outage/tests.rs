//! The table of outages, by a clock that the test drives.

use leasehold::ManualClock;

use super::*;

/// A table, its clock, and the lines that it has said.
struct Bed {
    clock: ManualClock,
    table: OutageTable,
    lines: Vec<OutageLine>,
}

impl Bed {
    fn new() -> Self {
        Self { clock: ManualClock::new(), table: OutageTable::default(), lines: Vec::new() }
    }

    fn fail(&mut self, failure: &Failure) {
        self.lines.extend(self.table.note(self.clock.now(), failure));
    }

    /// Lets a second pass, and looks at the table as the task does; these are over if they are quiet.
    fn second(&mut self, over: &[Trouble]) {
        self.clock.advance(Duration::from_secs(1));
        self.lines.extend(self.table.due(self.clock.now(), over));
    }
}

fn refused() -> Failure {
    Failure::new(Trouble::Database, "connection refused", true)
}

fn late() -> Failure {
    Failure::new(Trouble::Database, "no answer in time", false)
}

#[test]
fn a_database_that_is_down_for_twenty_minutes_at_a_thousand_beats_a_second_is_at_most_150_lines() {
    let mut bed = Bed::new();
    for _ in 0..20 * 60 {
        (0..1000).for_each(|_| bed.fail(&refused()));
        bed.second(&[]);
    }
    (0..30).for_each(|_| bed.second(&[Trouble::Database]));
    assert!(bed.lines.len() <= 150, "{} lines", bed.lines.len());
    let cause = || Arc::from("connection refused");
    assert_eq!(bed.lines[0], OutageLine::Begins { trouble: Trouble::Database, cause: cause() });
    let counted = bed.lines.iter().filter_map(|line| match line {
        OutageLine::Lasts { failed, .. } => Some(failed),
        _ => None,
    });
    assert_eq!(counted.sum::<u64>(), 1_199_999, "each is told, the first by the first line");
    let lasted = Duration::from_secs(20 * 60 - 1);
    let ends = OutageLine::Ends { trouble: Trouble::Database, cause: cause(), in_all: 1_200_000, lasted };
    assert_eq!(bed.lines.last(), Some(&ends));
}

#[test]
fn what_has_not_been_asked_whether_it_is_back_is_not_over() {
    let mut bed = Bed::new();
    bed.fail(&refused());
    (0..60).for_each(|_| bed.second(&[]));
    assert_eq!(bed.lines.len(), 1, "{:?}", bed.lines);
    assert_eq!(bed.table.quiet(bed.clock.now()), [Trouble::Database]);
    bed.second(&[Trouble::Database]);
    assert!(matches!(bed.lines[1..], [OutageLine::Ends { in_all: 1, .. }]), "{:?}", bed.lines);
    assert!(bed.table.is_empty());
    bed.fail(&refused());
    assert!(matches!(bed.lines[2..], [OutageLine::Begins { .. }]), "{:?}", bed.lines);
}

#[test]
fn a_failure_that_comes_after_the_database_was_asked_keeps_the_outage_open() {
    let mut bed = Bed::new();
    bed.fail(&refused());
    (0..10).for_each(|_| bed.second(&[]));
    bed.fail(&refused());
    bed.second(&[Trouble::Database]);
    assert!(!bed.table.is_empty() && bed.lines.len() == 2, "{:?}", bed.lines);
}

#[test]
fn a_database_that_comes_and_goes_is_two_lines_in_ten_seconds_at_most() {
    let mut bed = Bed::new();
    for second in 0..1000 {
        if second % 11 == 0 {
            bed.fail(&refused());
        }
        bed.second(&[Trouble::Database]);
    }
    assert!(bed.lines.len() <= 200, "{}", bed.lines.len());
}

#[test]
fn the_cause_is_told_as_soon_as_somebody_names_it() {
    let mut bed = Bed::new();
    bed.fail(&late());
    (0..5).for_each(|_| bed.fail(&late()));
    (0..5).for_each(|_| bed.fail(&refused()));
    let named = OutageLine::Named { trouble: Trouble::Database, cause: "connection refused".into() };
    assert_eq!(bed.lines[1..], [named]);
    (0..10).for_each(|_| bed.second(&[]));
    assert!(matches!(&bed.lines[2], OutageLine::Lasts { failed: 10, in_all: 11, .. }), "{:?}", bed.lines);
}

#[test]
fn each_kind_of_trouble_has_a_beginning_and_an_end_of_its_own() {
    let mut bed = Bed::new();
    for trouble in Trouble::ALL {
        bed.fail(&Failure::new(trouble, "a cause", true));
    }
    assert_eq!(bed.lines.len(), Trouble::ALL.len());
    (0..10).for_each(|_| bed.second(&[Trouble::Refused]));
    assert!(
        matches!(bed.lines[4..], [OutageLine::Ends { trouble: Trouble::Refused, .. }]),
        "{:?}",
        bed.lines
    );
}

#[test]
fn an_answer_that_is_merely_no_is_no_failure() {
    assert!(Failure::of_cache(&Error::Absent).is_none());
    assert!(Failure::of_cache(&Error::UnknownWorkspace).is_none());
    let down = Failure::of_cache(&Error::Unavailable("it is down".into())).unwrap();
    assert_eq!((down.trouble, &*down.cause), (Trouble::Database, "it is down"));
    assert_eq!(Failure::of_cache(&Error::Internal("bug".into())).unwrap().trouble, Trouble::Internal);
}
