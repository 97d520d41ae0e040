//! `/admin/policy`: what is shown, what a swap changes and when, the rollback, and what is refused.

use anyhow::{Context as _, Result};
use leasehold_tests::Engine;
use leasehold_tests::hostile::COMPONENT as HOSTILE;
use leasehold_tests::server::{Server, no_body};
use serde_json::{Value, json};

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    new_settings_are_in_force_for_the_next_read,
    a_swap_keeps_what_is_young_enough_without_a_statement,
    a_policy_that_keeps_failing_is_replaced_and_the_operator_is_told,
}

fn put(server: &Server, query: &str, component: &[u8]) -> Result<Value> {
    server.admin("PUT", &format!("/admin/policy{query}"), component.to_vec())?.json(200)
}

fn shown(server: &Server) -> Result<Value> {
    server.admin("GET", "/admin/policy", no_body())?.json(200)
}

async fn new_settings_are_in_force_for_the_next_read(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    bench.store(W, "stored").await?;
    // The swap is made once with no body, which keeps the component, and once with the same component as the
    // body.
    for (round, component) in [&[][..], leasehold_policies::TTL].into_iter().enumerate() {
        bench.server.secret(W)?;
        assert_eq!(bench.server.secret(W)?.1, "hit");
        let report = put(&bench.server, "?setting.ttl=0s", component)?;
        assert_eq!(report["settings"]["ttl"], "0s", "{report}");
        for written in ["one", "two", "three"] {
            let written = format!("{written}-{round}");
            bench.store(W, &written).await?;
            assert_eq!(bench.server.secret(W)?, (written, "miss".into()));
        }
        let report = put(&bench.server, "?setting.ttl=10s&setting.jitter=0s", component)?;
        assert_eq!(report["settings"], json!({ "ttl": "10s", "jitter": "0s" }));
        put(&bench.server, "?setting.ttl=5m", component)?;
        bench.server.secret(W)?;
        assert_eq!(bench.server.secret(W)?.1, "hit");
    }
    Ok(())
}

async fn a_swap_keeps_what_is_young_enough_without_a_statement(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let token = bench.server.create(W)?;
    let secret = bench.server.delivered(W, &token)?;
    let before = bench.server.stat("statements")?;
    let report = put(&bench.server, "?setting.ttl=10m", &[])?;
    assert_eq!(report["entries"], 1);
    assert_eq!(bench.server.secret(W)?, (secret.clone(), "renewed".into()));
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    assert_eq!(bench.server.stat("statements")?, before);
    Ok(())
}

#[tokio::test]
async fn the_active_policy_is_shown_with_its_history() -> Result<()> {
    let bench = TestBed::with(Engine::Sqlite, &["--setting", "ttl=90s"]).await?;
    let policy = shown(&bench.server)?;
    assert_eq!((&policy["generation"], &policy["name"]), (&json!(1), &json!("ttl")));
    assert_eq!(policy["settings"], json!({ "ttl": "90s", "jitter": "80%" }));
    assert_eq!((&policy["last_good"], &policy["faults"]), (&Value::Null, &json!(0)));
    assert_eq!(policy["digest"].as_str().map(str::len), Some(64));
    for text in ["version", "summary", "since"] {
        assert!(policy[text].as_str().is_some_and(|text| !text.is_empty()), "{text} in {policy}");
    }
    let fresh_s = |which: &str| policy["card"]["fresh_s"][which].as_f64().unwrap_or_default();
    assert!(fresh_s("min") >= 18.0 && (85.0..=90.0).contains(&fresh_s("max")), "{policy}");
    put(&bench.server, "?setting.ttl=30s", &[])?;
    bench.server.admin("PUT", "/admin/policy", b"text".to_vec())?.refusal(422, "policy_refused")?;
    let policy = shown(&bench.server)?;
    assert_eq!((&policy["generation"], &policy["last_good"]["generation"]), (&json!(2), &json!(1)));
    let recent = policy["recent"].as_array().context("no list")?;
    assert_eq!(recent.len(), 3);
    assert_eq!(recent[0]["refused"]["stage"], "inspect", "the newest is first: {policy}");
    assert_eq!((&recent[1]["generation"], &recent[2]["generation"]), (&json!(2), &json!(1)));
    Ok(())
}

#[tokio::test]
async fn a_swap_reports_what_it_did_and_keeps_the_settings_that_it_was_not_given() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    put(&bench.server, "?setting.ttl=30s", &[])?;
    let report = put(&bench.server, "?setting.jitter=5s", &[])?;
    assert_eq!((&report["generation"], &report["replaced"]), (&json!(3), &json!(2)));
    assert_eq!(
        report["settings"],
        json!({ "ttl": "30s", "jitter": "5s" }),
        "no body: the active one with these"
    );
    assert_eq!(report["digest"], shown(&bench.server)?["digest"]);
    assert_eq!(report["card"]["settings"], report["settings"]);
    assert!(report["card"]["stale_s"].as_f64().is_some_and(|age| (25.0..=30.0).contains(&age)), "{report}");
    assert_eq!(report["card"], shown(&bench.server)?["card"]);
    let stages = report["stages"].as_array().context("no stages")?;
    assert!(stages.iter().all(|stage| stage["stage"].is_string() && stage["micros"].is_u64()), "{report}");
    assert!(!stages.is_empty());
    let report = put(&bench.server, "", leasehold_policies::TTL)?;
    assert_eq!(
        report["settings"],
        json!({ "ttl": "5m", "jitter": "80%" }),
        "a body begins with its own defaults"
    );
    Ok(())
}

#[tokio::test]
async fn a_rollback_goes_back_one_policy_at_a_time() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    for ttl in ["1m", "2m"] {
        put(&bench.server, &format!("?setting.ttl={ttl}"), &[])?;
    }
    for (generation, ttl) in [(4, "1m"), (5, "5m")] {
        let report = bench.server.admin("POST", "/admin/policy/rollback", no_body())?.json(200)?;
        assert_eq!((&report["generation"], &report["settings"]["ttl"]), (&json!(generation), &json!(ttl)));
        assert_eq!(shown(&bench.server)?["settings"]["ttl"], ttl);
    }
    let refused = bench.server.admin("POST", "/admin/policy/rollback", no_body())?;
    assert_eq!(refused.refusal(422, "policy_refused")?["stage"], "rollback");
    assert_eq!(bench.server.generation()?, 5);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_refused_with_the_stage_and_the_reason() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    let secret = bench.server.delivered(W, &token)?;
    let import = r#"(component (import "wasi:filesystem/types@0.2.6" (instance)))"#;
    let ttl = leasehold_policies::TTL;
    let cases = [
        ("", b"ttl=30s".to_vec(), "inspect", "does not begin like a WebAssembly component"),
        ("", b"\0asm\x01\0\0\0".to_vec(), "inspect", "core WebAssembly module"),
        ("", ttl[..ttl.len() / 2].to_vec(), "inspect", "not a valid component"),
        ("", ttl[..8].to_vec(), "world", "leasehold:policy/policy"),
        ("", wat::parse_str(import)?, "world", "wasi:filesystem/types@0.2.6"),
        ("", wat::parse_str("(component)")?, "world", "leasehold:policy/control"),
        ("?setting.tll=30s", ttl.to_vec(), "configure", "tll"),
        ("?setting.tll=30s", no_body(), "configure", "tll"),
        ("?setting.ttl=soon", no_body(), "configure", "expected a duration such as"),
        ("?setting.ttl=1s&setting.jitter=2s", ttl.to_vec(), "configure", "jitter"),
    ];
    for (query, body, stage, reason) in cases {
        let refused = bench.server.admin("PUT", &format!("/admin/policy{query}"), body)?;
        let error = refused.refusal(422, "policy_refused")?;
        assert_eq!(error["stage"], stage, "{query} {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(reason)), "{query} {error}");
        assert_eq!(bench.server.generation()?, 1, "{query}");
        assert_eq!(bench.server.secret(W)?, (secret.clone(), "hit".into()), "{query}");
    }
    assert_eq!(bench.server.stat("swaps_refused")?, 10);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_fails_its_rehearsal_is_refused_before_it_has_met_a_heartbeat() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    let secret = bench.server.delivered(W, &token)?;
    let card = shown(&bench.server)?["card"].clone();
    let path = "/admin/policy?setting.does=traps-without-a-row";
    let refused = bench.server.admin("PUT", path, HOSTILE.to_vec())?;
    let error = refused.refusal(422, "policy_refused")?;
    assert_eq!(error["stage"], "rehearsal", "{error}");
    let reason = error["message"].as_str().context("no message")?;
    assert!(reason.contains("a read of a workspace without a row: the call failed: read failed"), "{reason}");
    let policy = shown(&bench.server)?;
    assert_eq!((&policy["generation"], &policy["card"], &policy["faults"]), (&json!(1), &card, &json!(0)));
    assert_eq!(policy["recent"][0]["refused"]["stage"], "rehearsal", "{policy}");
    assert_eq!(bench.server.delivered(W, &token)?, secret);
    assert_eq!(bench.server.stat("policy_faults")?, 0);
    let log = bench.server.log()?;
    assert!(log.contains("a policy was refused") && !log.contains("rehearsal-0"), "{log}");
    Ok(())
}

async fn a_policy_that_keeps_failing_is_replaced_and_the_operator_is_told(engine: Engine) -> Result<()> {
    let bench = TestBed::with(engine, &["--probation", "0s"]).await?;
    let token = bench.server.create(W)?;
    let secret = bench.server.delivered(W, &token)?;
    // This policy behaves in its rehearsal.
    put(&bench.server, "?setting.does=traps&setting.spares=rehearsal-", HOSTILE)?;
    assert_eq!(shown(&bench.server)?["breaker"]["state"], "closed");
    let limit = shown(&bench.server)?["breaker"]["limit"].as_u64().context("no limit")?;
    for _ in 0..limit {
        assert_eq!(shown(&bench.server)?["name"], "hostile");
        assert_eq!(bench.server.delivered(W, &token)?, secret, "no heartbeat fails for it");
    }
    let policy = shown(&bench.server)?;
    assert_eq!(
        (&policy["name"], &policy["breaker"]["state"]),
        (&json!("ttl"), &json!("tripped")),
        "{policy}"
    );
    assert_eq!(policy["breaker"]["tripped"]["policy"], "hostile 0.0.0", "{policy}");
    assert_eq!(policy["recent"][0]["cause"], "breaker", "{policy}");
    let metrics = bench.server.get("/metrics")?.text;
    assert!(metrics.contains("leasehold_breaker_trips_total{cache=\"secrets\"} 1\n"), "{metrics}");
    assert!(bench.server.log()?.contains("the policy failed and was replaced"));
    Ok(())
}
