//! The detection of a pooler, and the fate of statements behind one that mixes them up. The tags alone are
//! tried without a look at the pooler: then everything may fail, and nothing may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use leasehold::{
    ConnectError, Database as _, DatabaseError, IssueMode, Postgres, PostgresOptions, PostgresPool,
    PostgresWrite, Secret, Sessions,
};
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;

use super::{at_leisure, column, id, select};

/// Number of rows that never change while they are read, each with its own secret.
const ROWS: usize = 40;
/// The setting that has an older pooler take our startup parameters.
const LENIENT: (&str, &str) = ("ignore_startup_parameters", "options,extra_float_digits");

async fn workspaces() -> Result<TestDatabase> {
    let fixture = TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(fixture.pool()).await?;
    let rows = format!(
        "INSERT INTO workspaces SELECT 'w' || n, 'token-of-w' || n, 'secret-of-w' || n FROM \
         generate_series(1, {ROWS}) n"
    );
    sqlx::raw_sql(AssertSqlSafe(rows)).execute(fixture.pool()).await?;
    Ok(fixture)
}

/// Asserts that the rows are all there, each as it was made.
async fn assert_unharmed(fixture: &TestDatabase) -> Result<()> {
    let whole = "SELECT count(*) FROM workspaces WHERE platform_inbound_secret = 'secret-of-' || id \
                 AND auth_token_hash = 'token-of-' || id";
    let count: i64 = sqlx::query_scalar(whole).fetch_one(fixture.pool()).await?;
    assert_eq!(usize::try_from(count)?, ROWS, "rows are gone or have other values");
    Ok(())
}

fn refusal(connected: Result<PostgresPool, ConnectError>) -> String {
    match connected {
        Err(ConnectError::Pooler(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_and_a_pooler_by_session_are_sessions_of_our_own() -> Result<()> {
    let fixture = workspaces().await?;
    for _ in 0..5 {
        assert_eq!(PostgresPool::connect(fixture.url()).await?.sessions(), Sessions::Own);
    }
    for version in [Version::Old, Version::New] {
        // With no ignored parameter, and with the fewest server connections that two clients can have.
        for settings in [&[][..], &[LENIENT], &[("default_pool_size", "2")]] {
            let pooler = Pooler::start(version, Mode::Session, &fixture.options(), settings)?;
            let pool =
                PostgresPool::connect_with(PostgresOptions::new(&pooler.url()).max_connections(1)).await;
            let pool = pool.with_context(|| format!("{version:?} {settings:?}"))?;
            assert_eq!(pool.sessions(), Sessions::Own, "{version:?} {settings:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_that_loses_prepared_statements_is_refused_with_what_would_do() -> Result<()> {
    let fixture = workspaces().await?;
    for (version, settings) in [
        (Version::Old, vec![]),
        (Version::Old, vec![LENIENT]),
        (Version::Old, vec![("default_pool_size", "1")]),
        (Version::Old, vec![("server_round_robin", "1")]),
        (Version::New, vec![("max_prepared_statements", "0")]),
        (Version::New, vec![("max_prepared_statements", "0"), ("default_pool_size", "1")]),
        (Version::New, vec![("max_prepared_statements", "0"), ("server_round_robin", "1")]),
    ] {
        let pooler = Pooler::start(version, Mode::Transaction, &fixture.options(), &settings)?;
        // The look is repeated with what the first looks have left behind.
        for _ in 0..3 {
            let words = refusal(PostgresPool::connect(&pooler.url()).await);
            assert!(words.contains("max_prepared_statements above 0"), "{version:?} {settings:?}: {words}");
            assert!(words.contains("pool_mode=session"), "{words}");
        }
    }
    assert_unharmed(&fixture).await
}

#[tokio::test]
async fn a_pooler_by_statement_is_refused_with_what_would_do() -> Result<()> {
    let fixture = workspaces().await?;
    for version in [Version::Old, Version::New] {
        let pooler = Pooler::start(version, Mode::Statement, &fixture.options(), &[])?;
        for _ in 0..3 {
            let words = refusal(PostgresPool::connect(&pooler.url()).await);
            assert!(words.contains("pool_mode=session"), "{version:?}: {words}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_that_keeps_prepared_statements_is_as_good_as_a_server() -> Result<()> {
    let fixture = workspaces().await?;
    for settings in [&[][..], &[LENIENT], &[("default_pool_size", "1")], &[("server_round_robin", "1")]] {
        let pooler = Pooler::start(Version::New, Mode::Transaction, &fixture.options(), settings)?;
        let options = PostgresOptions::new(&pooler.url()).max_connections(16);
        let pool = PostgresPool::connect_with(options).await.with_context(|| format!("{settings:?}"))?;
        assert_eq!(pool.sessions(), Sessions::PerTransaction, "{settings:?}");
        let load = Load::start(&pool, Duration::from_millis(600)).await?;
        assert_eq!((load.wrong, load.failed), (0, 0), "{settings:?}");
        // The number of late answers is up to the machine; without a load each row is read.
        let database = Postgres::new(&pool, column()).await?;
        for number in 1..=ROWS {
            let secret = select(&database, &format!("w{number}")).await?;
            assert_eq!(secret, Some(format!("secret-of-w{number}")), "{settings:?}");
        }
        assert!(load.right > load.late, "{settings:?}: {load:?}");
        assert_unharmed(&fixture).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tags_alone_make_every_mix_up_an_error() -> Result<()> {
    let fixture = workspaces().await?;
    for (version, settings) in [
        (Version::Old, vec![]),
        (Version::Old, vec![LENIENT]),
        (Version::New, vec![("max_prepared_statements", "0")]),
    ] {
        let pooler = Pooler::start(version, Mode::Transaction, &fixture.options(), &settings)?;
        let load = Load::through_unchecked(&pooler).await?;
        assert_eq!(load.wrong, 0, "{version:?}: {load:?}");
        assert!(load.failed > 0, "{version:?}: nothing was mixed up, so that nothing is shown: {load:?}");
        assert_unharmed(&fixture).await?;
    }
    Ok(())
}

#[tokio::test]
async fn statements_that_another_program_has_left_behind_do_not_even_bind() -> Result<()> {
    let fixture = workspaces().await?;
    for version in [Version::Old, Version::New] {
        let settings = if version == Version::New { vec![("max_prepared_statements", "0")] } else { vec![] };
        let pooler = Pooler::start(version, Mode::Transaction, &fixture.options(), &settings)?;
        leave_statements_behind(&pooler.options()).await?;
        let load = Load::through_unchecked(&pooler).await?;
        assert_eq!(load.wrong, 0, "{version:?}: {load:?}");
        assert_unharmed(&fixture).await?;
        // The statements that were left behind do not keep a look from seeing what is there either.
        refusal(PostgresPool::connect(&pooler.url()).await);
    }
    Ok(())
}

/// Prepares, on every server connection of a pooler and under every name that ours may have, statements of as
/// many parameters as ours that would delete rows or answer with something else.
async fn leave_statements_behind(options: &PgConnectOptions) -> Result<()> {
    let options = options.clone().extra_float_digits(None);
    let mut holders = Vec::new();
    for _ in 0..12 {
        let mut connection = PgConnection::connect_with(&options).await?;
        // From here on each client holds a server connection of its own.
        sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
        for number in 0_usize..12 {
            let parameters = 1 + number % 6;
            let used: Vec<String> =
                (1..=parameters).map(|number| format!("${number}::text <> '-'")).collect();
            let statement = match number % 3 {
                0 => format!("DELETE FROM workspaces WHERE {} OR true /*{number}*/", used.join(" AND ")),
                1 => format!(
                    "SELECT auth_token_hash FROM workspaces WHERE {} OR true /*{number}*/",
                    used.join(" AND ")
                ),
                _ => format!(
                    "UPDATE workspaces SET platform_inbound_secret = $1 WHERE {} /*{number}*/",
                    used.join(" AND ")
                ),
            };
            sqlx::Executor::prepare(
                &mut connection,
                sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(statement)),
            )
            .await?;
        }
        holders.push(connection);
    }
    for mut connection in holders {
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
        connection.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_that_changes_its_mode_is_noticed_and_nothing_is_sent_until_it_is_over() -> Result<()> {
    let fixture = workspaces().await?;
    let pooler =
        Pooler::start(Version::Old, Mode::Session, &fixture.options(), &[("default_pool_size", "30")])?;
    let pool = PostgresPool::connect(&pooler.url()).await?;
    let database = Postgres::new(&pool, column()).await?;
    assert_eq!(select(&database, "w1").await?.as_deref(), Some("secret-of-w1"));
    pooler.switch(Mode::Transaction)?;
    let noticed = async {
        loop {
            let load = Load::start(&pool, Duration::from_millis(200)).await?;
            anyhow::ensure!(load.wrong == 0, "{load:?}");
            if let Err(DatabaseError::Unavailable(words)) = select(&database, "w1").await
                && words.contains("max_prepared_statements above 0")
            {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.context("it was never noticed")??;
    let refused = database.issue(&id("w1"), IssueMode::Rotate, Secret::new("new"), at_leisure()).await;
    assert!(matches!(refused, Err(DatabaseError::Unavailable(_))), "{refused:?}");
    assert_unharmed(&fixture).await?;
    pooler.switch(Mode::Session)?;
    let over = async {
        while select(&database, "w1").await.is_err() {
            // A statement that is refused at once keeps no other from its turn.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.context("it is never over")?;
    assert_unharmed(&fixture).await
}

#[tokio::test]
async fn a_pool_of_somebody_else_is_looked_at_too() -> Result<()> {
    let fixture = workspaces().await?;
    let pooler = Pooler::start(Version::Old, Mode::Transaction, &fixture.options(), &[LENIENT])?;
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(pooler.options());
    let refused = Postgres::from_pool(pool, column()).await.err().context("connected")?;
    assert!(matches!(refused, ConnectError::Pooler(_)), "{refused:?}");
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(fixture.options());
    let database = Postgres::from_pool(pool, column()).await?;
    assert_eq!(select(&database, "w1").await?.as_deref(), Some("secret-of-w1"));
    Ok(())
}

#[tokio::test]
async fn a_notice_of_the_server_is_not_even_sent() -> Result<()> {
    let fixture = workspaces().await?;
    let sql = "CREATE FUNCTION notice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                IF current_setting('client_min_messages') <> 'error' THEN \
                RAISE EXCEPTION 'notices are on'; END IF; RETURN NEW; END $$; \
                CREATE TRIGGER notice BEFORE UPDATE ON workspaces FOR EACH ROW EXECUTE FUNCTION notice(); \
                CREATE FUNCTION seen() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
                IF current_setting('client_min_messages') <> 'error' THEN \
                RAISE EXCEPTION 'notices are on'; END IF; RETURN true; END $$; \
                ALTER TABLE workspaces ENABLE ROW LEVEL SECURITY; \
                ALTER TABLE workspaces FORCE ROW LEVEL SECURITY; \
                CREATE ROLE reader; GRANT SELECT, UPDATE ON workspaces TO reader; \
                CREATE POLICY looks ON workspaces USING (seen())";
    // A role belongs to the whole cluster, and goes by itself with the name of this database in it.
    let role = format!("reader_of_{}", fixture.options().get_database().context("a name")?);
    sqlx::raw_sql(AssertSqlSafe(sql.replace("reader", &role))).execute(fixture.pool()).await?;
    // A pooler that drops `options`, and a pool that is not configured to suppress notices.
    let pooler = Pooler::start(Version::New, Mode::Transaction, &fixture.options(), &[LENIENT])?;
    let as_role = |options: PgConnectOptions| {
        let role = role.clone();
        PgPoolOptions::new()
            .max_connections(1)
            .after_connect(move |connection, _| {
                let set = format!("SET ROLE {role}");
                Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(set)).execute(connection).await.map(drop) })
            })
            .connect_lazy_with(options)
    };
    for database in [
        Postgres::connect(&pooler.url(), column()).await?,
        Postgres::from_pool(as_role(fixture.options()), column()).await?,
    ] {
        assert_eq!(select(&database, "w1").await?.as_deref(), Some("secret-of-w1"));
        for mode in [IssueMode::Rotate, IssueMode::Heal] {
            database.issue(&id("w2"), mode, Secret::new("new"), at_leisure()).await?;
        }
    }
    Ok(())
}

/// The outcome of a load of reads, batches, rotations, creations and deletions.
#[derive(Debug, Default)]
struct Load {
    right: u64,
    /// Statements that were not sent in time: a busy machine is the cause, and no answer of the database.
    late: u64,
    failed: u64,
    wrong: u64,
}

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

impl Counts {
    /// Counts an answer as right, wrong or an error; a statement that was not sent in time is late.
    fn note<T>(&self, answer: Result<T, DatabaseError>, is_right: impl FnOnce(T) -> bool) {
        let count = match answer.map(is_right) {
            Ok(true) => &self.right,
            Ok(false) => &self.wrong,
            Err(DatabaseError::Overloaded) => &self.late,
            Err(error) if error.to_string().contains("in time") => &self.late,
            Err(_) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Runs through a pooler that was not looked at, until enough has been mixed up to show something.
    async fn through_unchecked(pooler: &Pooler) -> Result<Self> {
        let options = PostgresOptions::new(&pooler.url()).max_connections(16).without_pooler_check();
        let pool = PostgresPool::connect_with(options).await?;
        Self::start(&pool, Duration::from_secs(3)).await
    }

    async fn start(pool: &PostgresPool, lasts: Duration) -> Result<Self> {
        let mut tasks = Vec::new();
        let (counts, until) = (Arc::new(Counts::default()), Instant::now() + lasts);
        for number in 0..12 {
            let (pool, counts) = (pool.clone(), Arc::clone(&counts));
            tasks.push(tokio::spawn(async move { work(number, &pool, &counts, until).await }));
        }
        for task in tasks {
            task.await?;
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Self {
            right: count(&counts.right),
            late: count(&counts.late),
            failed: count(&counts.failed),
            wrong: count(&counts.wrong),
        })
    }
}

async fn work(number: usize, pool: &PostgresPool, counts: &Counts, until: Instant) {
    let create = PostgresWrite::new("create", |guard| {
        format!(
            "INSERT INTO workspaces (id, auth_token_hash) SELECT $4, $5 WHERE {guard} ON CONFLICT (id) DO \
             NOTHING RETURNING 1 AS stored"
        )
    });
    let delete = PostgresWrite::new("delete", |guard| {
        format!("DELETE FROM workspaces WHERE id = $4 AND {guard} RETURNING 1 AS stored")
    });
    let mut columns = None;
    let mut round = number;
    while Instant::now() < until {
        // The connection may be refused as well.
        let both = match columns.take() {
            Some(both) => both,
            None => {
                let tokens =
                    leasehold::Column::new("workspaces", "id", "auth_token_hash").expect("plain names");
                match (Postgres::new(pool, column()).await, Postgres::new(pool, tokens).await) {
                    (Ok(secrets), Ok(tokens)) => (secrets, tokens),
                    (secrets, tokens) => {
                        let error = secrets.err().or(tokens.err());
                        if !error.is_some_and(|error| error.to_string().contains("in time")) {
                            counts.failed.fetch_add(1, Ordering::Relaxed);
                        }
                        continue;
                    }
                }
            }
        };
        let (secrets, tokens) = &both;
        round += 1;
        let name = format!("w{}", 1 + round % ROWS);
        let own = format!("own-{number}");
        counts.note(select(secrets, &name).await, |found| found == Some(format!("secret-of-{name}")));
        counts.note(select(tokens, &name).await, |found| found == Some(format!("token-of-{name}")));
        if round.is_multiple_of(3) {
            counts.note(pool.write(&create, &[&own, "token"]).await, |count| count <= 1);
            let issued = secrets.issue(&id(&own), IssueMode::Rotate, Secret::new(&own), at_leisure()).await;
            match issued {
                // The workspace may never have been created.
                Err(DatabaseError::UnknownWorkspace) => {}
                issued => counts.note(issued, |secret| secret.expose_str() == Some(&*own)),
            }
            counts.note(pool.write(&delete, &[&own]).await, |count| count <= 1);
        }
        columns = Some(both);
    }
}
