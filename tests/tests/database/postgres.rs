//! The peculiarities of PostgreSQL: key types, lost connections, cancelled statements, passwords.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use leasehold::{ConnectError, Database, DatabaseError, IssueMode, Postgres};
use leasehold_tests::Engine;
use leasehold_tests::postgres::TestDatabase;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

use super::{assert_refused, assert_unavailable, column, issue, select, select_batch, spawn_issue};

const UUID: &str = "8c3f2b4e-0000-4000-8000-00000000000a";

async fn workspaces() -> Result<TestDatabase> {
    let fixture = TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(fixture.pool()).await?;
    sqlx::raw_sql("INSERT INTO workspaces (id, platform_inbound_secret) VALUES ('w', 'old')")
        .execute(fixture.pool())
        .await?;
    Ok(fixture)
}

/// Ends the session of the code under test once it waits for a lock. Every round asks the server, so it does
/// not spin.
async fn terminate_when_blocked(pool: &PgPool) -> Result<()> {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = 'leasehold' AND wait_event_type = 'Lock'";
    let ended = async {
        while sqlx::query(end).fetch_optional(pool).await?.is_none() {}
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.context("nobody waits for the lock")?
}

#[tokio::test]
async fn a_key_that_is_not_text_is_found_by_its_own_spelling_and_any_other_id_has_no_row() -> Result<()> {
    let fixture = Engine::Postgres.empty().await?;
    fixture.execute("CREATE DOMAIN workspace_number AS bigint CHECK (VALUE > 0)").await?;
    fixture.execute("CREATE TYPE tier AS ENUM ('gold', 'silver')").await?;
    for (declared, stored, others) in [
        ("uuid", UUID, [&*UUID.to_uppercase(), "8c3f2b4e000040008000-00000000000a", "not-a-uuid"]),
        ("bigint", "42", ["042", "99999999999999999999", "' OR true --"]),
        ("integer", "-7", [" -7", "-7.0", "7"]),
        ("char(8)", "abc", ["abc ", "ABC", "abcdefghijkl"]),
        ("varchar(8)", "abc", ["abc ", "ABC", "abcdefghijkl"]),
        ("name", "abc", ["abc ", "ABC", "abcdefghijkl"]),
        ("numeric(6,2)", "1.50", ["1.5", "1.500", "1.501"]),
        ("workspace_number", "42", ["042", "-1", "x"]),
        ("tier", "gold", ["Gold", "silver", "lead"]),
    ] {
        fixture.execute("DROP TABLE IF EXISTS workspaces").await?;
        fixture
            .execute(&format!(
                "CREATE TABLE workspaces (id {declared} PRIMARY KEY, platform_inbound_secret TEXT)"
            ))
            .await?;
        fixture.execute(&format!("INSERT INTO workspaces VALUES ('{stored}', 'old')")).await?;
        let database = fixture.secrets().await?;
        assert_eq!(select(&*database, stored).await?.as_deref(), Some("old"), "{declared}");
        assert_eq!(issue(&*database, stored, IssueMode::Rotate, "new").await?, "new", "{declared}");
        assert_eq!(issue(&*database, stored, IssueMode::Heal, "other").await?, "new", "{declared}");
        for other in others {
            assert_eq!(select(&*database, other).await?, None, "{declared} {other:?}");
            for mode in [IssueMode::Rotate, IssueMode::Heal] {
                let refused = issue(&*database, other, mode, "minted").await;
                assert_eq!(refused, Err(DatabaseError::UnknownWorkspace), "{declared} {other:?}");
            }
        }
        assert_eq!(select(&*database, stored).await?.as_deref(), Some("new"), "{declared}");
        let answers = select_batch(&*database, &[others[0], others[1], stored, others[2]]).await;
        assert_eq!(answers, [Ok(None), Ok(None), Ok(Some("new".to_owned())), Ok(None)], "{declared}");
    }
    Ok(())
}

#[tokio::test]
async fn the_key_is_looked_up_in_its_index() -> Result<()> {
    let fixture = TestDatabase::create().await?;
    for declared in ["uuid", "bigint", "text", "varchar(40)", "char(40)"] {
        let table =
            format!("CREATE TABLE workspaces (id {declared} PRIMARY KEY, platform_inbound_secret TEXT)");
        sqlx::raw_sql("DROP TABLE IF EXISTS workspaces").execute(fixture.pool()).await?;
        sqlx::raw_sql(AssertSqlSafe(table)).execute(fixture.pool()).await?;
        // One connection, so that the session looked into is the one that was used.
        let pool = PgPoolOptions::new().max_connections(1).connect_with(fixture.options()).await?;
        let database = Postgres::from_pool(pool, column()).await?;
        // The plan is the server's own for what was sent. A table without rows is scanned unless that is
        // forbidden.
        let mut session = database.pool().acquire().await?;
        sqlx::raw_sql("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
            .execute(&mut *session)
            .await?;
        drop(session);
        let mut statements = Vec::new();
        select(&database, "1").await.ok();
        let own = ("bytea, text, oid[]", "'\\xff', '', '{}'");
        statements.push(("%leasehold:select:%", "text", "'1'"));
        // No statement is sent for a key that is no value of the key's type.
        select_batch(&database, if declared == "uuid" { &[UUID, UUID] } else { &["1", "2"] }).await;
        statements.push(("%leasehold:select-batch:%", "text[], bigint", "ARRAY['1', '2'], 3"));
        let mut session = database.pool().acquire().await?;
        for (number, (like, types, values)) in statements.into_iter().enumerate() {
            let sent = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE $1";
            let sent: Vec<String> = sqlx::query_scalar(sent).bind(like).fetch_all(&mut *session).await?;
            let prepare = format!("PREPARE sent{number} ({}, {types}) AS {}", own.0, sent[0]);
            sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *session).await?;
            let explain = format!("EXPLAIN (COSTS off) EXECUTE sent{number} ({}, {values})", own.1);
            let plan: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *session).await?;
            assert!(plan.iter().any(|line| line.contains("Index Cond")), "{declared} {like}: {plan:#?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_operation_is_one_statement_and_no_transaction() -> Result<()> {
    let fixture = workspaces().await?;
    let options = fixture.options().application_name("leasehold");
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    let database = Postgres::from_pool(pool, column()).await?;
    // A transaction would show its end as the last statement.
    let last = "SELECT query FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'leasehold'";
    for (mode, verb) in [
        (None, "SELECT"),
        (Some(IssueMode::Rotate), "WITH changed AS (UPDATE"),
        (Some(IssueMode::Heal), "WITH changed"),
    ] {
        match mode {
            None => drop(select(&database, "w").await?),
            Some(mode) => drop(issue(&database, "w", mode, "new").await?),
        }
        let last: String = sqlx::query_scalar(last).fetch_one(fixture.pool()).await?;
        assert!(last.starts_with(verb), "{mode:?}: {last}");
    }
    Ok(())
}

#[tokio::test]
async fn any_kind_of_text_column_holds_a_secret_and_others_are_refused_by_name() -> Result<()> {
    let fixture = Engine::Postgres.empty().await?;
    fixture.execute("CREATE DOMAIN words AS text").await?;
    for declared in ["varchar(64)", "char(64)", "words"] {
        fixture.execute("DROP TABLE IF EXISTS workspaces").await?;
        fixture
            .execute(&format!(
                "CREATE TABLE workspaces (id text PRIMARY KEY, platform_inbound_secret {declared})"
            ))
            .await?;
        fixture.insert("w", Some("")).await?;
        let database = fixture.secrets().await?;
        assert_eq!(select(&*database, "w").await?, None, "{declared}");
        assert_eq!(issue(&*database, "w", IssueMode::Heal, "healed").await?, "healed", "{declared}");
        assert_eq!(select(&*database, "w").await?.as_deref(), Some("healed"), "{declared}");
    }
    for declared in ["bytea", "uuid", "json", "text[]", "bigint", "name"] {
        fixture.execute("DROP TABLE IF EXISTS workspaces").await?;
        fixture
            .execute(&format!(
                "CREATE TABLE workspaces (id text PRIMARY KEY, platform_inbound_secret {declared})"
            ))
            .await?;
        let Some(ConnectError::Schema(words)) = fixture.connect(column()).await.err() else {
            panic!("{declared} was accepted");
        };
        assert!(words.contains(&format!("has the type {declared}; expected text")), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn a_column_that_is_too_short_refuses_an_issue_without_quoting_it() -> Result<()> {
    let fixture = Engine::Postgres.empty().await?;
    fixture
        .execute("CREATE TABLE workspaces (id text PRIMARY KEY, platform_inbound_secret varchar(8))")
        .await?;
    fixture.insert("w", None).await?;
    let database = fixture.secrets().await?;
    let refused = issue(&*database, "w", IssueMode::Rotate, "longer-than-8").await;
    assert_refused(refused, "cannot hold the value (SQLSTATE 22001)", "longer-than-8");
    Ok(())
}

#[tokio::test]
async fn a_trigger_that_quotes_the_row_is_not_repeated() -> Result<()> {
    let fixture = Engine::Postgres.workspaces().await?;
    fixture.insert("w", None).await?;
    fixture
        .execute(
            "CREATE FUNCTION notice() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN RAISE EXCEPTION 'no: %', NEW.platform_inbound_secret USING DETAIL = NEW; END$$; \
             CREATE TRIGGER notice BEFORE UPDATE ON workspaces FOR EACH ROW EXECUTE FUNCTION notice()",
        )
        .await?;
    let database = fixture.secrets().await?;
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        assert_refused(issue(&*database, "w", mode, "minted").await, "SQLSTATE P0001", "minted");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_privilege_is_told_with_the_table() -> Result<()> {
    let fixture = workspaces().await?;
    let options = fixture.options().options([("role", "pg_read_all_data")]);
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    let database = Postgres::from_pool(pool, column()).await?;
    assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    let refused = issue(&database, "w", IssueMode::Rotate, "minted").await;
    assert_refused(refused, "permission denied for table workspaces (SQLSTATE 42501)", "minted");
    Ok(())
}

#[tokio::test]
async fn a_trigger_cannot_put_the_secret_into_an_error_under_any_code() -> Result<()> {
    let fixture = workspaces().await?;
    for code in ["P0001", "42501", "55000", "57014", "08006", "40003", "23514"] {
        let function = format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'refusing %', NEW.platform_inbound_secret USING ERRCODE = '{code}'; END $$"
        );
        sqlx::raw_sql(AssertSqlSafe(function)).execute(fixture.pool()).await?;
        let trigger = "CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON workspaces \
                       FOR EACH ROW EXECUTE FUNCTION refuse()";
        sqlx::raw_sql(trigger).execute(fixture.pool()).await?;
        let database = Postgres::connect(fixture.url(), column()).await?;
        let error = issue(&database, "w", IssueMode::Rotate, "minted").await.expect_err("it is refused");
        let output = format!("{error} {error:?}");
        assert!(output.contains(code) && !output.contains("minted"), "{output}");
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_that_the_server_ended_while_idle_costs_nobody_an_error() -> Result<()> {
    let fixture = workspaces().await?;
    let database = Postgres::connect(fixture.url(), column()).await?;
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'leasehold'";
    for _ in 0..3 {
        assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
        assert_eq!(sqlx::query(end).fetch_all(fixture.pool()).await?.len(), 1);
    }
    assert_eq!(issue(&database, "w", IssueMode::Rotate, "new").await?, "new");
    Ok(())
}

#[tokio::test]
async fn an_issue_whose_connection_ends_has_an_unknown_outcome_and_the_next_one_works() -> Result<()> {
    let fixture = workspaces().await?;
    let database: Arc<dyn Database> = Arc::new(Postgres::connect(fixture.url(), column()).await?);
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        let mut holder = fixture.pool().begin().await?;
        sqlx::raw_sql("SELECT 1 FROM workspaces FOR UPDATE").execute(&mut *holder).await?;
        let blocked = spawn_issue(&database, mode, "minted".to_owned());
        terminate_when_blocked(fixture.pool()).await?;
        let lost = blocked.await?;
        assert!(matches!(lost, Err(DatabaseError::Lost(_))), "{lost:?}");
        assert!(!format!("{lost:?}").contains("minted"));
        holder.rollback().await?;
        assert_eq!(issue(&*database, "w", IssueMode::Rotate, "new").await?, "new");
    }
    Ok(())
}

#[tokio::test]
async fn a_read_whose_connection_ends_is_unavailable() -> Result<()> {
    let fixture = workspaces().await?;
    // The pool is too small for a connection to be kept: a statement on a kept one is sent again over another
    // one after a moment.
    let options = fixture.options().application_name("leasehold");
    let small = PgPoolOptions::new().max_connections(2).connect_with(options).await?;
    let database = Postgres::from_pool(small, column()).await?;
    let mut holder = fixture.pool().begin().await?;
    sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    let reader = database.clone();
    let blocked = tokio::spawn(async move { select(&reader, "w").await });
    terminate_when_blocked(fixture.pool()).await?;
    assert_unavailable(blocked.await?, "57P01", "old");
    Ok(())
}

#[tokio::test]
async fn a_statement_that_the_server_cancels_is_a_late_read_or_an_issue_that_changed_nothing() -> Result<()> {
    let fixture = workspaces().await?;
    let separator = if fixture.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options=-c%20statement_timeout%3D50ms", fixture.url());
    let database = Postgres::connect(&url, column()).await?;
    let mut holder = fixture.pool().begin().await?;
    sqlx::raw_sql("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    assert_eq!(select(&database, "w").await, Err(DatabaseError::Timeout));
    for mode in [IssueMode::Rotate, IssueMode::Heal] {
        assert_unavailable(issue(&database, "w", mode, "minted").await, "57014", "minted");
    }
    holder.rollback().await?;
    assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    Ok(())
}

#[tokio::test]
async fn a_session_is_named_and_has_a_limit_for_its_statements() -> Result<()> {
    let fixture = workspaces().await?;
    let database = Postgres::connect(fixture.url(), column()).await?;
    let show = "SELECT current_setting('application_name'), current_setting('statement_timeout')";
    let settings: (String, String) = sqlx::query_as(show).fetch_one(database.pool()).await?;
    assert_eq!(settings, ("leasehold".to_owned(), "30s".to_owned()));
    Ok(())
}

#[tokio::test]
async fn without_a_free_connection_nothing_is_sent() -> Result<()> {
    let fixture = workspaces().await?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(2));
    let database = Postgres::from_pool(pool.connect_with(fixture.options()).await?, column()).await?;
    let held = database.pool().acquire().await?;
    let (issued, read) =
        tokio::join!(issue(&database, "w", IssueMode::Rotate, "minted"), select(&database, "w"));
    assert_unavailable(issued, "in time", "minted");
    assert_unavailable(read, "in time", "old");
    assert_eq!(database.statements(), 0);
    drop(held);
    assert_eq!(select(&database, "w").await?.as_deref(), Some("old"));
    Ok(())
}

#[tokio::test]
async fn no_way_to_the_server_is_told_without_the_password() -> Result<()> {
    let fixture = TestDatabase::create().await?;
    let options = fixture.options();
    let (user, server) = (options.get_username(), format!("{}:{}", options.get_host(), options.get_port()));
    // A port that was free a moment ago and that no other process is given meanwhile.
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for (url, words) in [
        (format!("postgres://{user}:hunter2@{server}/postgres"), "password authentication failed"),
        (format!("postgres://{user}:hunter2@{unused}/postgres"), "connection refused"),
        ("postgres://u:hunter2@unknown.invalid/d".to_owned(), "unknown.invalid:5432: the connection failed"),
    ] {
        let error = Postgres::connect(&url, column()).await.err().context("connected")?;
        let output = format!("{error} {error:?}");
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{output}");
        assert!(output.contains(words) && !output.contains("hunter2"), "{output}");
    }
    for url in
        ["postgres://u:hunter2@h:port/d", "postgres://u:hun#ter2@h/d", "postgres://u:hunter2@h/d?sslmode=no"]
    {
        let error = Postgres::connect(url, column()).await.err().context("connected")?;
        let output = format!("{error} {error:?}");
        assert!(matches!(error, ConnectError::Url { .. }), "{output}");
        assert!(!output.contains("hun"), "{output}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_database_is_named() -> Result<()> {
    let fixture = TestDatabase::create().await?;
    let url = fixture.url().replace("/test_", "/absent_");
    let error = Postgres::connect(&url, column()).await.err().context("connected")?;
    assert!(error.to_string().contains("does not exist (SQLSTATE 3D000)"), "{error}");
    Ok(())
}
