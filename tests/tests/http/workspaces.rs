//! The list of workspaces, a look at one, and a look at what is cached of one: never a secret.

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::Engine;
use leasehold_tests::server::no_body;
use serde_json::{Value, json};

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    the_list_has_each_workspace_once_page_after_page,
    a_list_that_is_asked_for_in_the_wrong_words_is_refused,
    one_workspace_is_shown_without_its_secret,
    a_table_without_the_time_of_creation_is_listed_all_the_same,
    one_workspace_is_forgotten_and_the_others_are_not,
    an_entry_is_shown_without_its_value_and_looking_changes_nothing,
}

fn listed(bench: &TestBed, query: &str) -> Result<(Vec<String>, Option<String>)> {
    let page = bench.server.admin("GET", &format!("/workspaces{query}"), no_body())?.json(200)?;
    let ids = page["workspaces"].as_array().context("no list")?.iter();
    let ids = ids.map(|row| row["id"].as_str().map(str::to_owned)).collect::<Option<_>>();
    Ok((ids.context("no id")?, page["next"].as_str().map(str::to_owned)))
}

/// Reads the whole list, page after page.
fn all(bench: &TestBed, limit: usize, more: &str) -> Result<Vec<String>> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let (page, next) = listed(bench, &format!("?limit={limit}{after}{more}"))?;
        ensure!(page.len() <= limit && !(page.is_empty() && next.is_some()), "{page:?}");
        ids.extend(page);
        ensure!(ids.len() < 1_000, "it never ends: {ids:?}");
        let Some(next) = next else { return Ok(ids) };
        let encoded: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
        after = format!("&after={encoded}");
    }
}

async fn the_list_has_each_workspace_once_page_after_page(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    assert_eq!(listed(&bench, "")?, (vec![], None));
    let mut expected = Vec::new();
    for n in 0..23 {
        let id = format!("w {n}&");
        let token = bench.server.create(&id)?;
        if n % 3 == 0 {
            bench.server.delivered(&id, &token)?;
        }
        expected.push((id, n % 3 == 0));
    }
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let every = sorted(expected.iter().map(|(id, _)| id.clone()).collect());
    let healed = |(id, has): &(String, bool)| (!has).then(|| id.clone());
    let without: Vec<String> = sorted(expected.iter().filter_map(healed).collect());
    for limit in [1, 5, 22, 23, 1000] {
        assert_eq!(sorted(all(&bench, limit, "")?), every, "{limit}");
        assert_eq!(sorted(all(&bench, limit, "&without_secret")?), without, "{limit}");
    }
    let page = bench.server.admin("GET", "/workspaces?without_secret=false", no_body())?;
    let rows = page.json(200)?["workspaces"].as_array().context("no list")?.clone();
    assert_eq!(rows.len(), 23);
    for row in rows {
        let expected = expected.iter().find(|(id, _)| row["id"] == **id).context("a stranger")?;
        let made = row["created_at"].as_str().with_context(|| format!("{row}"))?;
        ensure!(made.starts_with("20") && made.contains('T'), "{row}");
        let fields = json!({ "id": expected.0, "created_at": made, "has_secret": expected.1 });
        assert_eq!(row, fields, "there is more in it");
    }
    Ok(())
}

async fn a_list_that_is_asked_for_in_the_wrong_words_is_refused(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    for (query, code, words) in [
        ("?limit=0", "invalid_parameter", "from 1 to 1000"),
        ("?limit=1001", "invalid_parameter", "from 1 to 1000"),
        ("?limit=ten", "invalid_parameter", "from 1 to 1000"),
        ("?after=", "invalid_workspace", ""),
        ("?after=a%0Ab", "invalid_workspace", ""),
        ("?without_secret=yes", "invalid_parameter", "true, false or nothing"),
        ("?offset=5", "unknown_parameter", "offset"),
        ("?limit=5&limit=6", "repeated_parameter", "limit"),
    ] {
        let refused = bench.server.admin("GET", &format!("/workspaces{query}"), no_body())?;
        let refused = refused.refusal(400, code)?["message"].to_string();
        ensure!(refused.contains(words), "{query}: {refused}");
    }
    Ok(())
}

async fn one_workspace_is_shown_without_its_secret(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let show = |id: &str| bench.server.admin("GET", &format!("/workspaces/{id}"), no_body());
    show(W)?.refusal(404, "unknown_workspace")?;
    bench.server.create(W)?;
    for has_secret in [false, true] {
        let shown = show(W)?.json(200)?;
        let made = &shown["created_at"];
        ensure!(made.is_string(), "{shown}");
        assert_eq!(shown, json!({ "id": W, "created_at": made, "has_secret": has_secret }));
        bench.store(W, if has_secret { "" } else { "stored" }).await?;
    }
    assert_eq!(show(W)?.json(200)?["has_secret"], false, "the empty secret is none");
    Ok(())
}

async fn a_table_without_the_time_of_creation_is_listed_all_the_same(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    bench.rows.execute("ALTER TABLE workspaces DROP COLUMN created_at").await?;
    let shown = json!({ "id": W, "created_at": null, "has_secret": false });
    let list = bench.server.admin("GET", "/workspaces", no_body())?.json(200)?;
    assert_eq!(list, json!({ "workspaces": [shown], "next": null }));
    let one = bench.server.admin("GET", &format!("/workspaces/{W}"), no_body())?.json(200)?;
    assert_eq!(one, shown);
    Ok(())
}

async fn one_workspace_is_forgotten_and_the_others_are_not(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    for id in [W, "other"] {
        let token = bench.server.create(id)?;
        bench.server.delivered(id, &token)?;
        bench.store(id, "written-by-hand").await?;
    }
    let forget = |id: &str| bench.server.admin("POST", &format!("/admin/cache/forget/{id}"), no_body());
    assert_eq!(forget(W)?.json(200)?, json!({ "status": "ok" }));
    assert_eq!(bench.server.stat("entries")?, 1);
    assert_eq!(bench.server.secret(W)?, ("written-by-hand".into(), "miss".into()));
    assert_ne!(bench.server.secret("other")?.0, "written-by-hand");
    forget("unheard-of")?.json(200)?;
    Ok(())
}

async fn an_entry_is_shown_without_its_value_and_looking_changes_nothing(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let look = |id: &str| bench.server.admin("GET", &format!("/admin/cache/{id}"), no_body());
    let token = bench.server.create(W)?;
    look(W)?.refusal(404, "not_cached")?;
    let secret = bench.server.delivered(W, &token)?;
    let before = bench.server.admin("GET", "/admin/stats", no_body())?.json(200)?;
    let answer = look(W)?;
    let entry = answer.json(200)?;
    ensure!(!answer.text.contains(&secret), "{entry}");
    assert_eq!((&entry["state"], &entry["generation"]), (&json!("fresh"), &json!(1)));
    ensure!(entry["granted_by"]["policy"].as_str().is_some_and(|name| name.starts_with("ttl ")), "{entry}");
    ensure!(entry["granted_by"]["digest"].as_str().is_some_and(|digest| digest.len() == 64), "{entry}");
    let seconds = |entry: &Value, name: &str| entry[name].as_f64().unwrap_or(f64::NAN);
    ensure!((0.0..30.0).contains(&seconds(&entry, "age_s")), "{entry}");
    let (fresh, keep) = (seconds(&entry, "fresh_for_s"), seconds(&entry, "keep_for_s"));
    ensure!(0.0 < fresh && fresh <= 300.0 && fresh <= keep, "{entry}");
    for _ in 0..20 {
        look(W)?.json(200)?;
    }
    assert_eq!(bench.server.admin("GET", "/admin/stats", no_body())?.json(200)?, before, "it was a read");
    ensure!(seconds(&look(W)?.json(200)?, "fresh_for_s") <= fresh, "the lease was extended");
    // No policy's lease covers it after a swap, until the next read.
    bench.server.admin("PUT", "/admin/policy?setting.ttl=7s", no_body())?.json(200)?;
    let stale = look(W)?.json(200)?;
    assert_eq!((&stale["state"], &stale["fresh_for_s"]), (&json!("stale"), &json!(0.0)), "{stale}");
    assert_eq!((&stale["generation"], &stale["granted_by"]), (&json!(1), &entry["granted_by"]), "{stale}");
    Ok(())
}
