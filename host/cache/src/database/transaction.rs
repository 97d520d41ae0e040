//! A database's view of a transaction that the program has begun: its connection, and how its end is read.

use crate::DatabaseError;

/// The connection of a transaction of the program's own, with the transaction open on it.
#[non_exhaustive]
pub enum TransactionConnection<'a> {
    /// A connection to PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(&'a mut sqlx::PgConnection),
    /// A connection to SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(&'a mut sqlx::SqliteConnection),
}

/// A database of sqlx in whose transactions secrets can be issued: `sqlx::Postgres` and `sqlx::Sqlite`, as
/// far as their features are on.
pub trait Engine: sqlx::Database + sealed::Sealed {}

/// The differences between the engines.
pub(crate) mod sealed {
    use super::TransactionConnection;
    use crate::DatabaseError;

    pub trait Sealed: sqlx::Database {
        fn connection(connection: &mut Self::Connection) -> TransactionConnection<'_>;

        /// Converts the failure of a COMMIT: `Lost` where it may have been carried out.
        fn of_commit(error: sqlx::Error) -> DatabaseError;
    }
}

#[cfg(feature = "postgres")]
impl Engine for sqlx::Postgres {}

#[cfg(feature = "postgres")]
impl sealed::Sealed for sqlx::Postgres {
    fn connection(connection: &mut sqlx::PgConnection) -> TransactionConnection<'_> {
        TransactionConnection::Postgres(connection)
    }

    fn of_commit(error: sqlx::Error) -> DatabaseError {
        super::postgres::of_commit(error)
    }
}

#[cfg(feature = "sqlite")]
impl Engine for sqlx::Sqlite {}

#[cfg(feature = "sqlite")]
impl sealed::Sealed for sqlx::Sqlite {
    fn connection(connection: &mut sqlx::SqliteConnection) -> TransactionConnection<'_> {
        TransactionConnection::Sqlite(connection)
    }

    fn of_commit(error: sqlx::Error) -> DatabaseError {
        super::sqlite::of_commit(error)
    }
}

impl<'a> TransactionConnection<'a> {
    /// Returns the connection, for a cache over PostgreSQL.
    #[cfg(feature = "postgres")]
    pub(super) fn of_postgres(self) -> Result<&'a mut sqlx::PgConnection, DatabaseError> {
        match self {
            Self::Postgres(connection) => Ok(connection),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Err(is_foreign("SQLite", "PostgreSQL")),
        }
    }

    /// Returns the connection, for a cache over SQLite.
    #[cfg(feature = "sqlite")]
    pub(super) fn of_sqlite(self) -> Result<&'a mut sqlx::SqliteConnection, DatabaseError> {
        match self {
            Self::Sqlite(connection) => Ok(connection),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Err(is_foreign("PostgreSQL", "SQLite")),
        }
    }
}

/// The error of a cache that is over another database than the transaction's.
#[cfg(all(feature = "postgres", feature = "sqlite"))]
fn is_foreign(transaction: &str, cache: &str) -> DatabaseError {
    DatabaseError::Refused(
        format!("the transaction is one of {transaction}, and the cache is over {cache}").into(),
    )
}

/// The error of a database that takes no part in transactions.
pub(super) fn takes_no_part() -> DatabaseError {
    DatabaseError::Refused(
        "this implementation of Database takes no part in the program's transactions".into(),
    )
}
