//! A row of the scripted database, with everything that ever happened to it.
//!
//! It is the ground truth that answers are held against: which secret was stored from when until when, which
//! statements were sent and what they saw. It knows the contract of an issue (when a cache must have given up
//! on one), and nothing of how the cache keeps it.

use super::rng::Rng;

/// Time for which the cache waits for an issue that is late, and further time where the connection was lost.
/// The contract is in `host/cache/src/statements/sent_issue.rs`.
const ISSUE_LIMIT_MS: u64 = 60_000;
const LOST_LIMIT_MS: u64 = 35_000;

/// A point of a run: no two are the same. Tasks that run in the same millisecond are distinguished by `seq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) seq: u64,
    pub(crate) ms: u64,
}

/// A bound: something must have been so after a point, or in or after a millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    pub(crate) seq: u64,
    pub(crate) ms: u64,
}

impl Floor {
    pub(crate) fn rise_to(&mut self, seq: u64, ms: u64) {
        (self.seq, self.ms) = (self.seq.max(seq), self.ms.max(ms));
    }

    pub(crate) fn is_below(self, moment: Moment) -> bool {
        self.seq < moment.seq && self.ms <= moment.ms
    }
}

/// The content of a row. Secrets are numbered in the order of their commits: minted ones are never the same
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    NoRow,
    Null,
    Empty,
    Secret(u32),
}

/// The end of a statement, as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The answer with this secret.
    Secret(u32),
    /// The answer of a SELECT that found none.
    Absent,
    /// A refusal; nothing was changed.
    Refused(&'static str),
    /// An outcome that cannot be known.
    Unknown(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub(crate) sent: Moment,
    pub(crate) answer: Option<(Moment, Ended)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Issue {
    pub(crate) heals: bool,
    pub(crate) sent: Moment,
    /// The moment at which it took effect, with what the row held from then on; whether it was the issue that
    /// stored it.
    pub(crate) effect: Option<(Moment, u32)>,
    pub(crate) minted: bool,
    pub(crate) answer: Option<(Moment, Ended)>,
}

pub(crate) struct Row {
    pub(crate) rng: Rng,
    pub(crate) content: Content,
    pub(crate) spans: Vec<(Moment, Content)>,
    pub(crate) versions: u32,
    pub(crate) texts: Vec<String>,
    pub(crate) selects: Vec<Select>,
    pub(crate) issues: Vec<Issue>,
    /// Removals and resets.
    pub(crate) voids: Vec<Moment>,
    /// The moment since when the latest secret is stored that any caller has been handed.
    pub(crate) shown_seq: u64,
    /// The floor after which a secret must have been stored that a read that starts now returns.
    pub(crate) floor: Floor,
    /// The floor after which a SELECT must have been sent that answers a read that starts now.
    pub(crate) fresh: Floor,
}

impl Row {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            content: Content::NoRow,
            spans: vec![(Moment::default(), Content::NoRow)],
            versions: 0,
            texts: Vec::new(),
            selects: Vec::new(),
            issues: Vec::new(),
            voids: Vec::new(),
            shown_seq: 0,
            floor: Floor::default(),
            fresh: Floor::default(),
        }
    }

    /// Returns when this content was stored for the first time.
    pub(crate) fn first_held(&self, content: Content) -> Option<Moment> {
        self.spans.iter().find(|(_, held)| *held == content).map(|(since, _)| *since)
    }

    /// Returns when this content was last stored, up to now; `None` is never.
    pub(crate) fn last_held(&self, content: Content) -> Option<Moment> {
        let index = self.spans.iter().rposition(|(_, held)| *held == content)?;
        Some(self.spans.get(index + 1).map_or(Moment { seq: u64::MAX, ms: u64::MAX }, |(next, _)| *next))
    }

    /// Returns the floors of a read of the cache that starts at `start`.
    pub(crate) fn floors(&self, start: Moment, timeout_ms: u64) -> (Floor, Floor) {
        let (mut floor, mut fresh) = (self.floor, self.fresh);
        for issue in &self.issues {
            // A caller may be gone; the outcome of the statement is handled all the same, in the same
            // millisecond.
            for void_ms in issue.voids(timeout_ms).into_iter().filter(|void_ms| *void_ms < start.ms) {
                fresh.rise_to(0, void_ms);
                match (issue.is_acknowledged(timeout_ms), issue.effect) {
                    (true, Some((effect, _))) => floor.rise_to(effect.seq, 0),
                    _ => floor.rise_to(0, void_ms),
                }
            }
        }
        (floor, fresh)
    }

    /// Returns when the load that sent this SELECT may have begun: with it, or, since a policy that fails
    /// costs a further SELECT of the same load, with one that ended in the millisecond in which this one was
    /// sent or began to wait for its turn.
    pub(crate) fn load_may_have_begun(&self, select: &Select, queued_ms: u64) -> Vec<Moment> {
        let mut began = vec![select.sent];
        let mut next = 0;
        while let Some(sent) = began.get(next).copied() {
            let before = self.selects.iter().filter(|earlier| {
                earlier.answer.is_some_and(|(at, _)| at.ms + queued_ms >= sent.ms && at.seq < sent.seq)
            });
            for earlier in before {
                if !began.contains(&earlier.sent) {
                    began.push(earlier.sent);
                }
            }
            next += 1;
        }
        began
    }
}

impl Issue {
    /// Returns whether its answer reached its sender: in time, and saying what happened.
    pub(crate) fn is_acknowledged(&self, timeout_ms: u64) -> bool {
        matches!(self.answer, Some((at, Ended::Secret(_))) if at.ms <= self.sent.ms + timeout_ms)
    }

    /// Returns the milliseconds in which the entry and the loads in flight are voided because of it.
    pub(crate) fn voids(&self, timeout_ms: u64) -> Vec<u64> {
        let deadline_ms = self.sent.ms + timeout_ms;
        match self.answer {
            Some((at, Ended::Secret(_))) if at.ms <= deadline_ms => vec![at.ms],
            Some((at, Ended::Unknown(_))) if at.ms <= deadline_ms => vec![at.ms, at.ms + LOST_LIMIT_MS],
            Some((at, _)) if at.ms <= deadline_ms => Vec::new(),
            Some((at, Ended::Unknown(_))) => {
                vec![deadline_ms, at.ms.min(deadline_ms + ISSUE_LIMIT_MS) + LOST_LIMIT_MS]
            }
            Some((at, _)) if at.ms < deadline_ms + ISSUE_LIMIT_MS => vec![deadline_ms, at.ms],
            _ => vec![deadline_ms, deadline_ms + ISSUE_LIMIT_MS + LOST_LIMIT_MS],
        }
    }

    /// Returns whether the next issue must wait for this one: it has not ended, and has not been given up on.
    pub(crate) fn has_the_turn(&self, ms: u64, timeout_ms: u64) -> bool {
        self.answer.is_none() && ms < self.sent.ms + timeout_ms + ISSUE_LIMIT_MS
    }

    /// Returns whether nothing that is read may be stored in this millisecond, because this issue is in
    /// flight.
    pub(crate) fn forbids_storing_in(&self, ms: u64, timeout_ms: u64) -> bool {
        let refused_ms =
            self.answer.filter(|(_, ended)| matches!(ended, Ended::Refused(_))).map(|(at, _)| at.ms);
        let end_ms = self.voids(timeout_ms).last().copied().or(refused_ms);
        self.sent.ms < ms && end_ms.is_none_or(|end_ms| ms < end_ms)
    }
}
