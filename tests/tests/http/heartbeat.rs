//! `POST /registry/heartbeat`: the answer to a workspace, and its cost to the database.

use std::thread;

use anyhow::Result;
use leasehold_tests::server::{ADMIN_TOKEN, Client, no_body};
use leasehold_tests::{Engine, Fixture};

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    a_heartbeat_whose_token_and_secret_are_cached_executes_no_statement,
    a_missing_secret_is_issued_once_and_delivered_again,
    sixteen_first_heartbeats_at_once_deliver_one_secret,
    a_rotated_secret_is_delivered_by_the_next_heartbeat,
    a_secret_written_by_other_hands_is_delivered_after_a_reset,
    a_deleted_workspace_is_locked_out_at_once,
    a_workspace_that_another_program_deleted_is_told_so_and_then_locked_out,
    a_token_opens_its_own_workspace_only,
}

/// Returns the sessions of the server and when each was last sent a statement, as PostgreSQL reports it. That
/// is up to date at every moment, unlike its counters, which sessions report once a second.
async fn last_statements(rows: &Fixture) -> Result<Option<String>> {
    let sql = "SELECT string_agg(pid || ' ' || query_start, ', ' ORDER BY pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'leasehold'";
    rows.text(sql).await
}

async fn a_heartbeat_whose_token_and_secret_are_cached_executes_no_statement(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let watched = engine == Engine::Postgres;
    let token = bench.server.create(W)?;
    let idle = if watched { last_statements(&bench.rows).await? } else { None };
    let (before, secret) = (bench.server.stat("statements")?, bench.server.delivered(W, &token)?);
    let first = bench.server.stat("statements")?;
    assert_eq!(first - before, 3, "it reads the token, reads the secret, and issues one");
    let busy = if watched { last_statements(&bench.rows).await? } else { None };
    assert!(
        !watched || (busy.is_some() && busy != idle),
        "the database saw the first heartbeat: {idle:?} {busy:?}"
    );
    for _ in 0..20 {
        assert_eq!(bench.server.delivered(W, &token)?, secret);
    }
    assert_eq!(bench.server.stat("statements")?, first);
    if watched {
        assert_eq!(last_statements(&bench.rows).await?, busy, "the database saw nothing of the other twenty");
    }
    // No statement that could be seen was needed: the table may as well be gone.
    bench.break_table().await?;
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    assert_eq!(bench.server.stat("statements")?, first);
    bench.server.admin("POST", "/admin/cache/reset", no_body())?.json(200)?;
    bench.server.heartbeat(W, &token)?.refusal(503, "unavailable")?;
    assert!(bench.server.stat("statements")? > first, "a heartbeat that is not cached asks");
    Ok(())
}

async fn a_missing_secret_is_issued_once_and_delivered_again(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    assert_eq!(bench.stored(W).await?, None);
    let first = bench.server.heartbeat(W, &token)?;
    let secret = first.text_of(200, "platform_inbound_secret")?;
    assert_eq!(first.text, format!(r#"{{"status":"ok","platform_inbound_secret":"{secret}"}}"#));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!((secret.len(), bench.stored(W).await?.as_deref()), (43, Some(secret.as_str())));
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    assert_eq!(bench.server.stat("issues")?, 1);
    Ok(())
}

async fn sixteen_first_heartbeats_at_once_deliver_one_secret(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    let client: &Client = &bench.server;
    let mut delivered = thread::scope(|scope| {
        let beats: Vec<_> = (0..16).map(|_| scope.spawn(|| client.delivered(W, &token))).collect();
        beats.into_iter().map(|beat| beat.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    delivered.dedup();
    assert_eq!(delivered.len(), 1);
    assert_eq!(bench.stored(W).await?, delivered.pop());
    // A heartbeat that comes while another one heals may have read that there is nothing, and heals in its
    // turn: it is given what is there by then. So there may be several heals, each after a SELECT of its own,
    // and never one for each heartbeat. races.rs tests how many heals there are for how many callers.
    let (selects, issues) = (bench.server.stat("selects")?, bench.server.stat("issues")?);
    assert!((1..=selects).contains(&issues) && selects < 16, "{issues} heals after {selects} SELECTs");
    Ok(())
}

async fn a_rotated_secret_is_delivered_by_the_next_heartbeat(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    let mut last = bench.server.delivered(W, &token)?;
    for _ in 0..3 {
        let rotated = bench.server.rotate(W)?;
        assert_ne!(rotated, last);
        assert_eq!(bench.server.delivered(W, &token)?, rotated);
        assert_eq!(bench.stored(W).await?.as_deref(), Some(rotated.as_str()));
        last = rotated;
    }
    Ok(())
}

async fn a_secret_written_by_other_hands_is_delivered_after_a_reset(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    let old = bench.server.delivered(W, &token)?;
    bench.store(W, "written-by-hand").await?;
    assert_eq!(bench.server.delivered(W, &token)?, old, "its lease has not run out");
    assert_eq!(bench.server.admin("POST", "/admin/cache/reset", no_body())?.text_of(200, "status")?, "ok");
    assert_eq!(bench.server.stat("entries")?, 0);
    assert_eq!(bench.server.delivered(W, &token)?, "written-by-hand");
    Ok(())
}

async fn a_deleted_workspace_is_locked_out_at_once(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    bench.server.delivered(W, &token)?;
    assert_eq!(bench.server.stat("entries")?, 1);
    let deleted = bench.server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    assert_eq!(bench.server.stat("entries")?, 0);
    bench.server.heartbeat(W, &token)?.refusal(401, "unauthorized")?;
    // A namesake is another workspace.
    let successor = bench.server.create(W)?;
    bench.server.heartbeat(W, &token)?.refusal(401, "unauthorized")?;
    bench.server.delivered(W, &successor)?;
    Ok(())
}

async fn a_workspace_that_another_program_deleted_is_told_so_and_then_locked_out(
    engine: Engine,
) -> Result<()> {
    let bench = TestBed::with(engine, &["--setting", "ttl=0s"]).await?;
    let token = bench.server.create(W)?;
    bench.server.delivered(W, &token)?;
    bench.rows.execute("DELETE FROM workspaces").await?;
    let delivered = bench.server.heartbeat(W, &token)?;
    assert_eq!(
        (delivered.status, delivered.text.as_str()),
        (200, r#"{"secret_error":"unknown_workspace","status":"ok"}"#)
    );
    bench.server.heartbeat(W, &token)?.refusal(401, "unauthorized")?;
    Ok(())
}

async fn a_token_opens_its_own_workspace_only(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let (one, other) = (bench.server.create("one")?, bench.server.create("other")?);
    assert_ne!(bench.server.delivered("one", &one)?, bench.server.delivered("other", &other)?);
    for (id, token) in [("one", other.as_str()), ("other", &one), ("one", ADMIN_TOKEN)] {
        bench.server.heartbeat(id, token)?.refusal(401, "unauthorized")?;
    }
    // A workspace's token is not the operator's either.
    bench.server.client(&one).admin("GET", "/admin/stats", no_body())?.refusal(401, "unauthorized")?;
    Ok(())
}
