//! A server on a hot standby: it reads, refuses changes in words, and goes on by itself after the promotion.

use anyhow::{Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::server::{Launch, Server, no_body};
use sqlx::ConnectOptions as _;

fn readiness(server: &Server) -> Result<String> {
    server.get("/readyz")?.text_of(200, "status")
}

#[tokio::test]
async fn a_server_on_a_standby_reads_refuses_changes_and_takes_them_once_it_is_promoted() -> Result<()> {
    let primary = Cluster::create(&[])?;
    let url = |cluster: &Cluster| cluster.options().to_url_lossy().to_string();
    let standby = primary.standby()?;
    let ended = Launch::new(&url(&standby))?.run_to_completion()?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("run `leasehold migrate` on the primary"), "{}", ended.log);
    let first = Launch::new(&url(&primary))?.server()?;
    let (token, bare) = (first.create("w")?, first.create("bare")?);
    let secret = first.delivered("w", &token)?;
    standby.caught_up_with(&primary).await?;
    let launch = Launch::new(&url(&standby))?.arguments(["--setting", "ttl=0s"]);
    let server = launch.server()?;
    assert!(server.log()?.contains("the database is read-only"), "{}", server.log()?);
    assert_eq!(readiness(&server)?, "read-only");
    assert_eq!(server.delivered("w", &token)?, secret);
    assert_eq!(server.secret("w")?.0, secret);
    for (method, path) in
        [("POST", "/workspaces/w/secret"), ("POST", "/workspaces"), ("DELETE", "/workspaces/w")]
    {
        let refused = server.admin(method, path, no_body())?.refusal(503, "read_only")?;
        assert!(refused["message"].as_str().is_some_and(|words| words.contains("standby")), "{refused}");
    }
    assert_eq!(server.heartbeat("bare", &bare)?.text_of(200, "secret_error")?, "unavailable");
    assert_eq!(server.delivered("w", &token)?, secret, "what was refused takes nothing away");
    first.stop()?;
    primary.stop(Stop::Immediate)?;
    assert_eq!(readiness(&server)?, "read-only");
    standby.promote()?;
    let started = tokio::time::Instant::now();
    while readiness(&server)? != "ok" {
        ensure!(started.elapsed() < MAX_WAIT, "it does not notice the promotion");
    }
    // There are more requests than connections: none of them is stuck.
    for _ in 0..40 {
        let rotated = server.rotate("w")?;
        assert_eq!(server.delivered("w", &token)?, rotated);
    }
    server.delivered("bare", &bare)?;
    standby.stop(Stop::Immediate)?;
    let unready = server.get("/readyz")?.refusal(503, "unavailable")?;
    assert_eq!(unready["message"], "the database does not answer");
    Ok(())
}
