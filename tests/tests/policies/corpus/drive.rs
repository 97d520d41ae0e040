//! The steps of each case, and the checks against its row and against the rules that have no row.
//!
//! A step is one call of the cache. It is written down as one letter, so that a row stays short.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use leasehold::{
    BuildError, DatabaseError, Error, Policy, Secret, SecretCache, Stats, Status, SwapError, WorkspaceId,
};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::hostile;
use leasehold_tests::scripted::{Fault, Gate};

use super::table::{Case, Verdict};
use super::watch::{Log, Watched};

/// The workspace that is read and issued under the hostile policy.
const W: &str = "w";
/// Its neighbour, whose entry was cached before.
const N: &str = "n";
/// A workspace whose secret is NULL.
const H: &str = "h";
/// A workspace that has no row, and then one.
const LATE: &str = "late";

const MAX_KEEP: Duration = Duration::from_secs(24 * 3600);
const MAX_ABSENT: Duration = Duration::from_secs(30);

struct Drive {
    cache: SecretCache,
    watched: Watched,
    /// The steps so far, a letter for each.
    steps: String,
    /// Every text that was shown.
    shown: String,
    /// Violations of what no row may change.
    wrong: String,
}

fn id(workspace: &str) -> WorkspaceId {
    WorkspaceId::new(workspace).expect("a usable id")
}

/// Returns the default policy, compiled once for all cases: clones share the code.
fn ttl() -> Policy {
    static TTL: LazyLock<Policy> = LazyLock::new(|| Policy::from_bytes(leasehold_policies::TTL));
    TTL.clone()
}

/// Holds one case against its row.
pub(super) async fn drive(case: &Case) -> Result<(), String> {
    let log = Log::default();
    let _collecting = log.collect();
    let mut drive = Drive::new().await;
    let policy = case.policy(&drive.watched.0.marker);
    drive.show(&policy);
    let came_to = match drive.cache.swap(policy.clone()).await {
        Ok(report) => {
            drive.show(&report);
            if drive.watched.0.look("after the swap") == 0 {
                drive.wrong("no memory with the marker was found");
            }
            let stats = drive.under_the_hostile_policy().await;
            Verdict::Serves(drive.steps.clone().leak(), stats, "")
        }
        Err(error) => {
            drive.show(&error);
            drive.refused_at_start(policy, &error).await;
            Verdict::Refused(error.stage, error.reason.leak())
        }
    };
    drive.back_to_the_default_policy().await;
    drive.nothing_was_shown(&log.text());
    if !came_to.fits(&case.verdict, &log.text()) {
        drive.wrong(&format!("expected {:?}\n     got {came_to:?}", case.verdict));
        // The first fault, by its end: the cause comes after the backtrace.
        let log = log.text();
        let fault = log.split("fault=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
        drive.wrong(&fault[fault.floor_char_boundary(fault.len().saturating_sub(160))..]);
    }
    if drive.wrong.is_empty() { Ok(()) } else { Err(format!("{}:\n{}", case.name, drive.wrong)) }
}

impl Drive {
    /// Creates a cache under the default policy, with the neighbour's entry in it.
    async fn new() -> Self {
        let watched = Watched::new();
        watched.0.store(W, "canary-of-w-1f0c5b7a9e3d");
        watched.0.store(N, "canary-of-n-84d2e6f1a0b9");
        watched.0.database.store(H, None);
        let builder = hostile::builder().database(watched.clone()).clock(watched.clone());
        // A slow machine is not to make a case end otherwise. Nor is the breaker what is tested.
        let builder = builder.database_timeout(MAX_WAIT).breaker(u32::MAX, MAX_WAIT);
        let cache = builder.policy(ttl()).build().await.expect("the default policy is good");
        let mut drive =
            Self { cache, watched, steps: String::new(), shown: String::new(), wrong: String::new() };
        drive.read(N).await;
        drive.steps.clear();
        drive
    }

    async fn under_the_hostile_policy(&mut self) -> [u64; 5] {
        let watch = Arc::clone(&self.watched.0);
        let before = self.cache.stats();
        self.read(LATE).await;
        for workspace in [W, W] {
            self.read(workspace).await;
        }
        self.issue(W).await;
        self.read(W).await;
        watch.database.fault(Some(Fault::Fails(DatabaseError::Unavailable("refused".into()))));
        self.read(W).await;
        watch.database.fault(None);
        self.heal(H).await;
        self.read(H).await;
        self.read(N).await;
        // Another process writes, and the ceilings pass.
        watch.store(LATE, "canary-of-late-6b21c3d4e5f6");
        watch.clock.advance(MAX_ABSENT);
        self.read(LATE).await;
        watch.store(W, "canary-of-w-by-another-process");
        watch.clock.advance(MAX_KEEP);
        self.read(W).await;
        let after = self.cache.stats();
        if self.cache.policy().faults != after.policy_faults - before.policy_faults {
            self.wrong("the policy's own count of faults is another one");
        }
        self.an_issue_while_a_read_waits().await;
        let since = |count: fn(&Stats) -> u64| count(&after) - count(&before);
        [
            since(|s| s.policy_calls),
            since(|s| s.policy_faults),
            since(|s| s.selects),
            since(|s| s.issues),
            after.entries,
        ]
    }

    /// Reads with a SELECT that has been answered with a secret that is then replaced: nothing of it may be
    /// served afterwards.
    async fn an_issue_while_a_read_waits(&mut self) {
        let database = self.watched.0.database.clone();
        self.watched.0.clock.advance(MAX_KEEP);
        let arrived = database.arrived();
        database.close(Gate::AfterSelect);
        let cache = self.cache.clone();
        let reading = tokio::spawn(async move { cache.read(&id(W)).await.map(drop) });
        database.arrivals(arrived + 1).await;
        let cache = self.cache.clone();
        let issuing = tokio::spawn(async move { cache.issue(&id(W)).await.map(drop) });
        // Some issues ask the database first, and then wait at the same gate.
        while !issuing.is_finished() && database.arrived() == arrived + 1 {
            tokio::task::yield_now().await;
        }
        database.open(Gate::AfterSelect);
        for task in [reading, issuing] {
            if let Err(error) = task.await.expect("it ends") {
                self.wrong(&format!("while a read waited: {error}"));
            }
        }
        self.read(W).await;
    }

    /// Checks that a policy that is refused at a swap is refused at the start as well.
    async fn refused_at_start(&mut self, policy: Policy, at_swap: &SwapError) {
        let builder = hostile::builder().database(self.watched.clone()).clock(self.watched.clone());
        match builder.policy(policy).build().await {
            // The offsets in a backtrace may differ by one.
            Err(BuildError::Policy(error))
                if error.stage == at_swap.stage && cause(&error) == cause(at_swap) => {}
            other => self.wrong(&format!("at the start: {other:?}")),
        }
        if self.cache.policy().generation != 1 || self.cache.stats().swaps_refused != 1 {
            self.wrong("the refusal was not counted, or changed the generation");
        }
        self.read(N).await;
        if self.steps != "H" {
            self.wrong("the old policy does not serve on");
        }
    }

    async fn back_to_the_default_policy(&mut self) {
        self.cache.swap(ttl()).await.expect("the default policy is good");
        self.steps.clear();
        for workspace in [W, N, H] {
            for _ in 0..2 {
                let outcome = self.cache.read_or_issue(&id(workspace)).await;
                self.held(workspace, outcome.map(|lookup| lookup.secret));
            }
            self.read(workspace).await;
        }
        if self.steps != "HHH" || self.cache.policy().faults != 0 {
            self.wrong(&format!("afterwards the default policy gave {:?}", self.steps));
        }
        if self.watched.0.database.stored(N).as_deref() != Some("canary-of-n-84d2e6f1a0b9") {
            self.wrong("the neighbour's row was changed");
        }
    }

    /// Checks that nothing that was shown has a secret in it.
    fn nothing_was_shown(&mut self, log: &str) {
        let shown = format!("{:?}{:?}{:?}", self.cache, self.cache.policy(), self.cache.stats());
        self.show(&shown);
        self.watched.0.look("at the end");
        for secret in self.watched.0.hidden() {
            if self.shown.contains(&secret) || log.contains(&secret) {
                self.wrong(&format!("{secret} was shown"));
            }
        }
        for found in self.watched.0.seen().1 {
            self.wrong(&format!("in a guest's memory: {found}"));
        }
    }

    async fn read(&mut self, workspace: &str) {
        let faults = self.faults();
        let outcome = self.cache.read(&id(workspace)).await;
        self.show(&outcome);
        let faulted = self.faults() - faults;
        let letter = match &outcome {
            Ok(lookup) => letter(lookup.status),
            Err(Error::Absent) => 'a',
            Err(Error::Unavailable(_)) => 'e',
            Err(_) => '?',
        };
        // An error after a fault is the database's own, asked directly.
        let letter = if faulted > 0 { letter.to_ascii_uppercase() } else { letter };
        self.step(letter);
        if faulted != u64::from("ABE".contains(letter)) {
            self.wrong(&format!("{faulted} faults in a read that came to {outcome:?}"));
        }
        self.held(workspace, outcome.map(|lookup| lookup.secret));
    }

    async fn issue(&mut self, workspace: &str) {
        let (faults, issues) = (self.faults(), self.cache.stats().issues);
        let old = self.watched.0.database.stored(workspace);
        let outcome = self.cache.issue(&id(workspace)).await;
        self.step(if self.faults() == faults { 'I' } else { 'D' });
        self.held(workspace, outcome);
        if self.watched.0.database.stored(workspace) == old || self.cache.stats().issues != issues + 1 {
            self.wrong("an issue was not issued once");
        }
    }

    async fn heal(&mut self, workspace: &str) {
        let issues = self.cache.stats().issues;
        let outcome = self.cache.read_or_issue(&id(workspace)).await;
        self.step(match &outcome {
            Ok(lookup) if lookup.status == Status::Healed => 'I',
            Ok(lookup) if lookup.status == Status::Bypassed => 'D',
            _ => '?',
        });
        self.held(workspace, outcome.map(|lookup| lookup.secret));
        if self.cache.stats().issues != issues + 1 {
            self.wrong("a heal did not issue once");
        }
    }

    /// Checks that what is given out is what the database holds for that workspace, and that an absence is
    /// one.
    fn held(&mut self, workspace: &str, outcome: Result<Secret, Error>) {
        let stored = self.watched.0.database.stored(workspace);
        match &outcome {
            Ok(secret) if secret.expose_str() == stored.as_deref() => {}
            Err(Error::Absent) if stored.is_none() => {}
            Err(Error::Unavailable(_)) => {}
            _ => self.wrong(&format!("step {}: {workspace} came to {outcome:?}", self.steps.len())),
        }
        self.show(&outcome);
        if let Err(error) = outcome {
            self.shown.push_str(&error.to_string());
        }
        self.watched.0.look(&format!("after step {}", self.steps.len()));
    }

    fn faults(&self) -> u64 {
        self.cache.stats().policy_faults
    }

    fn step(&mut self, letter: char) {
        self.steps.push(letter);
    }

    fn show(&mut self, value: &impl std::fmt::Debug) {
        writeln!(self.shown, "{value:?}").expect("a string takes everything");
    }

    fn wrong(&mut self, what: &str) {
        writeln!(self.wrong, "    {what}").expect("a string takes everything");
    }
}

/// Returns the reason of a refusal without the backtrace.
fn cause(error: &SwapError) -> &str {
    error.reason.split(" error while executing").next().unwrap_or_default()
}

fn letter(status: Status) -> char {
    match status {
        Status::Hit => 'H',
        Status::Miss => 'M',
        Status::Stale => 'S',
        Status::Renewed => 'R',
        Status::Bypassed => 'B',
        _ => '?',
    }
}

impl Verdict {
    /// Returns whether the outcome of a case is what its row says; the words of a fault are looked for in the
    /// log.
    fn fits(&self, row: &Self, log: &str) -> bool {
        match (self, row) {
            (Self::Serves(steps, counts, _), Self::Serves(expected, expected_counts, words)) => {
                let faulted = log.lines().filter(|line| line.contains("the policy failed"));
                let explained = faulted.clone().any(|line| line.contains(words));
                steps == expected && counts == expected_counts && (counts[1] == 0 || explained)
            }
            (Self::Refused(stage, reason), Self::Refused(expected, words)) => {
                stage == expected && reason.contains(words)
            }
            _ => false,
        }
    }
}
