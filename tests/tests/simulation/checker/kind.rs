//! The allowed age of a policy's answers, by the operator's ceilings and the policy's own description.
//!
//! Ages count from when a value was obtained: when its SELECT was sent, or when its issue was answered.

use leasehold::PolicyStatus;

use super::super::plan::Plan;

/// The longest ages, in milliseconds, at which a policy's answers may be given. `None`: it gives none of that
/// sort.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// Age of an answer of the host, under the policy's lease.
    pub(crate) hit_ms: Option<u64>,
    /// Age of an answer of the policy with a kept value that it leased again.
    pub(crate) renewed_ms: Option<u64>,
    /// Age of an answer of the policy with a kept value.
    pub(crate) stale_ms: Option<u64>,
    /// Age of an answer with an absence that is stored.
    pub(crate) absent_ms: Option<u64>,
}

impl Kind {
    pub(crate) fn of(status: &PolicyStatus, plan: &Plan) -> Self {
        let setting = |name: &str| {
            status.settings.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
        };
        let none = Self { hit_ms: None, renewed_ms: None, stale_ms: None, absent_ms: None };
        if status.name == "ttl" {
            let ttl_ms = milliseconds(setting("ttl"));
            let leased_ms = Some(ttl_ms.min(plan.max_fresh_ms));
            // Where ttl is longer than the ceiling, a kept value can be young enough for the policy and too
            // old to lease.
            let kept_ms = (ttl_ms > plan.max_fresh_ms).then_some(ttl_ms.min(plan.max_keep_ms));
            return Self { hit_ms: leased_ms, renewed_ms: leased_ms, stale_ms: kept_ms, ..none };
        }
        match setting("does") {
            "leases-for-ever" => Self { hit_ms: Some(plan.max_fresh_ms), ..none },
            // The second of them answers with what another policy has stored.
            "puts-absence-over-a-secret" | "says-absent-without-asking" => {
                Self { absent_ms: Some(plan.max_absent_ms), ..none }
            }
            "caches-absence-for-ever" => {
                Self { hit_ms: Some(plan.max_fresh_ms), absent_ms: Some(plan.max_absent_ms), ..none }
            }
            "refreshes-ahead" => Self { hit_ms: Some(plan.max_fresh_ms.min(120_000)), ..none },
            "refreshes-soon" => Self { hit_ms: Some(plan.max_fresh_ms.min(2_000)), ..none },
            "keeps-for-ever" => Self { stale_ms: Some(plan.max_keep_ms), ..none },
            _ => none,
        }
    }

    /// Returns the ages of a policy of which only the ceilings are known.
    pub(crate) fn unknown(plan: &Plan) -> Self {
        Self {
            hit_ms: Some(plan.max_fresh_ms),
            renewed_ms: Some(plan.max_fresh_ms),
            stale_ms: Some(plan.max_keep_ms),
            absent_ms: Some(plan.max_absent_ms),
        }
    }
}

fn milliseconds(text: &str) -> u64 {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => panic!("a run sets durations of one unit, got {text:?}"),
    };
    number.parse::<u64>().expect("a number") * scale
}
