//! The tokens of a workspace: several at a time, made, listed, rotated with an overlap, and revoked.

mod rotations;

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{Answer, Launch, Server, no_body};
use leasehold_tests::{Engine, MAX_WAIT};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    a_token_is_made_and_listed_without_itself_and_revoked,
    a_rotation_lets_both_in_until_the_overlap_ends_and_that_takes_no_statement,
    a_rotation_without_an_overlap_ends_the_others_at_once,
    a_token_that_ends_is_swept_when_another_one_is_made,
    a_token_of_one_workspace_opens_and_revokes_nothing_of_another_one,
    no_more_live_tokens_than_a_workspace_may_have,
    a_request_that_cannot_be_meant_makes_no_token,
    the_last_use_is_written_down_late_and_only_if_asked_for,
    a_workspace_that_goes_takes_its_tokens_along,
    a_hash_in_upper_case_is_refused_by_the_table_in_words,
}

fn tokens(server: &Server, id: &str) -> Result<Vec<Value>> {
    let listed = server.admin("GET", &format!("/workspaces/{id}/tokens"), no_body())?.json(200)?;
    Ok(listed["tokens"].as_array().context("no list")?.clone())
}

fn add(server: &Server, id: &str, body: &Value) -> Result<Answer> {
    server.admin("POST", &format!("/workspaces/{id}/tokens"), body.to_string().into())
}

fn rotate(server: &Server, id: &str, overlap: &str) -> Result<Answer> {
    let body = json!({ "overlap": overlap }).to_string();
    server.admin("POST", &format!("/workspaces/{id}/tokens/rotate"), body.into())
}

fn revoke(server: &Server, id: &str, token_id: &str) -> Result<Answer> {
    server.admin("DELETE", &format!("/workspaces/{id}/tokens/{token_id}"), no_body())
}

async fn a_token_is_made_and_listed_without_itself_and_revoked(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let first = bench.server.create(W)?;
    let made = add(&bench.server, W, &json!({ "expires_in": "30d" }))?;
    let second = made.text_of(201, "auth_token")?;
    assert_eq!((second.len(), made.header("cache-control")), (43, Some("no-store")));
    let id = made.text_of(201, "id")?;
    assert_eq!((id.len(), made.text_of(201, "prefix")?), (12, second[..6].to_owned()));
    let listed = tokens(&bench.server, W)?;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let of = |token: &str| listed.iter().find(|shown| shown["prefix"] == token[..6]).context("not listed");
    let (shown, other) = (of(&second)?, of(&first)?);
    assert_eq!(
        (shown["id"].as_str(), shown["expires_at"].as_str()),
        (Some(&*id), made.json(201)?["expires_at"].as_str())
    );
    assert_eq!((&shown["last_used_at"], &other["expires_at"]), (&Value::Null, &Value::Null));
    assert_eq!(shown["created_at"], made.text_of(201, "created_at")?);
    let hashes = bench.rows.text("SELECT min(token_hash) || max(token_hash) FROM workspace_tokens").await?;
    let (hashes, text) = (hashes.context("no rows")?, format!("{listed:?}{}", made.text));
    for part in hashes.as_bytes().chunks(8).map(String::from_utf8_lossy) {
        assert!(!text.contains(&*part), "a part of a hash is shown: {text}");
    }
    assert_eq!(bench.server.delivered(W, &first)?, bench.server.delivered(W, &second)?);
    assert_eq!(revoke(&bench.server, W, &id)?.status, 204);
    bench.server.heartbeat(W, &second)?.refusal(401, "unauthorized")?;
    bench.server.delivered(W, &first)?;
    revoke(&bench.server, W, &id)?.refusal(404, "unknown_token")?;
    assert_eq!(tokens(&bench.server, W)?.len(), 1);
    Ok(())
}

async fn a_rotation_lets_both_in_until_the_overlap_ends_and_that_takes_no_statement(
    engine: Engine,
) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let old = bench.server.create(W)?;
    bench.server.delivered(W, &old)?;
    // Longer than a machine is busy for, between the two lines below.
    let rotated = rotate(&bench.server, W, "4s")?;
    let new = rotated.text_of(201, "auth_token")?;
    assert_eq!(rotated.header("cache-control"), Some("no-store"));
    assert_eq!(bench.server.delivered(W, &old)?, bench.server.delivered(W, &new)?);
    let statements = bench.server.stat("statements")?;
    let began = Instant::now();
    while bench.server.heartbeat(W, &old)?.status == 200 {
        ensure!(began.elapsed() < MAX_WAIT, "the overlap does not end");
    }
    bench.server.heartbeat(W, &old)?.refusal(401, "unauthorized")?;
    bench.server.delivered(W, &new)?;
    assert_eq!(bench.server.stat("statements")?, statements);
    Ok(())
}

async fn a_rotation_without_an_overlap_ends_the_others_at_once(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let mut before = vec![bench.server.create(W)?];
    before.push(add(&bench.server, W, &json!({}))?.text_of(201, "auth_token")?);
    for token in &before {
        bench.server.delivered(W, token)?;
    }
    let new = rotate(&bench.server, W, "0s")?.text_of(201, "auth_token")?;
    for token in &before {
        bench.server.heartbeat(W, token)?.refusal(401, "unauthorized")?;
    }
    bench.server.delivered(W, &new)?;
    let default = bench.server.admin("POST", &format!("/workspaces/{W}/tokens/rotate"), no_body())?;
    bench.server.delivered(W, &default.text_of(201, "auth_token")?)?;
    bench.server.delivered(W, &new)?;
    let listed = tokens(&bench.server, W)?;
    let ends: Vec<_> = listed.iter().filter_map(|token| token["expires_at"].as_str()).collect();
    assert_eq!(ends.len(), 1, "the one that was just replaced ends in an hour: {listed:?}");
    // A later rotation with a longer overlap makes no end later.
    rotate(&bench.server, W, "2h")?.text_of(201, "auth_token")?;
    assert!(tokens(&bench.server, W)?.iter().any(|token| token["expires_at"] == ends[0]));
    Ok(())
}

async fn a_token_that_ends_is_swept_when_another_one_is_made(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    rotate(&bench.server, W, "0s")?.json(201)?;
    assert_eq!(tokens(&bench.server, W)?.len(), 2, "it is still told of");
    add(&bench.server, W, &json!({}))?.json(201)?;
    assert_eq!(tokens(&bench.server, W)?.len(), 2, "the one that had ended is gone");
    Ok(())
}

async fn a_token_of_one_workspace_opens_and_revokes_nothing_of_another_one(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let (_, other) = (bench.server.create("one")?, bench.server.create("other")?);
    let made = add(&bench.server, "one", &json!({}))?;
    let (id, token) = (made.text_of(201, "id")?, made.text_of(201, "auth_token")?);
    // Both before and after it is cached.
    for _ in 0..2 {
        bench.server.heartbeat("other", &token)?.refusal(401, "unauthorized")?;
        bench.server.heartbeat("one", &other)?.refusal(401, "unauthorized")?;
        bench.server.delivered("one", &token)?;
        bench.server.delivered("other", &other)?;
    }
    revoke(&bench.server, "other", &id)?.refusal(404, "unknown_token")?;
    rotate(&bench.server, "other", "0s")?.json(201)?;
    bench.server.delivered("one", &token)?;
    for (method, path) in [("GET", ""), ("POST", ""), ("POST", "/rotate"), ("DELETE", "/x")] {
        let path = format!("/workspaces/unheard-of/tokens{path}");
        bench.server.admin(method, &path, no_body())?.refusal(404, "unknown_workspace")?;
    }
    Ok(())
}

async fn no_more_live_tokens_than_a_workspace_may_have(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let first = bench.server.create(W)?;
    let mut ids = HashSet::new();
    for _ in 1..64 {
        ids.insert(add(&bench.server, W, &json!({}))?.text_of(201, "id")?);
    }
    assert_eq!(ids.len(), 63);
    for refused in [add(&bench.server, W, &json!({}))?, rotate(&bench.server, W, "1h")?] {
        let refused = refused.refusal(409, "too_many_tokens")?;
        assert!(refused["message"].to_string().contains("64 live tokens"), "{refused}");
    }
    let listed = tokens(&bench.server, W)?;
    assert!(listed.len() == 64 && listed.iter().all(|token| token["expires_at"].is_null()), "{listed:?}");
    bench.server.delivered(W, &first)?;
    let only = rotate(&bench.server, W, "0s")?.text_of(201, "auth_token")?;
    bench.server.heartbeat(W, &first)?.refusal(401, "unauthorized")?;
    bench.server.delivered(W, &only)?;
    Ok(())
}

async fn a_request_that_cannot_be_meant_makes_no_token(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    for (path, body, code) in [
        ("", r#"{"expires_in":"soon"}"#, "invalid_duration"),
        ("", r#"{"expires_in":"0s"}"#, "invalid_duration"),
        ("", r#"{"expires_in":"11years"}"#, "invalid_duration"),
        ("", r#"{"expires":"1h"}"#, "invalid_body"),
        ("", r#"{"expires_in":3600}"#, "invalid_body"),
        ("", "{", "malformed_json"),
        ("/rotate", r#"{"overlap":"-1s"}"#, "invalid_duration"),
        ("/rotate", r#"{"expires_in":"1h"}"#, "invalid_body"),
    ] {
        let path = format!("/workspaces/{W}/tokens{path}");
        bench.server.admin("POST", &path, body.into())?.refusal(400, code).context(body)?;
    }
    assert_eq!(tokens(&bench.server, W)?.len(), 1);
    Ok(())
}

async fn the_last_use_is_written_down_late_and_only_if_asked_for(engine: Engine) -> Result<()> {
    let rows = engine.empty().await?;
    for (span, is_written) in [("0s", false), ("1h", true)] {
        let launch = Launch::new(rows.url())?.arguments(["--token-last-used", span]);
        let server = launch.server()?;
        let used = server.create(span)?;
        add(&server, span, &json!({}))?.json(201)?;
        for _ in 0..3 {
            server.delivered(span, &used)?;
        }
        assert!(tokens(&server, span)?.iter().all(|token| token["last_used_at"].is_null()), "not at once");
        // What was noted is written down before the end.
        server.stop()?;
        let server = launch.server()?;
        for token in tokens(&server, span)? {
            let is_used = is_written && token["prefix"] == used[..6];
            assert_eq!(token["last_used_at"].is_string(), is_used, "{span}: {token}");
        }
    }
    let server = Launch::new(rows.url())?.arguments(["--token-last-used", "50ms"]).server()?;
    let used = server.create(W)?;
    server.delivered(W, &used)?;
    let began = Instant::now();
    while tokens(&server, W)?[0]["last_used_at"].is_null() {
        ensure!(began.elapsed() < MAX_WAIT, "it is not written down while the server runs");
    }
    Ok(())
}

async fn a_workspace_that_goes_takes_its_tokens_along(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let first = bench.server.create(W)?;
    let second = add(&bench.server, W, &json!({}))?.text_of(201, "auth_token")?;
    for token in [&first, &second] {
        bench.server.delivered(W, token)?;
    }
    assert_eq!(bench.server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?.status, 204);
    bench.server.create(W)?;
    for token in [&first, &second] {
        bench.server.heartbeat(W, token)?.refusal(401, "unauthorized")?;
    }
    let count = "SELECT CAST(count(*) AS text) FROM workspace_tokens";
    assert_eq!(bench.rows.text(count).await?.as_deref(), Some("1"));
    // A program that knows nothing of the tokens leaves none either.
    bench.rows.execute("DELETE FROM workspaces").await?;
    assert_eq!(bench.rows.text(count).await?.as_deref(), Some("0"));
    if engine == Engine::Sqlite {
        // SQLite's own shell does not mind foreign keys: what it leaves opens no namesake.
        let left = bench.server.create(W)?;
        bench.rows.execute("PRAGMA foreign_keys = OFF; DELETE FROM workspaces").await?;
        bench.server.create(W)?;
        bench.server.heartbeat(W, &left)?.refusal(401, "unauthorized")?;
    }
    Ok(())
}

/// Case 28: a hash that no token can match is not stored without a word.
async fn a_hash_in_upper_case_is_refused_by_the_table_in_words(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    for hash in ["AB".repeat(32), "ab".repeat(31), "xy".repeat(32)] {
        let sql = format!("INSERT INTO workspace_tokens (workspace_id, token_hash) VALUES ('{W}', '{hash}')");
        let refused = bench.rows.execute(&sql).await.expect_err("it was stored");
        assert!(
            format!("{refused:#}").contains("token_hash_is_sha256_in_lower_case_hexadecimal"),
            "{refused:#}"
        );
    }
    let sql = format!(
        "INSERT INTO workspace_tokens (workspace_id, token_hash) VALUES ('{W}', \
         'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')"
    );
    bench.rows.execute(&sql).await?;
    bench.server.delivered(W, "abc")?;
    Ok(())
}
