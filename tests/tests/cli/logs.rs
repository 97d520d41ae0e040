//! Log lines as JSON, the access log, and the ids by which a request is found in both.

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{ADMIN_TOKEN, Launch, Server, no_body};
use serde_json::Value;

const DATABASE: &str = "sqlite://test.db?mode=rwc";

/// Returns the lines of a log of JSON.
fn parsed(log: &str) -> Result<Vec<Value>> {
    log.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Returns the lines of the access log.
fn accesses(server: &Server) -> Result<Vec<Value>> {
    let lines = parsed(&server.log()?)?;
    Ok(lines.into_iter().filter(|line| line["target"] == "leasehold::access").collect())
}

#[test]
fn each_line_of_a_json_log_is_an_object_with_its_fields_at_the_top() -> Result<()> {
    let server = Launch::new(DATABASE)?.arguments(["--log-format", "json"]).server()?;
    server.create("w")?;
    let ended = server.stop()?;
    let lines = parsed(&ended.log)?;
    let created =
        lines.iter().find(|line| line["message"] == "created a workspace").context("no such line")?;
    ensure!(created["workspace"] == "w" && created["level"] == "INFO", "{created}");
    ensure!(created["span"]["id"].as_str().is_some_and(|id| !id.is_empty()), "no request id: {created}");
    ensure!(lines.iter().all(|line| line["timestamp"].is_string() && line["target"].is_string()));
    Ok(())
}

#[test]
fn a_format_of_logs_that_there_is_none_of_is_refused_with_those_that_there_are() -> Result<()> {
    let ended = Launch::new(DATABASE)?.arguments(["--log-format", "xml"]).run_to_completion()?;
    ensure!(ended.code == Some(2) && ended.log.contains("text, json"), "{}", ended.log);
    Ok(())
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_neither_tokens_nor_secrets() -> Result<()> {
    let server = Launch::new(DATABASE)?.arguments(["--log-format", "json", "--access-log"]).server()?;
    let token = server.create("w-1")?;
    let secret = server.delivered("w-1", &token)?;
    let rotated = server.rotate("w-1")?;
    // A token where an id belongs, by somebody who was not let in, and in a path that is nothing.
    server.heartbeat(&token, "wrong")?.refusal(401, "unauthorized")?;
    server
        .send("GET", &format!("/workspaces/{token}/secret"), None, no_body())?
        .refusal(401, "unauthorized")?;
    server.get(&format!("/nowhere/{token}?token={token}"))?.refusal(404, "not_found")?;
    let expected = [
        ("POST", "/workspaces", 201, None),
        ("POST", "/registry/heartbeat", 200, Some("w-1")),
        ("POST", "/workspaces/{id}/secret", 200, Some("w-1")),
        ("POST", "/registry/heartbeat", 401, None),
        ("GET", "/workspaces/{id}/secret", 401, None),
        ("GET", "other", 404, None),
    ];
    let lines = accesses(&server)?;
    ensure!(lines.len() == expected.len(), "{lines:#?}");
    for (line, (method, route, status, workspace)) in lines.iter().zip(expected) {
        ensure!(line["method"] == method && line["route"] == route && line["status"] == status, "{line}");
        ensure!(line["workspace"].as_str() == workspace, "{line}");
        ensure!(line["duration_us"].is_u64() && line["request_id"].is_string(), "{line}");
        ensure!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    let log = server.log()?;
    for hidden in [token.as_str(), &secret, &rotated, ADMIN_TOKEN] {
        ensure!(!log.contains(hidden), "it is in the log: {log}");
    }
    server.stop()?;
    Ok(())
}

#[test]
fn without_the_flag_there_is_no_access_log() -> Result<()> {
    let server = Launch::new(DATABASE)?.arguments(["--log-format", "json"]).server()?;
    server.create("w")?;
    ensure!(accesses(&server)?.is_empty());
    server.stop()?;
    Ok(())
}

#[test]
fn a_request_id_is_taken_over_where_it_is_plain_and_made_otherwise() -> Result<()> {
    let server = Launch::new(DATABASE)?.arguments(["--log-format", "json", "--access-log"]).server()?;
    let token = server.create("w")?;
    let id_of = |given: Option<&str>, path: &str, method: &str| -> Result<Option<String>> {
        let headers: Vec<_> = given.map(|id| ("x-request-id", id)).into_iter().collect();
        let body = br#"{"workspace_id":"w"}"#.to_vec();
        let answer = server.send_with(&headers, method, path, Some(&token), body)?;
        Ok(answer.header("x-request-id").map(str::to_owned))
    };
    let heartbeat = ("/registry/heartbeat", "POST");
    for (path, method) in [("/healthz", "GET"), ("/nowhere", "GET"), heartbeat] {
        ensure!(id_of(Some("trace-7.A_b"), path, method)?.as_deref() == Some("trace-7.A_b"), "{path}");
        for strange in ["a b", "a;b", &"x".repeat(65)] {
            let made = id_of(Some(strange), path, method)?.context("none was made")?;
            ensure!(made != strange && made.len() <= 64, "{made}");
        }
        ensure!(id_of(None, path, method)?.is_some(), "{path}");
    }
    let lines = accesses(&server)?;
    ensure!(lines.iter().filter(|line| line["request_id"] == "trace-7.A_b").count() == 3, "{lines:#?}");
    server.stop()?;
    // Where nobody will see it, a heartbeat gets none.
    let quiet = Launch::new(DATABASE)?.server()?;
    let token = quiet.create("w")?;
    let beat = quiet.heartbeat("w", &token)?;
    ensure!(beat.header("x-request-id").is_none() && quiet.get("/healthz")?.header("x-request-id").is_some());
    quiet.stop()?;
    Ok(())
}
