//! Requests that must be refused: each with a status, a code and a reason in the one shape of errors.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use leasehold_tests::Engine;
use leasehold_tests::server::{ADMIN_TOKEN, no_body};

use super::{TestBed, W};

/// Every route of the operator's, with the scope that it needs.
pub(super) const OPERATORS: [(&str, &str, &str); 17] = [
    ("GET", "/admin/policy", "read"),
    ("GET", "/admin/stats", "read"),
    ("GET", "/workspaces", "read"),
    ("GET", "/workspaces/w", "read"),
    ("GET", "/admin/cache/w", "read"),
    ("GET", "/workspaces/w/tokens", "read"),
    ("PUT", "/admin/policy", "policy"),
    ("POST", "/admin/policy/rollback", "policy"),
    ("POST", "/admin/cache/reset", "policy"),
    ("POST", "/admin/cache/forget/w", "policy"),
    ("POST", "/workspaces", "secrets"),
    ("DELETE", "/workspaces/w", "secrets"),
    ("GET", "/workspaces/w/secret", "secrets"),
    ("POST", "/workspaces/w/secret", "secrets"),
    ("POST", "/workspaces/w/tokens", "secrets"),
    ("POST", "/workspaces/w/tokens/rotate", "secrets"),
    ("DELETE", "/workspaces/w/tokens/t", "secrets"),
];

#[tokio::test]
async fn the_operators_routes_are_closed_to_everyone_else() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let workspace = bench.server.create("w")?;
    let nearly = &ADMIN_TOKEN[1..];
    for (method, path, _) in OPERATORS {
        for token in [None, Some("wrong"), Some(nearly), Some(workspace.as_str())] {
            let refused = bench.server.send(method, path, token, no_body())?;
            refused.refusal(401, "unauthorized")?;
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{method} {path}");
        }
    }
    assert_eq!(bench.server.generation()?, 1);
    assert_eq!(bench.rows.text("SELECT id FROM workspaces").await?.as_deref(), Some("w"));
    Ok(())
}

#[tokio::test]
async fn a_stranger_cannot_tell_which_workspaces_exist() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    let cut = &token[..42];
    let unknown = bench.server.heartbeat("unheard-of", &token)?;
    unknown.refusal(401, "unauthorized")?;
    for (id, token) in [(W, "wrong"), (W, cut), ("unheard-of", "wrong")] {
        let refused = bench.server.heartbeat(id, token)?;
        assert_eq!((refused.status, &refused.text), (401, &unknown.text), "{id} {token}");
    }
    // Without a token the body is not even looked at.
    let blind = bench.server.send("POST", "/registry/heartbeat", None, b"{".to_vec())?;
    assert_eq!((blind.status, &blind.text), (401, &unknown.text));
    // This holds also once both are cached, and also for a workspace that has a secret.
    bench.server.delivered(W, &token)?;
    assert_eq!(bench.server.heartbeat(W, "wrong")?.text, unknown.text);
    Ok(())
}

#[tokio::test]
async fn a_path_or_a_method_that_does_not_exist_is_refused() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    for path in ["/", "/registry", "/admin", "/workspaces/w/secrets", "/healthz/", "//healthz"] {
        bench.server.admin("GET", path, no_body())?.refusal(404, "not_found")?;
    }
    for (method, path) in [
        ("GET", "/registry/heartbeat"),
        ("DELETE", "/workspaces"),
        ("PUT", "/workspaces/w"),
        ("PUT", "/workspaces/w/secret"),
        ("GET", "/admin/cache/forget/w"),
        ("POST", "/admin/policy"),
        ("GET", "/admin/cache/reset"),
        ("POST", "/metrics"),
        ("POST", "/healthz"),
    ] {
        let refused = bench.server.admin(method, path, no_body())?;
        refused.refusal(405, "method_not_allowed")?;
        assert!(refused.header("allow").is_some(), "{method} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_not_what_was_expected_is_refused() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let heartbeat =
        |body: &[u8]| bench.server.send("POST", "/registry/heartbeat", Some("token"), body.to_vec());
    for body in
        [&b""[..], b"{", b"workspace_id=w", b"{\"workspace_id\":\"w\"} {}", b"{\"workspace_id\":\"\xff\"}"]
    {
        heartbeat(body)?.refusal(400, "malformed_json")?;
    }
    for body in ["{}", "[]", "null", r#"{"workspace_id":5}"#, r#"{"workspace_id":null}"#] {
        heartbeat(body.as_bytes())?.refusal(400, "invalid_body")?;
    }
    for (body, code) in
        [("{", "malformed_json"), (r#"{"id":5}"#, "invalid_body"), (r#"{"name":"w"}"#, "invalid_body")]
    {
        bench.server.admin("POST", "/workspaces", body.into())?.refusal(400, code)?;
    }
    assert_eq!(bench.rows.text("SELECT id FROM workspaces").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_and_one_at_the_limit_is_not() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let token = bench.server.create(W)?;
    let padded = |bytes: usize| {
        let mut body = format!(r#"{{"workspace_id":"{W}"}}"#).into_bytes();
        body.resize(bytes, b' ');
        body
    };
    let heartbeat =
        |bytes: usize| bench.server.send("POST", "/registry/heartbeat", Some(&token), padded(bytes));
    heartbeat(16 * 1024)?.text_of(200, "platform_inbound_secret")?;
    heartbeat(16 * 1024 + 1)?.refusal(413, "body_too_large")?;
    bench.server.admin("POST", "/workspaces", padded(16 * 1024 + 1))?.refusal(413, "body_too_large")?;
    let four_mebibytes = 4 << 20;
    let policy = |bytes: usize| bench.server.admin("PUT", "/admin/policy", vec![b'x'; bytes]);
    assert_eq!(policy(four_mebibytes)?.refusal(422, "policy_refused")?["stage"], "inspect");
    assert_eq!(policy(four_mebibytes + 1)?.refusal(422, "policy_refused")?["stage"], "size");
    let refused = policy(2 * four_mebibytes + 1)?.refusal(413, "body_too_large")?;
    assert!(refused["message"].to_string().contains("8388608"), "{refused}");
    assert_eq!(bench.server.generation()?, 1);
    Ok(())
}

#[tokio::test]
async fn an_id_that_cannot_be_one_is_refused_wherever_it_stands() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let long = "x".repeat(257);
    let cases = [("", ""), (long.as_str(), &long), ("a\nb", "a%0Ab"), ("\0", "%00"), ("a\u{85}", "a%C2%85")];
    for (id, in_path) in cases {
        let created =
            bench.server.admin("POST", "/workspaces", serde_json::json!({ "id": id }).to_string().into())?;
        created.refusal(400, "invalid_workspace")?;
        bench.server.heartbeat(id, "token")?.refusal(400, "invalid_workspace")?;
        let secret = format!("/workspaces/{in_path}/secret");
        bench.server.admin("GET", &secret, no_body())?.refusal(400, "invalid_workspace")?;
        bench.server.admin("POST", &secret, no_body())?.refusal(400, "invalid_workspace")?;
        // A path that ends with its slash is no path of ours.
        let (status, code) = if id.is_empty() { (404, "not_found") } else { (400, "invalid_workspace") };
        bench.server.admin("DELETE", &format!("/workspaces/{in_path}"), no_body())?.refusal(status, code)?;
    }
    bench.server.admin("GET", "/workspaces/%FF/secret", no_body())?.refusal(400, "invalid_workspace")?;
    assert_eq!(bench.rows.text("SELECT id FROM workspaces").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_query_that_is_not_understood_swaps_nothing() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    for (query, code, word) in [
        ("?ttl=30s", "unknown_parameter", "ttl"),
        ("?setting.ttl=30s&dry_run=true", "unknown_parameter", "dry_run"),
        ("?setting.=30s", "unknown_parameter", "setting."),
        ("?setting.ttl=30s&setting.ttl=40s", "repeated_parameter", "setting.ttl"),
    ] {
        let refused =
            bench.server.admin("PUT", &format!("/admin/policy{query}"), no_body())?.refusal(400, code)?;
        assert!(refused["message"].to_string().contains(word), "{refused}");
        assert_eq!(bench.server.generation()?, 1);
    }
    Ok(())
}

#[tokio::test]
async fn two_tokens_in_one_request_are_none() -> Result<()> {
    let bench = TestBed::new(Engine::Sqlite).await?;
    let mut connection = TcpStream::connect(bench.server.address())?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    let header = format!("authorization: Bearer {ADMIN_TOKEN}\r\n");
    let request =
        |headers: &str| format!("GET /admin/stats HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n");
    connection.write_all(request(&format!("{header}{header}")).as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let mut connection = TcpStream::connect(bench.server.address())?;
    connection.write_all(request(&header).as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "the same request with one: {answer}");
    Ok(())
}
