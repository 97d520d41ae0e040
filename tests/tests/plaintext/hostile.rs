//! The same while hostile policies serve, over the server's own ways in: a component that is put, heartbeats
//! that are answered past it, and everything that the operator is shown of its faults.
//!
//! The secrets are known, so that each can be looked for in every answer that must not carry one.

use anyhow::Result;
use leasehold_tests::Engine;
use leasehold_tests::hostile::COMPONENT;
use leasehold_tests::server::{Launch, Server};

/// Policies that behave in their rehearsal, and then fail in the ways that have most to say: a trap, a
/// timeout, a forged line, a lie, a handle that is kept.
const DOES: [&str; 7] = [
    "traps-after-put",
    "traps-after-issue",
    "spins-after-select",
    "logs-for-ever",
    "says-absent-over-a-secret",
    "leaks-a-handle",
    "puts-the-old-secret",
];

fn admin(
    server: &Server,
    seen: &mut Vec<String>,
    method: &str,
    path: &str,
    body: &[u8],
    status: u16,
) -> Result<()> {
    let answer = server.admin(method, path, body.to_vec())?;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    seen.push(format!("{:?}\n{}", answer.headers, answer.text));
    Ok(())
}

#[tokio::test]
async fn no_secret_is_shown_while_hostile_policies_serve() -> Result<()> {
    let rows = Engine::Sqlite.empty().await?;
    let server = Launch::new(rows.url())?.variable("LEASEHOLD_LOG", "trace");
    let server = server.arguments(["--probation", "0s"]).server()?;
    let (mut seen, mut hidden) = (Vec::new(), Vec::new());
    let (token, other) = (server.create("w")?, server.create("other")?);
    hidden.push(server.delivered("other", &other)?);
    for does in DOES {
        admin(
            &server,
            &mut seen,
            "PUT",
            &format!("/admin/policy?setting.does={does}&setting.spares=rehearsal-"),
            COMPONENT,
            200,
        )?;
        let secret = server.delivered("w", &token)?;
        assert_eq!(server.secret("w")?.0, secret, "{does}");
        let rotated = server.rotate("w")?;
        assert_eq!(server.delivered("w", &token)?, rotated, "{does}");
        assert_eq!(server.delivered("other", &other)?, hidden[0], "{does}");
        assert!(rotated != hidden[0] && rotated != secret, "{does}");
        hidden.extend([secret, rotated]);
        // These cover a workspace that is not there, a policy that is refused, and a database that refuses.
        admin(&server, &mut seen, "GET", "/workspaces/unheard-of/secret", b"", 404)?;
        admin(&server, &mut seen, "POST", "/workspaces/unheard-of/secret", b"", 404)?;
        admin(&server, &mut seen, "PUT", "/admin/policy?setting.does=refuses-settings", COMPONENT, 422)?;
        rows.execute("ALTER TABLE workspaces RENAME TO mislaid").await?;
        admin(&server, &mut seen, "GET", "/workspaces/w/secret", b"", 503)?;
        admin(&server, &mut seen, "POST", "/workspaces/w/secret", b"", 503)?;
        rows.execute("ALTER TABLE mislaid RENAME TO workspaces").await?;
        for path in ["/admin/policy", "/admin/stats", "/metrics", "/healthz"] {
            admin(&server, &mut seen, "GET", path, b"", 200)?;
        }
    }
    assert!(server.stat("policy_faults")? >= DOES.len() as u64, "they failed");
    let ended = server.stop()?;
    assert!(ended.log.contains("the policy failed"), "{}", ended.log);
    seen.extend([ended.stdout, ended.log]);
    for secret in &hidden {
        for output in &seen {
            assert!(!output.contains(secret), "{secret} is in:\n{output}");
        }
    }
    Ok(())
}
