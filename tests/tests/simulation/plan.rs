//! The decisions of a seed before anything runs: how many keys and clients, how bad the database is, what the
//! operator set.
//!
//! A run leaves out some kinds of operation altogether: two things that rarely meet in a mixture of
//! everything meet often in a run that has little else.

use std::time::Duration;

use leasehold::Policy;

use super::rng::Rng;

/// Rules that a policy of `tests/hostile` is set to break. None spins: processor time is real time, and no
/// seed decides it.
pub(crate) const HOSTILE: &[&str] = &[
    "nothing",
    "traps",
    "traps-after-put",
    "traps-without-a-row",
    "leaks-a-handle",
    "says-absent-without-asking",
    "puts-absence-over-a-secret",
    "caches-absence-for-ever",
    "leases-for-ever",
    "leases-the-past",
    "keeps-for-ever",
    "refreshes-ahead",
    "refreshes-soon",
    "traps-after-issue",
    "issues-twice",
    "hides-the-issue",
    "never-issues",
];

/// Number of SELECTs that may be in flight at once so that none waits: as many as there can ever be in a run,
/// and more.
const PLACES_FOR_ALL: usize = 12;

/// The operations of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Read,
    Get,
    With,
    Verify,
    Issue,
    ReadOrIssue,
    Remove,
    Delete,
    Reset,
    Swap,
    Rollback,
}

const VERBS: &[(u64, Verb)] = &[
    (34, Verb::Read),
    (8, Verb::Get),
    (4, Verb::With),
    (6, Verb::Verify),
    (14, Verb::Issue),
    (12, Verb::ReadOrIssue),
    (4, Verb::Remove),
    (2, Verb::Delete),
    (2, Verb::Reset),
    (6, Verb::Swap),
    (2, Verb::Rollback),
];

/// The rate of failures, in percent of statements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) slow: u64,
    pub(crate) faulty: u64,
}

/// A run, as the seed has it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) keys: u64,
    pub(crate) clients: u64,
    /// Number of operations of each client.
    pub(crate) operations: u64,
    /// Number of events behind the cache's back.
    pub(crate) incidents: u64,
    pub(crate) verbs: Vec<(u64, Verb)>,
    pub(crate) weather: Weather,
    /// True if policies of `tests/hostile` are swapped in.
    pub(crate) hostile: bool,
    pub(crate) timeout_ms: u64,
    pub(crate) max_fresh_ms: u64,
    pub(crate) max_keep_ms: u64,
    pub(crate) max_absent_ms: u64,
    /// The first policy's settings.
    pub(crate) settings: (&'static str, &'static str),
    /// Maximum number of rows that one SELECT reads.
    pub(crate) batch_size: usize,
    /// Maximum number of SELECTs that are in flight at once.
    pub(crate) max_selects: usize,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut verbs = VERBS.to_vec();
        verbs.retain(|(_, verb)| *verb == Verb::Read || !rng.percent(20));
        let (max_fresh_ms, max_keep_ms, max_absent_ms) = *rng.pick(&[
            (3_600_000, 86_400_000, 30_000),
            (3_600_000, 86_400_000, 30_000),
            (20_000, 60_000, 5_000),
            (4_000, 12_000, 1_000),
            (1_500, 1_500, 400),
        ]);
        Self {
            keys: 1 + rng.below(4),
            clients: 2 + rng.below(4),
            operations: 10 + rng.below(22),
            incidents: 4 + rng.below(20),
            verbs,
            weather: *rng.pick(&[
                Weather { slow: 5, faulty: 2 },
                Weather { slow: 20, faulty: 12 },
                Weather { slow: 45, faulty: 30 },
            ]),
            hostile: rng.percent(50),
            timeout_ms: *rng.pick(&[1_000, 1_000, 300]),
            max_fresh_ms,
            max_keep_ms,
            max_absent_ms,
            settings: settings(rng),
            batch_size: *rng.pick(&[1, 3, 8, 8]),
            max_selects: *rng.pick(&[PLACES_FOR_ALL, PLACES_FOR_ALL, 2, 1]),
        }
    }

    /// Returns how long a client waits before its next operation: mostly so little that everything happens at
    /// once.
    pub(crate) fn think_ms(rng: &mut Rng) -> u64 {
        let bound = rng.weighted(&[(70, 25), (18, 400), (10, 3_000), (2, 30_000)]);
        rng.below(bound)
    }

    /// Returns a policy to be swapped in.
    pub(crate) fn policy(&self, rng: &mut Rng, ttl: &Policy, hostile: &Policy) -> Policy {
        if self.hostile && rng.percent(60) {
            return hostile.clone().setting("does", *rng.pick(HOSTILE));
        }
        let (span, jitter) = settings(rng);
        ttl.clone().setting("ttl", span).setting("jitter", jitter)
    }

    /// Returns how long a SELECT may have waited for its turn when it is sent. With permits for all keys it
    /// waits for others of its batch alone, as long as `LINGER` in
    /// `host/cache/src/statements/batcher/queue.rs`.
    pub(crate) fn queued_ms(&self) -> u64 {
        match (self.max_selects, self.batch_size) {
            (PLACES_FOR_ALL.., 1) => 0,
            (PLACES_FOR_ALL.., _) => 10,
            _ => self.timeout_ms,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Draws `ttl` and `jitter`.
fn settings(rng: &mut Rng) -> (&'static str, &'static str) {
    *rng.pick(&[
        ("5m", "0s"),
        ("1m", "0s"),
        ("1m", "30s"),
        ("10s", "0s"),
        ("3s", "0s"),
        ("3s", "2s"),
        ("1s", "0s"),
        ("200ms", "0s"),
    ])
}
