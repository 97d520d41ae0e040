//! A machine with few resources: no executable memory, or little address space. The server serves, and a lack
//! of resources is never taken for a fault of the policy.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::Engine;
use leasehold_tests::server::{Client, Launch, Server, no_body};
use serde_json::Value;

const CLIENTS: usize = 100;
/// Number of clients: more than may issue at once, and no more than the database answers in time on a busy
/// machine.
const FEW: usize = 8;
const MIB: u64 = 1 << 20;

fn launch() -> Result<Launch> {
    Launch::new("sqlite://test.db?mode=rwc")
}

fn without_executable_memory() -> Result<Launch> {
    let forbid = env!("CARGO_BIN_EXE_forbid-executable");
    Ok(launch()?.by(r#"exec "$FORBID" "$0" "$@""#).variable("FORBID", forbid))
}

fn policy(server: &Server) -> Result<Value> {
    server.admin("GET", "/admin/policy", no_body())?.json(200)
}

/// Has so many clients act at once, so many times, each with a number of its own.
fn at_once(
    server: &Server,
    (clients, times): (usize, usize),
    work: impl Fn(&Client, usize) -> Result<()> + Sync,
) -> Result<()> {
    thread::scope(|threads| {
        let clients: Vec<_> = (0..clients)
            .map(|number| {
                let (client, work) = (Client::clone(server), &work);
                threads.spawn(move || (0..times).try_for_each(|_| work(&client, number)))
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("no panic"))
    })
}

fn create(server: &Server, clients: usize) -> Result<()> {
    (0..clients).try_for_each(|number| {
        server.create(&format!("w{number}"))?;
        server.rotate(&format!("w{number}")).map(drop)
    })
}

/// Checks that the operator's policy is still active, and that no fault is counted against it.
fn holds(server: &Server, name: &str) -> Result<()> {
    let active = policy(server)?;
    ensure!(active["name"] == name && active["generation"] == 1, "another one is active: {active:#}");
    ensure!(active["faults"] == 0 && active["breaker"]["state"] == "closed", "it is blamed: {active:#}");
    let (faults, trips) = (server.stat("policy_faults")?, server.stat("breaker_trips")?);
    ensure!((faults, trips) == (0, 0), "{faults} faults, {trips} trips");
    Ok(())
}

#[test]
fn where_executable_memory_is_forbidden_the_policies_are_interpreted_and_the_log_says_so() -> Result<()> {
    let server = without_executable_memory()?.arguments(["--setting", "ttl=0s"]).server()?;
    ensure!(policy(&server)?["execution"] == "interpreter", "{:#}", policy(&server)?);
    ensure!(server.log()?.contains("this system forbids executable memory"), "{}", server.log()?);
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    ensure!(server.secret("w")? == (secret, "miss".into()), "it is another one");
    // A swap compiles and rehearses as on any other machine.
    server.admin("PUT", "/admin/policy", leasehold_policies::RESILIENT.to_vec())?.json(200)?;
    let rotated = server.rotate("w")?;
    ensure!(server.delivered("w", &token)? == rotated, "it is an old one");
    ensure!(server.stat("policy_faults")? == 0, "{}", server.log()?);
    server.stop()?;
    Ok(())
}

#[test]
fn the_interpreter_may_be_chosen_and_keeps_code_of_its_own() -> Result<()> {
    let native = launch()?.arguments(["--compile-cache", "code"]);
    for (launch, execution) in [
        (native.clone(), "native"),
        (native.clone().arguments(["--interpreter"]), "interpreter"),
        (native, "native"),
    ] {
        let server = launch.server()?;
        ensure!(policy(&server)?["execution"] == execution, "{:#}", policy(&server)?);
        let created = server.create("w");
        if created.is_ok() {
            server.rotate("w")?;
        }
        server.admin("POST", "/admin/cache/reset", no_body())?;
        server.secret("w")?;
        ensure!(server.stat("policy_faults")? == 0 && server.stat("policy_calls")? > 0, "{}", server.log()?);
        let log = server.stop()?.log;
        ensure!(!log.contains("damaged") && !log.contains("forbids"), "{log}");
    }
    Ok(())
}

#[test]
fn a_hundred_clients_are_served_within_850_mb_of_address_space_and_the_policy_keeps_its_place() -> Result<()>
{
    let launch = launch()?.arguments(["--policy", "passthrough"]);
    let server = launch.by(r#"ulimit -v 850000; exec "$0" "$@""#).server()?;
    create(&server, CLIENTS)?;
    at_once(&server, (CLIENTS, 20), |client, number| {
        let (_, cache) = client.secret(&format!("w{number}"))?;
        ensure!(cache == "miss" || cache == "bypassed", "{cache}");
        Ok(())
    })?;
    holds(&server, "passthrough").with_context(|| server.log().unwrap_or_default())?;
    server.stop()?;
    Ok(())
}

#[tokio::test]
async fn calls_that_there_is_no_memory_for_are_answered_directly_and_cost_the_policy_nothing() -> Result<()> {
    let database = Engine::Postgres.empty().await?;
    let server = Launch::new(database.url())?.arguments(["--policy", "passthrough"]).server()?;
    create(&server, FEW)?;
    // Everything that the server needs itself is allocated then. No more reads ask the policy at once than
    // there are processors, and issues keep their instances while they wait for the database.
    at_once(&server, (FEW, 3), |client, number| client.secret(&format!("w{number}")).map(drop))?;
    server.limit_memory(Some(3 * MIB))?;
    at_once(&server, (FEW, 5), |client, number| client.rotate(&format!("w{number}")).map(drop))?;
    server.limit_memory(None)?;
    let shortages = server.stat("shortages")?;
    ensure!(shortages > 0, "there was enough: {}", server.log()?);
    ensure!(server.stat("bypassed")? >= shortages, "{shortages} had to be answered directly");
    holds(&server, "passthrough").with_context(|| server.log().unwrap_or_default())?;
    let log = server.log()?;
    ensure!(log.matches("this machine has not enough memory").count() == 1, "{log}");
    ensure!(server.secret("w1")?.1 == "miss", "it is asked again");
    server.stop()?;
    Ok(())
}
