//! The complete knowledge of a run: the rows, the record of what was done, the trace, and the first
//! violation.
//!
//! It sits behind one lock that is never held across an await. A task that acts records it here in the same
//! step, so that the order of `seq` is the order in which things happened.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use leasehold::Secret;

use super::checker::{Kind, Record};
use super::plan::Plan;
use super::rng::Rng;
use super::row::{Content, Moment, Row};
use super::time::Time;

/// The actor of an event. Events of one millisecond are listed in this order: within it, tasks that were
/// woken together may run in any order, and none of them can detect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    Cache,
    Database(usize),
    Outside,
    Client(u64),
}

/// The first rule that was broken, in words.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) story: String,
}

pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) plan: Plan,
    pub(crate) rows: Vec<Row>,
    pub(crate) commits: Vec<(usize, Content)>,
    /// Number of failovers: a statement that was sent before one may not survive it.
    pub(crate) failovers: u64,
    pub(crate) unreachable_until_ms: u64,
    /// Number of statements that the database carries out although it has lost their client: tasks of its
    /// own.
    pub(crate) lingering: u64,
    /// Swaps and rollbacks, from their start to their end.
    pub(crate) swaps: Vec<(Moment, Moment)>,
    /// Moments at which another policy was noticed to be active, by any cause.
    pub(crate) changes: Vec<Moment>,
    pub(crate) suspensions: Vec<Moment>,
    pub(crate) generation: u64,
    pub(crate) kinds: BTreeMap<u64, Kind>,
    pub(crate) history: Vec<Record>,
    pub(crate) violation: Option<Violation>,
    /// SELECTs that ran beside another one without a reason that is known yet, with the generation of that
    /// moment.
    pub(crate) suspects: Vec<(u64, String)>,
    pub(crate) tally: BTreeMap<&'static str, u64>,
    trace: Vec<(u64, Actor, String)>,
    secrets: HashMap<String, (usize, u32)>,
    seq: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, rng: &Rng, time: Time) -> Self {
        let rows = (0..plan.keys).map(|key| Row::new(rng.fork(1_000 + key))).collect();
        Self {
            time,
            plan,
            rows,
            commits: Vec::new(),
            failovers: 0,
            unreachable_until_ms: 0,
            lingering: 0,
            swaps: Vec::new(),
            changes: Vec::new(),
            suspensions: Vec::new(),
            generation: 0,
            kinds: BTreeMap::new(),
            history: Vec::new(),
            violation: None,
            suspects: Vec::new(),
            tally: BTreeMap::new(),
            trace: Vec::new(),
            secrets: HashMap::new(),
            seq: 0,
        }
    }

    /// Returns the next moment.
    pub(crate) fn moment(&mut self) -> Moment {
        self.seq += 1;
        Moment { seq: self.seq, ms: self.time.ms() }
    }

    pub(crate) fn note(&mut self, actor: Actor, text: String) {
        self.trace.push((self.time.ms(), actor, text));
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub(crate) fn violate(&mut self, rule: &'static str, story: String) {
        if self.violation.is_none() {
            self.note(Actor::Cache, format!("VIOLATION of \"{rule}\": {story}"));
            self.violation = Some(Violation { rule, story });
        }
    }

    /// Changes a row and remembers how it was, for a failover to bring back.
    pub(crate) fn commit(&mut self, key: usize, content: Content) -> Moment {
        let before = self.rows[key].content;
        self.commits.push((key, before));
        self.set(key, content)
    }

    /// Commits a secret that no row has held before.
    pub(crate) fn commit_secret(&mut self, key: usize, text: &str) -> (Moment, u32) {
        let row = &mut self.rows[key];
        row.versions += 1;
        row.texts.push(text.to_owned());
        let version = row.versions;
        self.secrets.insert(text.to_owned(), (key, version));
        (self.commit(key, Content::Secret(version)), version)
    }

    /// Loses the last commits, as a standby does that had not received them yet.
    pub(crate) fn fail_over(&mut self, lost: u64) {
        self.failovers += 1;
        for _ in 0..lost {
            let Some((key, before)) = self.commits.pop() else { break };
            self.count("commits lost in a failover");
            self.set(key, before);
            self.note(Actor::Database(key), format!("w{key} is {before:?} again"));
        }
    }

    /// Returns which secret this is: its row, and its number.
    pub(crate) fn identify(&self, secret: &Secret) -> Option<(usize, u32)> {
        self.secrets.get(secret.expose_str()?).copied()
    }

    /// Returns the trace in the order that is the same for the same seed.
    pub(crate) fn trace(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.trace.iter().collect();
        lines.sort_by_key(|(ms, actor, _)| (*ms, *actor));
        lines.into_iter().map(render).collect()
    }

    /// Returns the last lines of the trace up to the violation, in the order in which they were written.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let end = self.trace.iter().position(|(.., text)| text.starts_with("VIOLATION"));
        let end = end.map_or(self.trace.len(), |index| index + 1);
        self.trace[end.saturating_sub(lines)..end].iter().fold(String::new(), |mut tail, line| {
            let _ = writeln!(tail, "{}", render(line));
            tail
        })
    }

    fn set(&mut self, key: usize, content: Content) -> Moment {
        let moment = self.moment();
        let row = &mut self.rows[key];
        row.content = content;
        row.spans.push((moment, content));
        moment
    }
}

fn render((ms, actor, text): &(u64, Actor, String)) -> String {
    let actor = match actor {
        Actor::Cache => "cache".to_owned(),
        Actor::Database(key) => format!("db w{key}"),
        Actor::Outside => "outside".to_owned(),
        Actor::Client(client) => format!("client {client}"),
    };
    format!("{:>6}.{:03} s  {actor:<8}  {text}", ms / 1000, ms % 1000)
}
