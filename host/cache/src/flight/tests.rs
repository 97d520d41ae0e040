//! The register alone: who may store, who may join, and that nothing is left behind.

use std::cell::Cell;

use super::*;
use crate::{Secret, Status};

fn id() -> WorkspaceId {
    WorkspaceId::new("w").unwrap()
}

fn landed() -> Outcome {
    Ok(Lookup { secret: Secret::new("a"), status: Status::Miss })
}

fn board(flights: &Arc<Flights>, kind: Kind, generation: Generation) -> Boarding {
    flights.board(&id(), kind, generation, || None)
}

fn lead(flights: &Arc<Flights>) -> (Waiter, Departure) {
    match board(flights, Kind::Fill, Generation::FIRST) {
        Boarding::Leads(waiter, departure) => (waiter, departure),
        _ => panic!("there is no other flight"),
    }
}

/// Lands a flight, and says whether it was allowed to store.
fn stores(departure: Departure) -> bool {
    let stored = Cell::new(false);
    departure.land(landed(), || stored.set(true));
    stored.get()
}

#[tokio::test]
async fn a_flight_is_joined_by_its_own_kind_and_generation_and_stores_once() {
    let flights = Arc::new(Flights::new());
    let (leader, departure) = lead(&flights);
    let Boarding::Joined(joined) = board(&flights, Kind::Fill, Generation::FIRST) else {
        panic!("it is under way")
    };
    let Boarding::Leads(_, heal) = board(&flights, Kind::Heal, Generation::FIRST) else {
        panic!("another kind")
    };
    assert!(stores(departure));
    for waiter in [leader, joined] {
        assert!(waiter.outcome().await.is_ok());
    }
    drop(heal);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_flight_of_an_older_generation_is_replaced_and_may_not_store() {
    let flights = Arc::new(Flights::new());
    let (_waiter, old) = lead(&flights);
    let Boarding::Leads(_, new) = board(&flights, Kind::Fill, Generation::FIRST.next()) else {
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
        let (_early, departure) = lead(&flights);
        let changed = Cell::new(false);
        void(&flights, &|| changed.set(true));
        assert!(changed.get());
        let (_late, second) = lead(&flights);
        assert!(!stores(departure));
        assert!(stores(second));
        assert_eq!(flights.len(), 0);
    }
}

#[tokio::test]
async fn a_flight_whose_task_is_gone_tells_its_waiters_and_leaves() {
    let flights = Arc::new(Flights::new());
    let (waiter, departure) = lead(&flights);
    drop(departure);
    assert!(matches!(waiter.outcome().await, Err(Error::Internal(_))));
    assert_eq!(flights.len(), 0);
}

#[test]
fn an_answer_that_was_stored_a_moment_ago_needs_no_flight() {
    let flights = Arc::new(Flights::new());
    let boarding = flights.board(&id(), Kind::Fill, Generation::FIRST, || Some(landed()));
    assert!(matches!(boarding, Boarding::Served(Ok(_))));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn no_fill_stores_while_an_issue_is_under_way_or_waits() {
    let flights = Arc::new(Flights::new());
    let mut writer = flights.write(&id());
    let (_waiter, departure) = lead(&flights);
    assert!(!stores(departure), "an issue waits for its turn");
    writer.turn().await;
    let (_waiter, during) = lead(&flights);
    writer.finish(|may_store| assert!(may_store));
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
    writer.finish(|may_store| assert!(!may_store));
    drop(writer);
    assert_eq!(flights.len(), 0);
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
    first.finish(|may_store| assert!(may_store, "the second has not begun"));
    drop(first);
    let second = waiting.await.unwrap();
    second.finish(|may_store| assert!(may_store));
    drop(second);
    assert_eq!(flights.len(), 0);
}
