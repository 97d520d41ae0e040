//! What a database sees of a transaction that the program has begun: its connection, and how its end is read.

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};

use super::{postgres, sqlite};
use crate::DatabaseError;

/// The connection of a transaction of the program's own, with the transaction open on it.
#[non_exhaustive]
pub enum TransactionConnection<'a> {
    /// Of PostgreSQL.
    Postgres(&'a mut PgConnection),
    /// Of SQLite.
    Sqlite(&'a mut SqliteConnection),
}

/// A database of sqlx in whose transactions secrets can be issued: [`sqlx::Postgres`] and [`sqlx::Sqlite`].
pub trait Engine: sqlx::Database + sealed::Sealed {}

impl Engine for Postgres {}
impl Engine for Sqlite {}

/// What the engines differ in.
pub(crate) mod sealed {
    use super::TransactionConnection;
    use crate::DatabaseError;

    pub trait Sealed: sqlx::Database {
        fn connection(connection: &mut Self::Connection) -> TransactionConnection<'_>;

        /// The failure of a COMMIT: `Lost` where it may have been carried out.
        fn of_commit(error: sqlx::Error) -> DatabaseError;
    }
}

impl sealed::Sealed for Postgres {
    fn connection(connection: &mut PgConnection) -> TransactionConnection<'_> {
        TransactionConnection::Postgres(connection)
    }

    fn of_commit(error: sqlx::Error) -> DatabaseError {
        postgres::of_commit(error)
    }
}

impl sealed::Sealed for Sqlite {
    fn connection(connection: &mut SqliteConnection) -> TransactionConnection<'_> {
        TransactionConnection::Sqlite(connection)
    }

    fn of_commit(error: sqlx::Error) -> DatabaseError {
        sqlite::of_commit(error)
    }
}

impl TransactionConnection<'_> {
    /// The error of a database that is another than the transaction's.
    pub(super) fn is_foreign_to(&self, database: &str) -> DatabaseError {
        let own = match self {
            Self::Postgres(_) => "PostgreSQL",
            Self::Sqlite(_) => "SQLite",
        };
        DatabaseError::Refused(
            format!("the transaction is one of {own}, and the cache is over {database}").into(),
        )
    }
}

/// The error of a database that knows nothing of transactions.
pub(super) fn takes_no_part() -> DatabaseError {
    DatabaseError::Refused(
        "this implementation of Database takes no part in the program's transactions".into(),
    )
}
