use axum::http::Version;

use super::super::activity::Activity;
use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    keep_alive: Duration::from_secs(75),
    header: Duration::from_secs(10),
    write: Duration::from_secs(20),
};

fn connections(in_all: usize, per_peer: usize) -> Arc<Connections> {
    Connections::new(MaxConnections { in_all, per_peer }, TIMEOUTS, Arc::default())
}

fn peer(last: u8) -> Peer {
    Peer::Ip(([10, 0, 0, last], 1000).into())
}

/// Lets connections grow old enough to lose their place.
async fn age() {
    tokio::time::advance(Duration::from_secs(2)).await;
}

async fn is_closed(slot: &Slot) -> bool {
    let mut ordered = std::pin::pin!(slot.activity.ordered());
    futures_util::poll!(&mut ordered).is_ready()
}

#[test]
fn each_phase_has_its_deadline() {
    assert_eq!(overdue(Phase::Head(0), 9_999, TIMEOUTS), None);
    assert_eq!(overdue(Phase::Head(0), 10_000, TIMEOUTS), Some(Order::Close));
    assert_eq!(overdue(Phase::Stalled(0), 19_999, TIMEOUTS), None);
    assert_eq!(overdue(Phase::Stalled(0), 20_000, TIMEOUTS), Some(Order::Close));
    assert_eq!(overdue(Phase::Idle(1_000), 75_999, TIMEOUTS), None);
    assert_eq!(overdue(Phase::Idle(1_000), 76_000, TIMEOUTS), Some(Order::Finish));
    assert_eq!(overdue(Phase::Idle(1_000), 81_000, TIMEOUTS), Some(Order::Close));
    assert_eq!(overdue(Phase::Serving, u64::MAX, TIMEOUTS), None);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_takes_the_place_of_one_that_serves_nothing() {
    let connections = connections(2, 2);
    let (busy, idle) = (connections.admit(peer(1)).unwrap(), connections.admit(peer(2)).unwrap());
    let _answering = Activity::begin(busy.activity(), Version::HTTP_11);
    assert!(connections.admit(peer(3)).is_none(), "one that has just come lost its place");
    age().await;
    let third = connections.admit(peer(3)).expect("no room was made");
    assert!(is_closed(&idle).await && !is_closed(&busy).await && !is_closed(&third).await);
    assert_eq!(connections.count(), 2);
    drop((idle, third, busy));
    assert_eq!(connections.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn among_idle_ones_the_peer_with_most_of_them_loses_one() {
    let connections = connections(4, 4);
    let slots: Vec<_> = [1, 2, 2, 2].iter().map(|&last| connections.admit(peer(last)).unwrap()).collect();
    age().await;
    let _fifth = connections.admit(peer(3)).expect("no room was made");
    assert!(!is_closed(&slots[0]).await, "the peer with one connection lost it");
}

#[tokio::test(start_paused = true)]
async fn a_peer_above_its_share_loses_a_connection_of_its_own() {
    let connections = connections(10, 2);
    let slots: Vec<_> = [1, 1, 2].iter().map(|&last| connections.admit(peer(last)).unwrap()).collect();
    age().await;
    let _more = connections.admit(peer(1)).expect("no room was made");
    assert!(is_closed(&slots[0]).await || is_closed(&slots[1]).await);
    assert!(!is_closed(&slots[2]).await);
}

#[test]
fn nothing_that_is_being_answered_is_ended_for_a_new_one() {
    let connections = connections(1, 1);
    let slot = connections.admit(peer(1)).unwrap();
    let answering = Activity::begin(slot.activity(), Version::HTTP_11);
    assert!(connections.admit(peer(2)).is_none());
    drop(answering);
    assert!(connections.admit(peer(2)).is_some());
}

#[test]
fn one_customer_of_ipv6_is_one_peer() {
    let network = |text: &str| Peer::Ip(text.parse().unwrap()).network();
    assert_eq!(network("[2001:db8:1:2::1]:1"), network("[2001:db8:1:2:ffff::9]:2"));
    assert_ne!(network("[2001:db8:1:2::1]:1"), network("[2001:db8:1:3::1]:1"));
    assert_eq!(network("[::ffff:10.0.0.1]:1"), network("10.0.0.1:5"));
}

#[tokio::test]
async fn all_connections_are_told_to_finish_and_waited_for() {
    let connections = connections(4, 4);
    let slot = connections.admit(peer(1)).unwrap();
    drop(Activity::begin(slot.activity(), Version::HTTP_11));
    let finished = tokio::spawn({
        let connections = Arc::clone(&connections);
        async move { connections.finished().await }
    });
    assert_eq!(slot.activity.ordered().await, Order::Finish);
    assert!(!finished.is_finished());
    drop(slot);
    finished.await.unwrap();
}
