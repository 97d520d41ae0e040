//! `leasehold policy card`: a policy is rehearsed and its card is printed, for people or as JSON.
//!
//! The figures are the library's. Here they get units in their names, so that no reader of JSON has to guess.

use std::io::Write as _;

use anyhow::Context as _;
use leasehold::{Measure, PolicyCard, SecretCache, Spread};
use serde_json::{Map, Value, json};

use super::{Outcome, choose};
use crate::cli::{Candidate, Card};

pub(super) async fn print(command: &Card) -> anyhow::Result<Outcome> {
    let card = rehearse(&command.candidate).await?;
    say(&if command.json { format!("{:#}\n", json(&card)) } else { card.to_string() })?;
    Ok(Outcome::Done)
}

/// Rehearses a policy as a server would that is started with it.
pub(super) async fn rehearse(candidate: &Candidate) -> anyhow::Result<PolicyCard> {
    let policy = choose(&candidate.policy, &candidate.settings)?;
    let rehearsed = SecretCache::builder().policy(policy).rehearse().await;
    rehearsed.with_context(|| format!("the policy {:?} cannot be used", candidate.policy))
}

/// The card with a unit in every name that needs one.
pub(crate) fn json(card: &PolicyCard) -> Value {
    let mut shown = Map::new();
    let settings: Map<String, Value> =
        card.settings.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    for (name, value) in [
        ("name", json!(card.name)),
        ("version", json!(card.version)),
        ("digest", json!(card.digest)),
        ("settings", Value::Object(settings)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    for (figure, measure) in card.figures() {
        let name = figure.replace('-', "_");
        let (name, value) = match measure {
            Measure::Word(word) => (name, json!(word)),
            Measure::Time(time) => (format!("{name}_s"), json!(time.as_secs_f64())),
            Measure::Spread(Spread { least, most, .. }) => {
                (format!("{name}_s"), json!({ "least": least.as_secs_f64(), "most": most.as_secs_f64() }))
            }
            Measure::Bytes(bytes) => (format!("{name}_bytes"), json!(bytes)),
            Measure::Number(number) => (name, json!(number)),
            other => (name, json!(other.to_string())),
        };
        shown.insert(name, value);
    }
    for (name, value) in [
        ("statements", json!(card.statements)),
        ("heartbeats", json!(card.heartbeats)),
        ("call_us", json!(card.call.as_nanos() as f64 / 1000.0)),
        ("calls", json!(card.calls)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

/// Writes to stdout. Who has closed it is told by the exit code.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}
