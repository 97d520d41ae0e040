//! Tests of the look at a transaction that may be open.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use sqlx::Connection as _;

use super::*;

#[tokio::test]
async fn a_transaction_is_seen_and_nothing_is_left_behind_by_a_look_that_is_dropped() {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    {
        let mut look = pin!(Sqlite::is_in_transaction(&mut connection));
        poll_fn(|context| Poll::Ready(look.as_mut().poll(context).is_ready())).await;
    }
    assert_eq!(Sqlite::is_in_transaction(&mut connection).await, Ok(false));
    for (statement, is_open) in
        [("BEGIN", true), ("ROLLBACK", false), ("SAVEPOINT s", true), ("RELEASE s", false)]
    {
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        assert_eq!(Sqlite::is_in_transaction(&mut connection).await, Ok(is_open), "{statement}");
    }
}
