//! `leasehold policy card`: a policy is rehearsed and its card is printed, for people or as JSON.
//!
//! The figures are the library's. Here they get units in their names, so that no reader of JSON has to guess.

use anyhow::Context as _;
use leasehold::{Measure, PolicyCard, Range, SecretCache};
use serde_json::{Map, Value, json};

use super::CommandOutcome;
use super::arguments::{Candidate, Card};
use crate::policy_source::choose;
use crate::print::print;

pub(super) async fn run(command: &Card) -> anyhow::Result<CommandOutcome> {
    let card = rehearse(&command.candidate).await?;
    print(&if command.json { format!("{:#}\n", json(&card)) } else { card.to_string() })?;
    Ok(CommandOutcome::Done)
}

/// Columns of the table of all bundled policies: the heading and the figure's name.
const COLUMNS: [(&str, &str); 8] = [
    ("fresh after a read", "fresh"),
    ("after an issue", "issue-fresh"),
    ("refreshed ahead", "refresh-ahead"),
    ("absence cached for", "absent"),
    ("database down", "on-error"),
    ("oldest answer", "stale"),
    ("statements per heartbeat", "statements-per-heartbeat"),
    ("memory", "memory"),
];

/// Prints the cards of all bundled policies under their defaults. No cell depends on the machine.
pub(super) async fn print_all() -> anyhow::Result<CommandOutcome> {
    let mut table = "| policy |".to_owned();
    COLUMNS.iter().for_each(|(heading, _)| table += &format!(" {heading} |"));
    table += &format!("\n|{}\n", "---|".repeat(COLUMNS.len() + 1));
    for (name, _) in leasehold_policies::ALL {
        let candidate = Candidate { policy: (*name).to_owned(), settings: Vec::new() };
        let card = rehearse(&candidate).await?;
        table += &format!("| `{name}` |");
        for (_, figure) in COLUMNS {
            let measure =
                card.figures().into_iter().find_map(|(name, measure)| (name == figure).then_some(measure));
            table += &format!(" {} |", measure.context("a column without a figure")?);
        }
        table += "\n";
    }
    print(&table)?;
    Ok(CommandOutcome::Done)
}

/// Rehearses a policy as a server would that is started with it.
pub(super) async fn rehearse(candidate: &Candidate) -> anyhow::Result<PolicyCard> {
    let policy = choose(&candidate.policy, &candidate.settings)?;
    let rehearsed = SecretCache::builder().policy(policy).rehearse().await;
    rehearsed.with_context(|| format!("the policy {:?} cannot be used", candidate.policy))
}

/// Returns the card as JSON, with a unit in every name that needs one.
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
            Measure::Range(Range { min, max, .. }) => {
                (format!("{name}_s"), json!({ "min": min.as_secs_f64(), "max": max.as_secs_f64() }))
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
