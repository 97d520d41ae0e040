//! Changes of the policy as JSON: the same in answers and in the record that is kept.

use std::time::SystemTime;

use leasehold::SwapRecord;
use serde_json::{Map, Value, json};

/// Returns a change or refusal as JSON.
pub(crate) fn change(record: &SwapRecord) -> Value {
    let mut shown = json!({
        "at": time(record.at),
        "digest": record.digest,
        "policy": record.policy,
        "settings": settings(&record.settings),
        "by": record.by,
        "cause": record.cause.as_str(),
        "reason": record.reason,
        "signed": record
            .signed
            .as_ref()
            .map(|signed| json!({ "revision": signed.revision, "key": signed.key })),
        "forced": record.forced,
    });
    if let Some(fields) = shown.as_object_mut() {
        let (name, outcome) = match &record.outcome {
            Ok(generation) => ("generation", json!(generation)),
            Err(refused) => {
                ("refused", json!({ "stage": refused.stage.as_str(), "message": refused.reason }))
            }
        };
        fields.insert(name.to_owned(), outcome);
    }
    shown
}

/// Returns settings as an object.
pub(crate) fn settings(settings: &[(String, String)]) -> Map<String, Value> {
    settings.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// Formats a moment of the wall clock.
pub(crate) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
