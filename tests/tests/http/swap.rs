//! Swaps of the running server under load: no request fails, nothing is read anew that need not be, and a
//! policy that turns bad is replaced by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::hostile::COMPONENT as HOSTILE;
use leasehold_tests::server::{Client, Server, no_body};
use leasehold_tests::{Engine, Tier};
use serde_json::Value;

use super::TestBed;
use crate::database::on_both;

on_both! {
    swaps_under_load_fail_no_request_and_send_no_statement,
    a_policy_that_fails_at_its_thousandth_call_is_rolled_back_and_no_request_fails,
}

const WORKSPACES: usize = 8;

fn put(server: &Server, query: &str, component: &[u8]) -> Result<Value> {
    server.admin("PUT", &format!("/admin/policy{query}"), component.to_vec())?.json(200)
}

/// Runs two threads that read and two that send heartbeats, until the work is done; returns how many requests
/// they made.
fn under_load<T>(
    server: &Server,
    tokens: &[(String, String)],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let (over, server) = (&over, Client::clone(server));
                threads.spawn(move || {
                    let mut requests = 0;
                    while !over.load(Ordering::SeqCst) {
                        for (id, token) in tokens {
                            if n % 2 == 0 {
                                server.secret(id)?;
                            } else {
                                server.delivered(id, token)?;
                            }
                            requests += 1;
                        }
                    }
                    anyhow::Ok(requests)
                })
            })
            .collect();
        let done = work();
        over.store(true, Ordering::SeqCst);
        let requests = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .sum::<Result<u64>>()
            .context("a request failed while the policy was swapped")?;
        Ok((done?, requests))
    })
}

fn workspaces(server: &Server) -> Result<Vec<(String, String)>> {
    (0..WORKSPACES)
        .map(|n| {
            let id = format!("w{n}");
            let token = server.create(&id)?;
            server.delivered(&id, &token)?;
            Ok((id, token))
        })
        .collect()
}

async fn swaps_under_load_fail_no_request_and_send_no_statement(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let server = &bench.server;
    let tokens = workspaces(server)?;
    let (statements, swaps) = (server.stat("statements")?, Tier::current().pick(25, 1_000));
    let work = || {
        for n in 0..swaps {
            let renewed = server.stat("renewed")?;
            // Both policies accept the existing entries.
            put(server, if n % 2 == 0 { "?setting.ttl=50m" } else { "?setting.ttl=55m" }, &[])?;
            for (id, _) in &tokens {
                server.secret(id)?;
            }
            // A read under a lease of the old policy would have been a hit, and would have renewed nothing.
            let renewed = server.stat("renewed")? - renewed;
            ensure!(
                renewed >= tokens.len() as u64,
                "swap {n}: {renewed} of {} were leased anew",
                tokens.len()
            );
        }
        Ok(())
    };
    let ((), requests) = under_load(server, &tokens, work)?;
    assert_eq!(server.stat("statements")?, statements, "both policies accept every entry");
    assert_eq!((server.stat("swaps")?, server.stat("errors")?), (swaps, 0));
    println!("{engine:?}: {swaps} swaps, {requests} requests beside them, 0 failed, 0 statements");
    Ok(())
}

async fn a_policy_that_fails_at_its_thousandth_call_is_rolled_back_and_no_request_fails(
    engine: Engine,
) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    let server = &bench.server;
    let tokens = workspaces(server)?;
    let refused = server.admin("PUT", "/admin/policy?setting.does=traps-without-a-row", HOSTILE.to_vec())?;
    refused.refusal(422, "policy_refused")?;
    put(server, "?setting.does=traps-at-its-thousandth-call", HOSTILE)?;
    let name = || anyhow::Ok(server.admin("GET", "/admin/policy", no_body())?.json(200)?["name"].clone());
    assert_eq!(name()?, "hostile", "it has passed its rehearsal");
    let calls = server.stat("policy_calls")?;
    let work = || {
        // Each read of it is a call, of one of as many instances as there are clients.
        while name()? == "hostile" {
            ensure!(server.stat("policy_calls")? - calls < 10_000, "it serves on");
        }
        Ok(())
    };
    let ((), _) = under_load(server, &tokens, work)?;
    let policy = server.admin("GET", "/admin/policy", no_body())?.json(200)?;
    assert_eq!((&policy["name"], &policy["recent"][0]["cause"]), (&"ttl".into(), &"probation".into()));
    let reason = policy["recent"][0]["reason"].as_str().context("no reason")?;
    assert!(reason.starts_with("it failed 1 time in its probation"), "{reason}");
    assert!(reason.contains("it was trusted"), "not what its panic said: {reason}");
    assert_eq!((server.stat("probations_failed")?, server.stat("errors")?), (1, 0));
    // A rehearsal that met the same lines before, in silence, must not have silenced them for good.
    let log = server.log()?;
    for line in ["ERROR leasehold::policy", "the policy failed; the host goes on without it"] {
        assert!(log.contains(line), "no {line:?} in:\n{log}");
    }
    Ok(())
}
