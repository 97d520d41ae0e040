//! The operator's requests about workspaces and secrets, the numbers, and the probes: statuses and shapes.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use leasehold_tests::Engine;
use leasehold_tests::server::no_body;
use serde_json::json;

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    a_workspace_is_created_once,
    a_workspace_without_an_id_gets_one,
    a_workspace_is_deleted_once,
    a_secret_is_read_from_the_database_and_then_from_the_cache,
    reading_never_issues_a_secret,
    rotating_needs_a_workspace,
    an_id_may_hold_anything_that_is_printable,
    the_numbers_tell_what_was_done,
    the_metrics_are_the_numbers_in_the_format_of_prometheus,
    the_probes_are_answered_to_anyone,
}

async fn a_workspace_is_created_once(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let body = || json!({ "id": W }).to_string().into_bytes();
    let created = bench.server.admin("POST", "/workspaces", body())?;
    let token = created.text_of(201, "auth_token")?;
    assert_eq!(created.json(201)?, json!({ "id": W, "auth_token": token }));
    assert_eq!((token.len(), created.header("cache-control")), (43, Some("no-store")));
    let stored = bench.rows.text("SELECT token_hash FROM workspace_tokens").await?.context("no row")?;
    assert!(stored.len() == 64 && !stored.contains(&token), "the token itself is stored");
    let again = bench.server.admin("POST", "/workspaces", body())?.refusal(409, "workspace_exists")?;
    assert!(again["message"].to_string().contains(W), "{again}");
    bench.server.delivered(W, &token)?;
    Ok(())
}

async fn a_workspace_without_an_id_gets_one(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let mut ids = HashSet::new();
    for body in ["", "{}", " \n", r#"{"id":null}"#] {
        let created = bench.server.admin("POST", "/workspaces", body.into())?;
        let id = created.text_of(201, "id")?;
        bench.server.delivered(&id, &created.text_of(201, "auth_token")?)?;
        assert!(id.len() == 36 && ids.insert(id.clone()), "{id}");
    }
    Ok(())
}

async fn a_workspace_is_deleted_once(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    let path = format!("/workspaces/{W}");
    assert_eq!(bench.server.admin("DELETE", &path, no_body())?.status, 204);
    assert_eq!(bench.rows.text("SELECT id FROM workspaces").await?, None);
    bench.server.admin("DELETE", &path, no_body())?.refusal(404, "unknown_workspace")?;
    Ok(())
}

async fn a_secret_is_read_from_the_database_and_then_from_the_cache(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    bench.store(W, "stored").await?;
    assert_eq!(bench.server.secret(W)?, ("stored".into(), "miss".into()));
    assert_eq!(bench.server.secret(W)?, ("stored".into(), "hit".into()));
    let rotated = bench.server.rotate(W)?;
    assert_eq!(bench.server.secret(W)?, (rotated, "hit".into()));
    let answer = bench.server.admin("GET", &format!("/workspaces/{W}/secret"), no_body())?;
    assert_eq!(answer.json(200)?.as_object().map(|fields| fields.len()), Some(2));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    Ok(())
}

async fn reading_never_issues_a_secret(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    for id in [W, W, "unheard-of"] {
        let absent = bench.server.admin("GET", &format!("/workspaces/{id}/secret"), no_body())?;
        absent.refusal(404, "no_inbound_secret")?;
    }
    assert_eq!(bench.stored(W).await?, None);
    assert_eq!(bench.server.stat("entries")?, 0, "absence is not stored");
    Ok(())
}

async fn rotating_needs_a_workspace(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let answer = bench.server.admin("POST", &format!("/workspaces/{W}/secret"), no_body())?;
    answer.refusal(404, "unknown_workspace")?;
    assert_eq!(bench.rows.text("SELECT id FROM workspaces").await?, None);
    assert_eq!(bench.server.stat("entries")?, 0, "a secret that no database holds is cached");
    Ok(())
}

async fn an_id_may_hold_anything_that_is_printable(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let long = "x".repeat(256);
    let ids = [
        ("a b/c?d#e", "a%20b%2Fc%3Fd%23e"),
        ("100%", "100%25"),
        ("Zürich", "Z%C3%BCrich"),
        ("' OR '1'='1", "'%20OR%20'1'='1"),
        ("..", "%2E%2E"),
        (&long, &long),
    ];
    let mut secrets = HashSet::new();
    for (id, in_path) in ids {
        let token = bench.server.create(id)?;
        let secret = bench.server.delivered(id, &token)?;
        assert_eq!(bench.server.secret(in_path)?, (secret.clone(), "hit".into()), "{id}");
        assert!(secrets.insert(secret), "{id} has another one's secret");
    }
    for (id, in_path) in ids {
        assert_eq!(
            bench.server.admin("DELETE", &format!("/workspaces/{in_path}"), no_body())?.status,
            204,
            "{id}"
        );
    }
    Ok(())
}

async fn the_numbers_tell_what_was_done(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    bench.store(W, "stored").await?;
    for _ in 0..3 {
        bench.server.secret(W)?;
    }
    bench.server.rotate(W)?;
    let numbers = bench.server.admin("GET", "/admin/stats", no_body())?.json(200)?;
    let fields = numbers.as_object().context("not an object")?;
    assert!(fields.values().all(|number| number.is_u64()), "{numbers}");
    let expected = [
        ("misses", 1),
        ("hits", 2),
        ("selects", 1),
        ("issues", 1),
        ("statements", 2),
        ("entries", 1),
        ("policy_calls", 2),
        ("policy_faults", 0),
        ("stale", 0),
        ("joined", 0),
        ("errors", 0),
    ];
    for (name, number) in expected {
        assert_eq!(fields.get(name), Some(&json!(number)), "{name} in {numbers}");
    }
    Ok(())
}

async fn the_metrics_are_the_numbers_in_the_format_of_prometheus(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    for _ in 0..3 {
        bench.server.delivered(W, &token)?;
    }
    let numbers = bench.server.admin("GET", "/admin/stats", no_body())?.json(200)?;
    let accept = [("accept", "application/openmetrics-text")];
    let page = bench.server.send_with(&accept, "GET", "/metrics", None, no_body())?;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    assert!(page.text.ends_with("# EOF\n"), "{}", page.text);
    let mut described = HashSet::new();
    for line in page.text.lines() {
        if let Some(family) = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
            described.insert(family.split(' ').next().context("no name")?);
        } else if line != "# EOF" {
            let (series, number) = line.rsplit_once(' ').context("no value")?;
            number.parse::<f64>().with_context(|| line.to_owned())?;
            let name = series.split('{').next().context("no name")?;
            let suffixes = ["_total", "_info", "_bucket", "_sum", "_count"];
            let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            assert!(described.contains(family), "{line}");
        }
    }
    for (name, number) in numbers.as_object().context("not an object")? {
        // There are two caches on the page, and `statements` of the numbers is the sum of both.
        let suffix = if matches!(name.as_str(), "entries" | "held" | "in_flight") { "" } else { "_total" };
        let line = format!("leasehold_{name}{suffix}{{cache=\"secrets\"}} {number}\n");
        assert!(name == "statements" || page.text.contains(&line), "no {line} in {}", page.text);
    }
    assert!(page.text.contains("leasehold_hits_total{cache=\"tokens\"} 2\n"), "{}", page.text);
    assert!(page.text.contains("leasehold_policy_info{name=\"ttl\""), "{}", page.text);
    Ok(())
}

async fn the_probes_are_answered_to_anyone(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(bench.server.get(path)?.json(200)?, json!({ "status": "ok" }), "{path}");
    }
    Ok(())
}
