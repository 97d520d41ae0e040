//! `/metrics` as a scraper asks for it: in which format, and whether Prometheus's own checker is content.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::Engine;
use leasehold_tests::server::{Answer, no_body};

use super::{TestBed, W};

/// What Prometheus 2.42 sends, and what 3.0 sends.
const SCRAPERS: [&str; 2] = [
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
];

fn scrape(bench: &TestBed, accept: Option<&str>) -> Result<Answer> {
    let headers: Vec<_> = accept.map(|accept| ("accept", accept)).into_iter().collect();
    bench.server.send_with(&headers, "GET", "/metrics", None, no_body())
}

/// Has promtool look at the page.
fn check(page: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("promtool");
    let found = Command::new(script).stdin(Stdio::null()).output().context("tests/promtool")?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let promtool = String::from_utf8(found.stdout)?;
    let mut checking = Command::new(promtool.trim())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    checking.stdin.take().context("no stdin")?.write_all(page.as_bytes())?;
    let checked = checking.wait_with_output()?;
    let said = [checked.stdout, checked.stderr].concat();
    ensure!(
        checked.status.success() && said.is_empty(),
        "{}: {}",
        checked.status,
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    bench.server.delivered(W, &token)?;
    bench.server.heartbeat(W, "wrong")?;
    bench.server.get("/nowhere")?;
    let page = scrape(&bench, None)?;
    check(&page.text).with_context(|| page.text.clone())
}

#[tokio::test]
async fn the_format_is_the_one_that_is_asked_for() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let text = Some("text/plain; version=0.0.4; charset=utf-8");
    let open = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    for (accept, kind) in [
        (None, text),
        (Some("*/*"), text),
        (Some("text/html,application/xml;q=0.9,*/*;q=0.8"), text),
        (Some("text/plain;version=0.0.4"), text),
        (Some("application/openmetrics-text;q=0,text/plain"), text),
        (Some("application/openmetrics-text;q=0.2,text/plain;q=0.7"), text),
        (Some("application/openmetrics-text"), open),
        (Some(SCRAPERS[0]), open),
        (Some(SCRAPERS[1]), open),
    ] {
        let page = scrape(&bench, accept)?;
        ensure!(page.header("content-type") == kind, "{accept:?}: {:?}", page.header("content-type"));
        ensure!(page.text.ends_with("# EOF\n") == (kind == open), "{accept:?}");
        let hits = if kind == open {
            "# TYPE leasehold_hits counter"
        } else {
            "# TYPE leasehold_hits_total counter"
        };
        ensure!(page.text.contains(hits), "{accept:?}: no {hits}: {}", page.text);
        ensure!(page.text.contains("leasehold_hits_total{cache=\"secrets\"} 0\n"), "{}", page.text);
    }
    Ok(())
}

#[tokio::test]
async fn answers_are_counted_by_route_and_status() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    for _ in 0..3 {
        bench.server.heartbeat(W, "wrong")?.refusal(401, "unauthorized")?;
    }
    bench.server.delivered(W, &token)?;
    bench.server.secret(W)?;
    for number in 0..5 {
        bench.server.get(&format!("/nowhere/{number}"))?.refusal(404, "not_found")?;
    }
    let page = scrape(&bench, None)?.text;
    for line in [
        "leasehold_http_responses_total{route=\"/registry/heartbeat\",code=\"401\"} 3\n",
        "leasehold_http_responses_total{route=\"/registry/heartbeat\",code=\"200\"} 1\n",
        "leasehold_http_responses_total{route=\"/workspaces/{id}/secret\",code=\"200\"} 1\n",
        "leasehold_http_responses_total{route=\"/workspaces\",code=\"201\"} 1\n",
        "leasehold_http_responses_total{route=\"other\",code=\"404\"} 5\n",
        "leasehold_http_request_duration_seconds_count{route=\"/registry/heartbeat\"} 4\n",
        "leasehold_http_request_duration_seconds_bucket{le=\"+Inf\",route=\"/registry/heartbeat\"} 4\n",
    ] {
        ensure!(page.contains(line), "no {line} in {page}");
    }
    ensure!(!page.contains(W) && !page.contains("nowhere"), "a path is a label: {page}");
    Ok(())
}
