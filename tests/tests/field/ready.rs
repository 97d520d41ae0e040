//! The answer of `/readyz`, as one of three words.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use leasehold_tests::server::Client;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// The answer to a balancer, and to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// The database can be read and written.
    Ok,
    /// The database can only be read.
    ReadOnly,
    /// The database cannot be used.
    Unavailable,
}

impl Ready {
    /// Returns the answer of now. Any other word than the three is an error.
    pub(super) fn of(client: &Client) -> Result<Self> {
        let answer = client.get("/readyz")?;
        if answer.status == 503 {
            answer.refusal(503, "unavailable")?;
            return Ok(Self::Unavailable);
        }
        let body = answer.json(200)?;
        for (word, ready) in [("ok", Self::Ok), ("read-only", Self::ReadOnly)] {
            if body == json!({ "status": word }) {
                return Ok(ready);
            }
        }
        bail!("/readyz says {body}")
    }
}

/// Waits until `/readyz` says this, and returns how long that took.
pub(super) async fn becomes(client: &Client, ready: Ready, within: Duration) -> Result<Duration> {
    let started = Instant::now();
    let mut last = None;
    // This is the pace of a balancer that is in a hurry, not a wait for anything.
    let mut pace = interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asked = async {
        loop {
            pace.tick().await;
            let says = Ready::of(client)?;
            last = Some(says);
            if says == ready {
                return anyhow::Ok(());
            }
        }
    };
    let asked = timeout(within, asked).await;
    asked.with_context(|| format!("/readyz does not say {ready:?} within {within:?}, but {last:?}"))??;
    Ok(started.elapsed())
}
