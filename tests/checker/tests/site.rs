//! A database of either kind with triggers that write every commit of the column down, and the connections to
//! it.
//!
//! A row is locked from before a trigger notes its change until after that is committed, so that the numbers
//! of one row's commits rise in their order. The triggers also refuse one in 16 of the secrets that are
//! minted: those are never committed.
//!
//! A cache that sees triggers reads back what it has written. So there are also triggers that it does not
//! see, and does not have to: PostgreSQL's come before the change, SQLite's belong to a connection.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use leasehold::{Column, Database, Postgres, Sqlite};
use leasehold_tests::sqlite::TestDatabase;
use leasehold_tests::{Engine, Fixture, MAX_WAIT};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, SqliteConnection, SqlitePool};

use crate::transactions::Transactions;

/// Visibility of the triggers to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Triggers {
    Seen,
    Hidden,
}

pub(crate) struct Site {
    fixture: Fixture,
    triggers: Triggers,
}

/// A connection behind the cache's back.
pub(crate) enum Outside {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Runs the same statement on either connection.
macro_rules! on_either {
    ($outside:expr, $connection:ident => $body:expr) => {
        match $outside {
            Outside::Postgres($connection) => $body,
            Outside::Sqlite($connection) => $body,
        }
    };
}

/// Transactions of the program's own that are open at once.
const TRANSACTIONS: u32 = 2;

const SECRET: &str = "platform_inbound_secret";

/// First characters of the secrets that are refused: four of 64.
const REFUSED: &str = "'A', 'B', 'C', 'D'";

impl Site {
    pub(crate) async fn create(engine: Engine, triggers: Triggers) -> Result<Self> {
        let fixture = engine.workspaces().await?;
        let (number, installed) = match engine {
            Engine::Postgres => ("BIGSERIAL PRIMARY KEY", postgres_triggers(triggers)),
            Engine::Sqlite if triggers == Triggers::Seen => {
                ("INTEGER PRIMARY KEY AUTOINCREMENT", sqlite_triggers(""))
            }
            Engine::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", String::new()),
        };
        fixture
            .execute(&format!("CREATE TABLE history (seq {number}, id TEXT NOT NULL, secret TEXT)"))
            .await?;
        fixture.execute(&installed).await?;
        Ok(Self { fixture, triggers })
    }

    /// Returns the cache's connections to the column, so many of them.
    pub(crate) async fn connect(&self, connections: u32) -> Result<Arc<dyn Database>> {
        let column = Column::new("workspaces", "id", SECRET)?;
        Ok(match &self.fixture {
            Fixture::Postgres(database) => {
                let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(MAX_WAIT);
                let options = postgres(database.options()).application_name("leasehold");
                Arc::new(Postgres::from_pool(pool.connect_lazy_with(options), column).await?)
            }
            Fixture::Sqlite(database) => {
                Arc::new(Sqlite::from_pool(self.sqlite_pool(database, connections), column).await?)
            }
        })
    }

    /// Returns the program's own pool.
    pub(crate) fn transactions(&self) -> Transactions {
        match &self.fixture {
            Fixture::Postgres(database) => {
                let pool = PgPoolOptions::new().max_connections(TRANSACTIONS).acquire_timeout(MAX_WAIT);
                Transactions::Postgres(pool.connect_lazy_with(postgres(database.options())))
            }
            Fixture::Sqlite(database) => Transactions::Sqlite(self.sqlite_pool(database, TRANSACTIONS)),
        }
    }

    fn sqlite_pool(&self, database: &TestDatabase, connections: u32) -> SqlitePool {
        let own = self.own_triggers();
        let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(MAX_WAIT);
        let pool = pool.after_connect(move |connection, _| {
            let own = own.clone();
            Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(own)).execute(connection).await.map(drop) })
        });
        pool.connect_lazy_with(sqlite(database.options()))
    }

    pub(crate) async fn outside(&self) -> Result<Outside> {
        Ok(match &self.fixture {
            Fixture::Postgres(database) => Outside::Postgres(postgres(database.options()).connect().await?),
            Fixture::Sqlite(database) => {
                let mut connection = sqlite(database.options()).connect().await?;
                sqlx::raw_sql(AssertSqlSafe(self.own_triggers())).execute(&mut connection).await?;
                Outside::Sqlite(connection)
            }
        })
    }

    /// Returns the triggers that each connection to SQLite has to bring along.
    fn own_triggers(&self) -> String {
        match self.triggers {
            Triggers::Hidden => sqlite_triggers("TEMP"),
            Triggers::Seen => String::new(),
        }
    }
}

impl Outside {
    /// Writes another value where there is a row, and nothing where there is a value. Returns
    /// whether it has.
    pub(crate) async fn update(&mut self, id: &str, value: Option<&str>) -> Result<bool> {
        let is_absence = value.is_none_or(str::is_empty);
        let found = if is_absence { format!("AND coalesce({SECRET}, '') <> ''") } else { String::new() };
        let sql = AssertSqlSafe(format!("UPDATE workspaces SET {SECRET} = $2 WHERE id = $1 {found}"));
        Ok(on_either!(self, connection => {
            sqlx::query(sql).bind(id).bind(value).execute(connection).await?.rows_affected()
        }) == 1)
    }

    pub(crate) async fn delete(&mut self, id: &str) -> Result<bool> {
        let sql = "DELETE FROM workspaces WHERE id = $1";
        Ok(on_either!(self, connection => {
            sqlx::query(sql).bind(id).execute(connection).await?.rows_affected()
        }) == 1)
    }

    pub(crate) async fn insert(&mut self, id: &str, value: &str) -> Result<bool> {
        let sql = AssertSqlSafe(format!(
            "INSERT INTO workspaces (id, {SECRET}) SELECT $1, $2 \
             WHERE NOT EXISTS (SELECT 1 FROM workspaces WHERE id = $1)"
        ));
        Ok(on_either!(self, connection => {
            sqlx::query(sql).bind(id).bind(value).execute(connection).await?.rows_affected()
        }) == 1)
    }

    pub(crate) async fn count(&mut self) -> Result<u64> {
        let sql = "SELECT count(*) FROM workspaces";
        let count: i64 = on_either!(self, connection => sqlx::query_scalar(sql).fetch_one(connection).await?);
        Ok(count.try_into()?)
    }

    /// Cuts one of the cache's connections to PostgreSQL.
    pub(crate) async fn cut(&mut self) -> Result<()> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'leasehold' \
                   ORDER BY random() LIMIT 1) AS one";
        if let Self::Postgres(connection) = self {
            sqlx::query(sql).execute(connection).await?;
        }
        Ok(())
    }

    /// Takes what was committed since the last time, in its order.
    pub(crate) async fn take_history(&mut self) -> Result<Vec<(String, Option<String>)>> {
        let sql = "DELETE FROM history RETURNING seq, id, secret";
        let mut rows: Vec<(i64, String, Option<String>)> =
            on_either!(self, connection => sqlx::query_as(sql).fetch_all(connection).await?);
        rows.sort_unstable_by_key(|(seq, ..)| *seq);
        Ok(rows.into_iter().map(|(_, id, secret)| (id, secret)).collect())
    }
}

impl fmt::Display for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seen => "triggers that the cache sees",
            Self::Hidden => "triggers that it does not see",
        })
    }
}

/// Returns the options of a connection on which nothing has to outlive the machine.
fn postgres(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("synchronous_commit", "off")])
}

fn sqlite(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.synchronous(SqliteSynchronous::Off).busy_timeout(MAX_WAIT)
}

/// Returns PostgreSQL's triggers. They need one statement at a time on a row: the writer's own for new rows
/// and deleted ones, and all of them for changes.
fn postgres_triggers(triggers: Triggers) -> String {
    let when = if triggers == Triggers::Seen { "AFTER" } else { "BEFORE" };
    format!(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
            IF TG_OP = 'DELETE' THEN
                INSERT INTO history (id, secret) VALUES (OLD.id, NULL);
                RETURN OLD;
            END IF;
            IF TG_OP = 'UPDATE' AND OLD.{SECRET} IS NOT DISTINCT FROM NEW.{SECRET} THEN
                RETURN NEW;
            END IF;
            IF left(NEW.{SECRET}, 1) IN ({REFUSED}) THEN
                RAISE EXCEPTION 'not this one';
            END IF;
            INSERT INTO history (id, secret) VALUES (NEW.id, NEW.{SECRET});
            RETURN NEW;
         END $$;
         CREATE TRIGGER note {when} INSERT OR UPDATE OR DELETE ON workspaces
            FOR EACH ROW EXECUTE FUNCTION note();"
    )
}

fn sqlite_triggers(temporary: &str) -> String {
    let trigger = |name: &str, on: &str, body: &str| {
        format!("CREATE {temporary} TRIGGER {name} {on} BEGIN {body} END;")
    };
    let keep = format!("INSERT INTO history (id, secret) VALUES (NEW.id, NEW.{SECRET});");
    let refuse =
        format!("SELECT RAISE(ABORT, 'not this one') WHERE substr(NEW.{SECRET}, 1, 1) IN ({REFUSED});");
    let differs = format!("WHEN OLD.{SECRET} IS NOT NEW.{SECRET}");
    let gone = "INSERT INTO history (id, secret) VALUES (OLD.id, NULL);";
    [
        trigger("note_insert", "AFTER INSERT ON main.workspaces", &keep),
        trigger("note_update", &format!("AFTER UPDATE ON main.workspaces {differs}"), &(refuse + &keep)),
        trigger("note_delete", "AFTER DELETE ON main.workspaces", gone),
    ]
    .concat()
}
