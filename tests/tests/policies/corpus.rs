//! The whole hostile corpus, contained (G7, G8): one table of policies, and one driver that does the same
//! with each.
//!
//! A case is held against its row: what every caller gets, what the neighbour sees, what the counters say.
//! And every case is held against what no row may change: a secret that is given out is the one that the
//! database holds for that workspace, no secret is in a guest's memory, in a log, in an error or in anything
//! that can be printed, and the default policy serves on afterwards as if nothing had been.

mod drive;
mod table;
mod watch;

use leasehold_tests::guest_memory::{Marker, scan};
use leasehold_tests::hostile;

use self::drive::drive;
use self::table::{Built, TABLE, Verdict};

/// Drives all cases that are built in this way and end in this way, and reports the outcome of each that
/// differs.
async fn hold(wanted: impl Fn(&table::Case) -> bool) {
    let mut wrong = String::new();
    let mut driven = 0;
    for case in TABLE.iter().filter(|case| wanted(case)) {
        driven += 1;
        // The name is shown where a case panics: the last one is it.
        println!("{}", case.name);
        if let Err(difference) = drive(case).await {
            wrong.push_str(&difference);
        }
    }
    assert!(driven > 20, "{driven} cases");
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn policies_that_the_sdk_lets_through_are_contained() {
    hold(|case| case.built == Built::Sdk && case.verdict.serves()).await;
}

#[tokio::test]
async fn policies_that_no_compiler_would_make_are_contained() {
    hold(|case| case.built == Built::Bare && case.verdict.serves()).await;
}

#[tokio::test]
async fn policies_that_fail_at_the_door_are_refused_and_the_old_one_serves_on() {
    hold(|case| !case.verdict.serves()).await;
}

#[test]
fn every_policy_in_bare_webassembly_is_in_the_table_once() {
    let mut in_table: Vec<_> =
        TABLE.iter().filter(|case| case.built == Built::Bare).map(|case| case.name).collect();
    let mut all: Vec<_> = hostile::bare_names().collect();
    in_table.sort_unstable();
    all.sort_unstable();
    assert_eq!(in_table, all);
    assert!(TABLE.len() >= 40 && TABLE.iter().any(|case| matches!(case.verdict, Verdict::Refused(..))));
}

#[tokio::test]
async fn the_scanner_of_memories_finds_what_a_guest_was_told_and_no_other_memory() {
    let (marker, other) = (Marker::new(), Marker::new());
    // Names that no component contains: the only way into a guest is through `configure`.
    let marker_of_guest = "traps-at-4000000000".to_owned();
    let cache = hostile::builder()
        .database(leasehold_tests::scripted::Scripted::new())
        .policy(hostile::does(&marker_of_guest, &marker))
        .build()
        .await
        .expect("the policy can be configured");
    let found =
        scan(&marker, &["no guest was told this".to_owned(), marker_of_guest.clone()]).expect("it may look");
    assert_eq!((found.memories, found.found), (1, vec![1]));
    assert_eq!(scan(&other, &[marker_of_guest]).expect("it may look").memories, 0);
    drop(cache);
}
