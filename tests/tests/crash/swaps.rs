//! A server that is killed while its policy is being changed: the next server runs the old policy or the new
//! one, whole.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::no_body;
use leasehold_tests::{Engine, Tier};

use super::Random;
use super::rows::Site;

/// Maximum time that a swap is given before the kill, in milliseconds.
const LONGEST: u64 = 400;

#[tokio::test]
async fn a_server_that_is_killed_in_a_swap_comes_back_with_the_old_policy_or_the_new_one() -> Result<()> {
    let site = Site::new(Engine::Sqlite).await?;
    let mut random = Random(0x5eed_0004);
    let server = site.launch.server()?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    server.stop()?;
    let (mut old, mut kept_old, mut kept_new) = (300, 0, 0);
    let cycles = Tier::current().pick(8, 100);
    for cycle in 0..=cycles {
        let server = site.launch.server().with_context(|| format!("cycle {cycle}"))?;
        let policy = server.admin("GET", "/admin/policy", no_body())?.json(200)?;
        let active = policy["settings"]["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse().ok());
        let active: u64 =
            active.or_else(|| (policy["settings"]["ttl"] == "5m").then_some(300)).context("no ttl")?;
        let asked = 301 + cycle;
        ensure!(
            active == old || active == asked - 1,
            "cycle {cycle}: {active} s, neither {old} nor {}",
            asked - 1
        );
        kept_old += u64::from(cycle > 0 && active == old);
        kept_new += u64::from(cycle > 0 && active != old);
        old = active;
        assert_eq!(server.delivered("w", &token)?, secret);
        if cycle == cycles {
            // This server shows only what the last kill has left.
            server.kill()?;
            break;
        }
        let client = leasehold_tests::server::Client::clone(&server);
        let swap = thread::spawn(move || {
            let body = leasehold_policies::TTL.to_vec();
            client.admin("PUT", &format!("/admin/policy?setting.ttl={asked}s"), body).is_ok()
        });
        // The moment is neither at the swap's beginning nor at its end, but anywhere.
        let moment = Duration::from_millis(random.below(LONGEST));
        let begun = std::sync::mpsc::channel::<()>();
        let _ = begun.1.recv_timeout(moment);
        server.kill()?;
        let _answered = swap.join().expect("no panic");
    }
    println!(
        "{cycles} kills in a swap: {kept_old} came back with the old policy, {kept_new} with the new one"
    );
    Ok(())
}
