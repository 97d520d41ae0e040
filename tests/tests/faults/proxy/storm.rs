//! A network that fails at random, under load.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use leasehold::{Error, WorkspaceId};
use leasehold_tests::Tier;
use leasehold_tests::cluster::Cluster;
use leasehold_tests::proxy::{Fate, Statement};

use super::line_to;
use crate::faults::{Dice, Limits, TestBed, text, within};

/// The observations of one workspace during a round.
#[derive(Default)]
struct Seen {
    acknowledged: Vec<String>,
    /// Secrets that were read, each with how many issues had been acknowledged before the read began.
    read: Vec<(usize, String)>,
    unknown: u32,
}

type Log = Arc<Mutex<HashMap<WorkspaceId, Seen>>>;

async fn issues(bench: &TestBed, workspace: WorkspaceId, log: Log, count: u32) -> Result<()> {
    for _ in 0..count {
        let outcome = within("an issue", bench.cache.issue(&workspace)).await?;
        let mut log = log.lock().unwrap();
        let seen = log.entry(workspace.clone()).or_default();
        match outcome {
            Ok(secret) => seen.acknowledged.push(text(&secret)),
            Err(Error::OutcomeUnknown(_)) => seen.unknown += 1,
            Err(Error::Unavailable(_)) => {}
            Err(error) => anyhow::bail!("an issue over a bad line: {error}"),
        }
    }
    Ok(())
}

async fn reads(bench: &TestBed, workspace: WorkspaceId, log: Log, count: u32) -> Result<()> {
    for _ in 0..count {
        let before = log.lock().unwrap().entry(workspace.clone()).or_default().acknowledged.len();
        match within("a read", bench.read(&workspace)).await? {
            Ok(secret) => {
                log.lock().unwrap().entry(workspace.clone()).or_default().read.push((before, secret))
            }
            Err(Error::Unavailable(_)) => {}
            Err(error) => anyhow::bail!("a read over a bad line: {error}"),
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Holds what was seen against all that the database ever held.
async fn hold(bench: &TestBed, workspace: &WorkspaceId, seen: &Seen) -> Result<()> {
    let history = bench.history(workspace).await?;
    let place = |secret: &String| history.get(secret).copied();
    let mut newest = vec![0];
    for secret in &seen.acknowledged {
        let place = place(secret).context("an acknowledged issue is not in the database")?;
        newest.push(place.max(newest.last().copied().unwrap_or_default()));
    }
    for (before, secret) in &seen.read {
        let place = place(secret).context("the database never held what was read")?;
        ensure!(
            newest.get(*before).is_some_and(|newest| place >= *newest),
            "older than an acknowledged issue"
        );
    }
    let most = 1 + seen.acknowledged.len() + seen.unknown as usize;
    ensure!(history.len() <= most, "an issue that was refused is in the database");
    let now = bench.stored(workspace).await?.context("the row is gone")?;
    ensure!(bench.read(workspace).await? == now, "the cache does not hold what the database holds");
    Ok(())
}

#[tokio::test]
async fn no_acknowledged_issue_is_lost_and_no_read_goes_back_however_the_network_fails() -> Result<()> {
    // The server is the test's own: hundreds of logins and thousands of commits are the test, not what they
    // cost.
    let cluster = Cluster::create(&[])?;
    let line = line_to(cluster.options(), Limits::patient(4)).await?;
    let mut dice = Dice(0x1ea5_e401d);
    let rounds = Tier::current().pick(200, 5000);
    let (mut acknowledged, mut unknown) = (0, 0);
    for round in 0..rounds {
        let workspaces = line.bench.rows(&format!("r{round}-"), 2).await?;
        let log = Log::default();
        match dice.below(4) {
            0 => line.proxy.cut(),
            1 => line.proxy.next(Statement::Update, Fate::CutDuring),
            _ => {}
        }
        line.proxy.cut_after(dice.below(60) as u32);
        let (bench, one, two) = (&line.bench, &workspaces[0], &workspaces[1]);
        tokio::try_join!(
            issues(bench, one.clone(), Arc::clone(&log), 3),
            issues(bench, one.clone(), Arc::clone(&log), 2),
            issues(bench, two.clone(), Arc::clone(&log), 4),
            reads(bench, one.clone(), Arc::clone(&log), 12),
            reads(bench, two.clone(), Arc::clone(&log), 12),
        )?;
        line.proxy.calm();
        line.proxy.settled().await?;
        let log = std::mem::take(&mut *log.lock().unwrap());
        for (workspace, seen) in log {
            hold(&line.bench, &workspace, &seen)
                .await
                .with_context(|| format!("round {round}: {workspace}"))?;
            acknowledged += seen.acknowledged.len();
            unknown += seen.unknown;
        }
    }
    let accepted = line.proxy.accepted();
    println!(
        "{rounds} rounds: {acknowledged} issues acknowledged, {unknown} unknown, {accepted} connections"
    );
    ensure!(unknown >= 20 && acknowledged >= 500, "the network was too good, or too bad, to show anything");
    Ok(())
}
