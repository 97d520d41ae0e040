//! Tests of the register alone: which flights may store, which may be joined, and that nothing is left
//! behind.

use std::cell::Cell;

use super::*;
use crate::{Instant, Secret, Status};

fn id() -> WorkspaceId {
    WorkspaceId::new("w").unwrap()
}

fn lookup(secret: &str) -> Lookup {
    Lookup::new(Secret::new(secret), Status::Miss, Instant::default(), Instant::default())
}

fn outcome() -> ReadOutcome {
    Ok(lookup("a"))
}

fn join_or_lead(flights: &Arc<Flights>, kind: FlightKind, generation: Generation) -> Join {
    flights.join_or_lead(&id(), kind, generation, || None)
}

fn lead(flights: &Arc<Flights>) -> (Waiter, LeaderGuard) {
    match join_or_lead(flights, FlightKind::Fill, Generation::FIRST) {
        Join::Leader(waiter, leader) => (waiter, leader),
        _ => panic!("there is no other flight"),
    }
}

/// Completes a flight, and returns whether it was allowed to store.
fn stores(leader: LeaderGuard) -> bool {
    let stored = Cell::new(false);
    leader.complete(outcome(), |may_store| stored.set(may_store));
    stored.get()
}

#[tokio::test]
async fn a_flight_is_joined_by_its_own_kind_and_generation_and_stores_once() {
    let flights = Arc::new(Flights::new());
    let (first, leader) = lead(&flights);
    let Join::Follower(joined) = join_or_lead(&flights, FlightKind::Fill, Generation::FIRST) else {
        panic!("it is in flight")
    };
    let Join::Leader(_, heal) = join_or_lead(&flights, FlightKind::Heal, Generation::FIRST) else {
        panic!("another kind")
    };
    assert!(stores(leader));
    for waiter in [first, joined] {
        assert!(waiter.outcome().await.is_ok());
    }
    drop(heal);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_flight_of_an_older_generation_is_replaced_and_may_not_store() {
    let flights = Arc::new(Flights::new());
    let (_waiter, old) = lead(&flights);
    let Join::Leader(_, new) = join_or_lead(&flights, FlightKind::Fill, Generation::FIRST.next()) else {
        panic!("not joinable")
    };
    assert!(!stores(old));
    assert!(stores(new));
    assert_eq!(flights.len(), 0);
}

#[test]
fn what_is_voided_may_neither_be_stored_nor_joined() {
    type Void = fn(&Flights, &dyn Fn());
    let voids: [Void; 2] =
        [|flights, change| flights.void(&id(), change), |flights, change| flights.void_all(change)];
    for void in voids {
        let flights = Arc::new(Flights::new());
        let (_early, leader) = lead(&flights);
        let changed = Cell::new(false);
        void(&flights, &|| changed.set(true));
        assert!(changed.get());
        let (_late, second) = lead(&flights);
        assert!(!stores(leader));
        assert!(stores(second));
        assert_eq!(flights.len(), 0);
    }
}

#[tokio::test]
async fn a_flight_whose_task_is_gone_tells_its_waiters_and_leaves() {
    let flights = Arc::new(Flights::new());
    let (waiter, leader) = lead(&flights);
    drop(leader);
    assert!(matches!(waiter.outcome().await, Err(Error::Internal(_))));
    assert_eq!(flights.len(), 0);
}

#[test]
fn an_answer_that_was_stored_a_moment_ago_needs_no_flight() {
    let flights = Arc::new(Flights::new());
    let join = flights.join_or_lead(&id(), FlightKind::Fill, Generation::FIRST, || Some(outcome()));
    assert!(matches!(join, Join::Cached(Ok(_))));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn no_fill_stores_while_an_issue_is_under_way_or_waits() {
    let flights = Arc::new(Flights::new());
    let mut writer = flights.write(&id());
    let (_waiter, leader) = lead(&flights);
    assert!(!stores(leader), "an issue waits for its turn");
    writer.turn().await;
    let (_waiter, during) = lead(&flights);
    writer.finish(Some(&Secret::new("a")), |may_store| assert!(may_store));
    drop(writer);
    let (_waiter, after) = lead(&flights);
    assert!(!stores(during), "its SELECT may have been sent before the UPDATE");
    assert!(stores(after));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn an_issue_does_not_store_after_a_removal_that_came_between() {
    let flights = Arc::new(Flights::new());
    let mut writer = flights.write(&id());
    writer.turn().await;
    flights.void(&id(), || {});
    writer.finish(None, |may_store| assert!(!may_store));
    drop(writer);
    assert_eq!(flights.len(), 0);
}

fn completed_with(leader: LeaderGuard, secret: &str) -> bool {
    let stored = Cell::new(false);
    leader.complete(Ok(lookup(secret)), |may_store| stored.set(may_store));
    stored.get()
}

#[test]
fn a_flight_beside_one_that_may_not_store_stores_nothing_else_than_that_one_has_told() {
    for (brought, may_store) in [("newer", true), ("older", false)] {
        let flights = Arc::new(Flights::new());
        let (_early, slow) = lead(&flights);
        flights.void(&id(), || {});
        let (_late, beside) = lead(&flights);
        assert!(!completed_with(slow, "newer"));
        assert_eq!(completed_with(beside, brought), may_store, "{brought}");
        assert_eq!(flights.len(), 0);
        let (_waiter, next) = lead(&flights);
        assert!(completed_with(next, "anything"), "nothing is in flight any more");
    }
}

#[test]
fn whoever_comes_after_another_value_was_told_joins_no_flight_that_began_before() {
    let flights = Arc::new(Flights::new());
    let (_first, stray) = lead(&flights);
    flights.void(&id(), || {});
    let (_second, outrun) = lead(&flights);
    assert!(!completed_with(stray, "newer"));
    let (_third, later) = lead(&flights);
    assert!(
        matches!(join_or_lead(&flights, FlightKind::Fill, Generation::FIRST), Join::Follower(_)),
        "it began after that"
    );
    assert!(!completed_with(outrun, "newer"), "it was replaced");
    assert!(
        matches!(join_or_lead(&flights, FlightKind::Fill, Generation::FIRST), Join::Follower(_)),
        "nothing new was delivered"
    );
    assert!(completed_with(later, "newer"));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn an_issue_beside_a_fill_that_has_told_another_value_does_not_store() {
    for (issued, stored) in [("delivered", true), ("another", false)] {
        let flights = Arc::new(Flights::new());
        let (_waiter, fill) = lead(&flights);
        let mut writer = flights.write(&id());
        writer.turn().await;
        assert!(!completed_with(fill, "delivered"));
        writer.finish(Some(&Secret::new(issued)), |may_store| assert_eq!(may_store, stored, "{issued}"));
    }
}

#[tokio::test]
async fn issues_of_one_workspace_take_turns_in_order() {
    let flights = Arc::new(Flights::new());
    let mut first = flights.write(&id());
    first.turn().await;
    let mut second = flights.write(&id());
    let waiting = tokio::spawn(async move {
        second.turn().await;
        second
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    first.finish(None, |may_store| assert!(!may_store, "the second may be carried out before or after it"));
    drop(first);
    let second = waiting.await.unwrap();
    second.finish(None, |may_store| assert!(may_store));
    drop(second);
    assert_eq!(flights.len(), 0);
}

/// `issue` commits; others replace its value, which `newer` delivers; `older` delivers the absence from
/// before the commit.
#[tokio::test]
async fn what_is_delivered_late_does_not_hide_what_was_delivered_before_it() {
    let late = [Err(Error::Absent), Ok(lookup("issued"))];
    for late in late {
        let flights = Arc::new(Flights::new());
        let (_early, older) = lead(&flights);
        let mut issue = flights.write(&id());
        issue.turn().await;
        let Join::Leader(_, newer) = join_or_lead(&flights, FlightKind::Fill, Generation::FIRST.next())
        else {
            panic!("not joinable")
        };
        assert!(!stores(newer), "it delivers a, and an issue is in flight");
        older.complete(late, |may_store| assert!(!may_store));
        let stored = Cell::new(false);
        issue.finish(Some(&Secret::new("issued")), |may_store| stored.set(may_store));
        assert!(!stored.get(), "a was delivered, and what was issued may be older");
    }
}
