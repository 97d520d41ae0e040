//! Failures of the database: what is cached is delivered, the error otherwise depends on the kind of client,
//! and nothing has to be restarted once the database is back.

use anyhow::{Context as _, Result, bail};
use leasehold_tests::server::{Answer, no_body};
use leasehold_tests::{Engine, Fixture};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    a_heartbeat_is_answered_as_far_as_its_caches_reach,
    a_change_that_the_database_refuses_is_an_error_and_the_next_one_works,
    a_token_outlasts_a_database_that_is_down_for_as_long_as_the_operator_says,
    what_the_database_refuses_again_and_again_is_told_once_with_its_reason,
}

/// Stops serving secrets without asking; the tokens' cache is not touched.
fn forget_secrets(bench: &TestBed) -> Result<Answer> {
    bench.server.admin("PUT", "/admin/policy?setting.ttl=0s", no_body())
}

fn assert_secretless(answer: &Answer) -> Result<()> {
    assert_eq!(answer.json(200)?, json!({ "status": "ok", "secret_error": "unavailable" }));
    Ok(())
}

async fn a_heartbeat_is_answered_as_far_as_its_caches_reach(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let (token, newcomer) = (bench.server.create(W)?, bench.server.create("newcomer")?);
    let secret = bench.server.delivered(W, &token)?;
    bench.break_table().await?;
    assert_eq!(bench.server.delivered(W, &token)?, secret, "both are cached");
    let unknown = bench.server.heartbeat("newcomer", &newcomer)?.refusal(503, "unavailable")?;
    assert!(!unknown.to_string().contains("workspaces"), "a stranger learns nothing of the table: {unknown}");
    forget_secrets(&bench)?.json(200)?;
    assert_secretless(&bench.server.heartbeat(W, &token)?)?;
    bench
        .server
        .admin("GET", &format!("/workspaces/{W}/secret"), no_body())?
        .refusal(503, "database_refused")?;
    bench.mend_table().await?;
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    bench.server.delivered("newcomer", &newcomer)?;
    Ok(())
}

async fn a_change_that_the_database_refuses_is_an_error_and_the_next_one_works(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    let secret = bench.server.delivered(W, &token)?;
    bench.break_table().await?;
    bench.server.admin("POST", "/workspaces", no_body())?.refusal(503, "unavailable")?;
    bench
        .server
        .admin("POST", &format!("/workspaces/{W}/secret"), no_body())?
        .refusal(503, "database_refused")?;
    assert_eq!(
        bench.server.delivered(W, &token)?,
        secret,
        "a rotation that changed nothing takes nothing away"
    );
    bench.server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?.refusal(503, "unavailable")?;
    bench.mend_table().await?;
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    assert_ne!(bench.server.rotate(W)?, secret);
    Ok(())
}

async fn a_token_outlasts_a_database_that_is_down_for_as_long_as_the_operator_says(
    engine: Engine,
) -> Result<()> {
    // Every heartbeat asks the database, for the token as for the secret.
    let always = ["--policy", "resilient", "--setting", "ttl=0s", "--token-setting", "ttl=0s"];
    for (bound, outlasts) in [("stale=20m", true), ("stale=0s", false)] {
        let bench = TestBed::with(engine, &[&always[..], &["--token-setting", bound]].concat()).await?;
        let token = bench.server.create(W)?;
        let secret = bench.server.delivered(W, &token)?;
        database(&bench, false).await?;
        let beat = bench.server.heartbeat(W, &token)?;
        match outlasts {
            true => assert_eq!(beat.text_of(200, "platform_inbound_secret")?, secret),
            false => drop(beat.refusal(503, "unavailable")?),
        }
        // Only the database knows whether it is a token.
        bench.server.heartbeat(W, "another-token")?.refusal(503, "unavailable")?;
        database(&bench, true).await?;
        assert_eq!(bench.server.delivered(W, &token)?, secret);
        let shown = bench.server.admin("GET", "/admin/policy", no_body())?.json(200)?;
        assert_eq!((&shown["tokens"]["name"], &shown["name"]), (&json!("resilient"), &json!("resilient")));
        assert_eq!(shown["tokens"]["settings"]["stale"], bound.trim_start_matches("stale="), "{shown}");
    }
    Ok(())
}

async fn what_the_database_refuses_again_and_again_is_told_once_with_its_reason(
    engine: Engine,
) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    forget_secrets(&bench)?.json(200)?;
    bench.server.delivered(W, &token)?;
    bench.break_table().await?;
    for _ in 0..50 {
        assert_secretless(&bench.server.heartbeat(W, &token)?)?;
    }
    let log = bench.server.log()?;
    let told: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    let reason = match engine {
        Engine::Postgres => "relation \"workspaces\" does not exist",
        Engine::Sqlite => "the table may have changed (SQLite code 1)",
    };
    assert!(told.len() == 1 && told[0].contains("the database refuses statements"), "{told:#?}");
    assert!(told[0].replace("\\\"", "\"").contains(reason), "{told:#?}");
    Ok(())
}

/// Takes the database away, or brings it back: a server accepts no connection, a file has no table.
async fn database(bench: &TestBed, there: bool) -> Result<()> {
    match (&bench.rows, there) {
        (Fixture::Postgres(_), there) => let_in(&bench.rows, there).await,
        (Fixture::Sqlite(_), false) => bench.break_table().await,
        (Fixture::Sqlite(_), true) => bench.mend_table().await,
    }
}

/// Ends every session of the database and accepts no new one, or accepts them again. The command goes over
/// another database.
async fn let_in(rows: &Fixture, allowed: bool) -> Result<()> {
    let Fixture::Postgres(database) = rows else { bail!("SQLite has no sessions") };
    let options = database.options();
    let name = options.get_database().context("the database has no name")?;
    let sql = format!(
        "BEGIN; UPDATE pg_database SET datallowconn = {allowed} WHERE datname = '{name}'; COMMIT; \
         SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    let mut outside = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut outside).await?;
    outside.close().await?;
    Ok(())
}

#[tokio::test]
async fn an_unreachable_database_is_not_ready_and_the_process_lives_on() -> Result<()> {
    let bench = TestBed::new(Engine::Postgres).await?;
    let (token, newcomer) = (bench.server.create(W)?, bench.server.create("newcomer")?);
    let secret = bench.server.delivered(W, &token)?;
    assert_eq!(bench.server.get("/readyz")?.status, 200);
    let_in(&bench.rows, false).await?;
    let unready = bench.server.get("/readyz")?.refusal(503, "unavailable")?;
    assert_eq!(unready["message"], "the database does not answer");
    assert_eq!(bench.server.get("/healthz")?.status, 200);
    assert_eq!(bench.server.delivered(W, &token)?, secret, "both are cached");
    assert_eq!(bench.server.heartbeat("newcomer", &newcomer)?.status, 503);
    forget_secrets(&bench)?.json(200)?;
    assert_secretless(&bench.server.heartbeat(W, &token)?)?;
    let_in(&bench.rows, true).await?;
    assert_eq!(bench.server.get("/readyz")?.status, 200);
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    bench.server.delivered("newcomer", &newcomer)?;
    Ok(())
}
