use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Sqlite, SqlitePool};

use super::*;

/// Makes a pool, and two users of it. A connection that is given back is idle at once.
async fn pool() -> (SqlitePool, Epoch, [StickyConnection<Sqlite>; 2]) {
    let pool = SqlitePoolOptions::new().max_connections(FEWEST_CONNECTIONS);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    // The connection that is open from the start is out of the way.
    drop(pool.acquire().await.unwrap().detach());
    let epoch = Epoch::default();
    let user = || StickyConnection::new(pool.clone(), drop, epoch.clone());
    let users = [user(), user()];
    (pool, epoch, users)
}

/// Lets a connection that was dropped get back into its pool.
async fn are_idle(count: usize, pool: &SqlitePool) {
    while pool.num_idle() < count {
        tokio::task::yield_now().await;
    }
}

/// Stops the clock, and makes these connections as good as just acquired: on a busy machine the time until
/// they are kept may be longer than that of one that is worth keeping.
fn stop_clock<'a>(acquired: impl IntoIterator<Item = &'a mut Borrowed<Sqlite>>) {
    tokio::time::pause();
    let now = Instant::now();
    for borrowed in acquired {
        (borrowed.since, borrowed.used_at) = (now, now);
    }
}

#[tokio::test]
async fn what_was_lent_before_the_end_of_an_epoch_does_not_go_back() {
    let (pool, epoch, [one, _]) = pool().await;
    let (early, lost) = (one.acquire().await.unwrap(), one.acquire().await.unwrap());
    epoch.end();
    let mut late = one.acquire().await.unwrap();
    assert_eq!(pool.size(), 3);
    stop_clock([&mut late]);
    one.give_back(early);
    one.keep(lost);
    assert_eq!((pool.size(), one.take().is_none()), (1, true), "both are closed");
    one.keep(late);
    one.give_back(one.take().expect("it is of this epoch"));
    are_idle(1, &pool).await;
    assert_eq!(pool.size(), 1);
}

#[tokio::test]
async fn what_was_kept_before_the_end_of_an_epoch_is_not_used_again_by_anybody() {
    let (pool, epoch, users) = pool().await;
    let mut acquired = Vec::new();
    for user in &users {
        acquired.push(user.acquire().await.unwrap());
    }
    stop_clock(&mut acquired);
    users.iter().zip(acquired).for_each(|(user, borrowed)| user.keep(borrowed));
    assert_eq!(pool.size(), 2);
    epoch.end();
    assert!(users.iter().all(|user| user.take().is_none()), "it is from before");
    assert_eq!(pool.size(), 0, "nor has it gone back");
}

#[tokio::test]
async fn what_nobody_asks_for_any_more_does_not_go_back_after_the_end_of_its_epoch_either() {
    let (pool, epoch, [one, other]) = pool().await;
    let mut acquired = one.acquire().await.unwrap();
    stop_clock([&mut acquired]);
    one.keep(acquired);
    epoch.end();
    tokio::time::resume();
    while pool.size() > 0 {
        assert_eq!(pool.num_idle(), 0, "it is closed, and not given back");
        tokio::task::yield_now().await;
    }
    other.keep(other.acquire().await.unwrap());
    are_idle(1, &pool).await;
}

#[tokio::test]
async fn one_that_is_acquired_while_an_epoch_ends_counts_as_from_before() {
    let (pool, epoch, [one, _]) = pool().await;
    let mut all = Vec::new();
    for _ in 0..FEWEST_CONNECTIONS {
        all.push(one.acquire().await.unwrap());
    }
    let mut waiting = pin!(one.acquire());
    assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
    // The connection is handed over, and may be old.
    one.give_back(all.remove(0));
    epoch.end();
    let handed = waiting.await.unwrap();
    one.give_back(handed);
    assert_eq!(pool.size(), 3);
    drop(all);
}
