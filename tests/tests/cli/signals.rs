//! Signals that mean nothing to most servers, and the folder of a server that has not ended yet.

use anyhow::{Result, ensure};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::server::Launch;
use rustix::process::Signal;
use tokio::time::Instant;

/// Waits until a log has these words.
fn logged(log: impl Fn() -> Result<String>, words: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        let log = log()?;
        if log.contains(words) {
            return Ok(log);
        }
        ensure!(begun.elapsed() < MAX_WAIT, "no {words:?} in {log}");
    }
}

#[test]
fn the_users_signals_end_nothing_and_the_first_logs_the_caches() -> Result<()> {
    let server = Launch::new("sqlite://test.db?mode=rwc")?.server()?;
    let token = server.create("w")?;
    server.delivered("w", &token)?;
    server.signal(Signal::USR1)?;
    let log = logged(|| server.log(), "cache=\"tokens\"")?;
    let line = log.lines().find(|line| line.contains("cache=\"secrets\"")).unwrap_or_default();
    ensure!(line.contains("entries=1") && line.contains("statements=2"), "{log}");
    server.signal(Signal::USR2)?;
    logged(|| server.log(), "SIGUSR2")?;
    server.delivered("w", &token)?;
    server.stop()?;
    Ok(())
}

#[test]
fn a_server_waits_for_the_folder_of_the_one_that_it_replaces() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let old = launch.server()?;
    let refused = launch.run_to_completion()?;
    ensure!(refused.code == Some(1) && refused.log.contains("--state-lock-wait"), "{}", refused.log);
    let holder = format!("process {}", old.process_id());
    ensure!(refused.log.contains(&holder), "no {holder:?} in {}", refused.log);
    let successor = launch.clone().arguments(["--state-lock-wait", "60s"]).begin()?;
    let log = logged(|| successor.log(), "waiting")?;
    ensure!(log.contains(&holder) && !log.contains("listening"), "{log}");
    old.stop()?;
    logged(|| successor.log(), "listening")?;
    let ended = successor.terminated()?;
    ensure!(ended.code == Some(0), "{}", ended.log);
    let brief = launch.server()?;
    let late = launch.clone().arguments(["--state-lock-wait", "50ms"]).run_to_completion()?;
    ensure!(late.code == Some(1) && late.log.contains("another server uses the folder"), "{}", late.log);
    brief.stop()?;
    Ok(())
}
