//! The rules: each answer of the cache is held against what the database knows, in the step in which it is given.
//!
//! Every rule is a statement that must be true of any correct cache with these policies, whatever the order of events; each
//! says in its comment why. None looks inside the cache. A policy may change how old an answer is and what it costs, within
//! the operator's ceilings; where a rule depends on the policy it asks [`Kind`], and nowhere else.

mod kind;
mod origin;

use std::fmt;

use leasehold::{Error, Status};

use super::plan::Verb;
use super::row::{Content, Ended, Floor, Moment, Row, Select};
use super::world::{Actor, World};
pub(crate) use kind::Kind;

/// An operation that has begun, with what was known then.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) client: u64,
    pub(crate) verb: Verb,
    pub(crate) key: usize,
    pub(crate) start: Moment,
    pub(crate) generation: u64,
    /// Which secret is presented to `verify`.
    pub(crate) presented: Option<u32>,
    floor: Floor,
    fresh: Floor,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// With a secret, if it is one: whose, and which.
    Secret(Option<(usize, u32)>, Option<Status>),
    /// `verify` said no.
    Mismatch,
    /// `get` or `with` found no lease.
    Nothing,
    /// What has no answer was done.
    Done,
    Failed(Error),
    /// The caller was dropped.
    Dropped,
}

/// A line of the history.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) open: Open,
    pub(crate) end: Moment,
    /// The generation that was active at the end.
    pub(crate) generation: u64,
    pub(crate) outcome: Outcome,
}

impl Open {
    pub(crate) fn new(
        world: &mut World,
        client: u64,
        verb: Verb,
        key: usize,
        presented: Option<u32>,
    ) -> Self {
        let (start, generation) = (world.moment(), world.generation);
        let (floor, fresh) = world.rows[key].floors(start, world.plan.timeout_ms);
        Self { client, verb, key, start, generation, presented, floor, fresh }
    }
}

/// Ends an operation: checks what it was told, and what it promises to those that begin later.
pub(crate) fn close(world: &mut World, open: Open, outcome: Outcome) {
    let end = world.moment();
    let record = Record { open, end, generation: world.generation, outcome };
    let Err((rule, story)) = judge(world, &record) else { return settle(world, record) };
    world.note(Actor::Client(record.open.client), record.to_string());
    world.violate(rule, format!("{record}: {story}"));
    world.history.push(record);
}

type Verdict = Result<(), (&'static str, String)>;

fn judge(world: &World, record: &Record) -> Verdict {
    in_time(world, record)?;
    match &record.outcome {
        Outcome::Secret(secret, status) => {
            let version = own_commit(record, *secret)?;
            read_your_issue(world, record, version)?;
            match (record.open.verb, status) {
                (Verb::Issue, _) => origin::of_issue(world, record, version),
                (_, Some(status)) => origin::of_read(world, record, version, *status),
                (_, None) => Ok(()),
            }
        }
        Outcome::Failed(Error::Absent) => origin::of_absence(world, record),
        Outcome::Failed(error) => explained(world, record, error),
        Outcome::Mismatch => mismatch(world, record),
        Outcome::Nothing | Outcome::Done | Outcome::Dropped => Ok(()),
    }
}

/// Whoever waits for the database waits for as long as the operator allows: a load once, an issue once more for its turn;
/// `read_or_issue` may be both. What has no await takes no time.
fn in_time(world: &World, record: &Record) -> Verdict {
    let waits = match record.open.verb {
        Verb::Read | Verb::Verify => 1,
        Verb::Issue => 2,
        Verb::ReadOrIssue => 3,
        _ => 0,
    };
    let (took, limit) = (record.end.ms - record.open.start.ms, waits * world.plan.timeout_ms);
    if took <= limit {
        Ok(())
    } else {
        Err(("every call ends in time", format!("{took} ms, and {limit} is the limit")))
    }
}

/// G3, G4: a secret that is handed out was committed, and to the row of this workspace.
fn own_commit(record: &Record, secret: Option<(usize, u32)>) -> Result<u32, (&'static str, String)> {
    match secret {
        None => Err(("nothing that no commit made", "this secret was never in the database".into())),
        Some((key, version)) if key == record.open.key => Ok(version),
        Some((key, version)) => Err(("own key only", format!("this secret is w{key}#{version}"))),
    }
}

/// G1, G3: what is returned was in the database at some moment after the last thing that made everything older
/// unreturnable, as of the start of the read. That is: an issue that was acknowledged (its own secret counts, or one that
/// was stored later, or one that a failover brought back); an issue whose outcome is unknown; a removal; a reset. Reads and
/// issues of one key are linearizable by this: between two changes that this process makes a read may be as old as its
/// lease, but it never reaches back over one.
fn read_your_issue(world: &World, record: &Record, version: u32) -> Verdict {
    let floor = record.open.floor;
    let held = world.rows[record.open.key].last_held(Content::Secret(version));
    if held.is_some_and(|until| floor.is_below(until)) {
        return Ok(());
    }
    Err((
        "read your issue",
        format!("it was gone from the database ({held:?}) before the read had to be newer ({floor:?})"),
    ))
}

/// A `verify` that says no is a read that found another secret: there must be one that it can have found.
fn mismatch(world: &World, record: &Record) -> Verdict {
    let row = &world.rows[record.open.key];
    let found = (1..=row.versions)
        .filter(|version| Some(*version) != record.open.presented)
        .filter_map(|version| row.last_held(Content::Secret(version)))
        .any(|until| record.open.floor.is_below(until));
    if found { Ok(()) } else { Err(("read your issue", "there was no other secret to find".into())) }
}

/// An error is the database's, and of a statement that was under way: a cache invents none. A read never changes
/// anything, so that nothing about it can be unknown.
fn explained(world: &World, record: &Record, error: &Error) -> Verdict {
    let row = &world.rows[record.open.key];
    let during = |answer: Option<(Moment, Ended)>, ends: &dyn Fn(Ended) -> bool| {
        answer.is_some_and(|(at, ended)| origin::within(at, record) && ends(ended))
    };
    let selects = |ends: &dyn Fn(Ended) -> bool| row.selects.iter().any(|select| during(select.answer, ends));
    let issues = |ends: &dyn Fn(Ended) -> bool| row.issues.iter().any(|issue| during(issue.answer, ends));
    let reads = record.open.verb != Verb::Issue;
    let writes = matches!(record.open.verb, Verb::Issue | Verb::ReadOrIssue);
    let unavailable =
        |ended| matches!(ended, Ended::Refused("refused" | "unreachable") | Ended::Unknown("lost"));
    // Whatever was sent, its answer is not in by the deadline: it may well come later.
    let late = |answer: Option<(Moment, Ended)>| {
        let timed_out = |(at, ended)| ended == Ended::Unknown("timeout") && origin::within(at, record);
        answer.is_none_or(|answer| timed_out(answer) || answer.0.ms >= record.end.ms)
    };
    let good = match error {
        Error::Unavailable(_) => (reads && selects(&unavailable)) || (writes && issues(&unavailable)),
        Error::Timeout => reads && row.selects.iter().any(|select| late(select.answer)),
        Error::UnknownWorkspace => writes && issues(&|ended| ended == Ended::Refused("unknown workspace")),
        Error::OutcomeUnknown(_) => {
            writes
                && row.issues.iter().any(|issue| {
                    late(issue.answer) || during(issue.answer, &|ended| matches!(ended, Ended::Unknown(_)))
                })
        }
        // The cache's own bounds may be the reason as well.
        Error::Overloaded => true,
        _ => false,
    };
    if good { Ok(()) } else { Err(("an error has a cause", "no statement ended so".into())) }
}

/// G5: one load at a time for a key, except where an issue, a removal, a reset or a swap came between the beginnings of the
/// two and made the first one's result too old to be joined, or where the first one has been given up on.
pub(crate) fn one_load(world: &mut World, key: usize, sent: &Select) {
    let (row, timeout_ms) = (&world.rows[key], world.plan.timeout_ms);
    let began = row.load_may_have_begun(sent);
    let (mut suspect, mut beside) = (None, 0);
    for (index, select) in row.selects.iter().enumerate().filter(|(_, select)| select.answer.is_none()) {
        let others = row.load_may_have_begun(select);
        let pairs = || others.iter().flat_map(|other| began.iter().map(move |began| (*other, *began)));
        let voided = |(one, other): (Moment, Moment)| {
            let (first, second) = if one.seq < other.seq { (one, other) } else { (other, one) };
            void_between(world, row, first, second)
        };
        let given_up = |(one, other): (Moment, Moment)| one.ms.abs_diff(other.ms) >= timeout_ms;
        if !pairs().any(|pair| given_up(pair) || voided(pair)) {
            suspect = Some(format!("w{key}: a SELECT is sent while number {} is under way", index + 1));
        }
        beside += u64::from(pairs().any(voided));
    }
    *world.tally.entry("loads beside one that was too old to join").or_default() += beside;
    if let Some(story) = suspect {
        // Unless the policy has changed by itself, which is not known here.
        world.suspects.push((world.generation, story));
    }
}

/// Whether anything may have made a load that began at `first` too old to be joined at `second`.
fn void_between(world: &World, row: &Row, first: Moment, second: Moment) -> bool {
    let timeout_ms = world.plan.timeout_ms;
    let between = |moment: Moment| first.seq < moment.seq && moment.seq < second.seq;
    row.voids.iter().any(|void| between(*void))
        || world.swaps.iter().any(|(_, end)| between(*end))
        // The cache notices within a second.
        || world.suspensions.iter().any(|at| at.ms + 1_000 >= first.ms && at.ms <= second.ms)
        || row.issues.iter().any(|issue| {
            let unsure = issue.answer.map(|(at, _)| at.ms).filter(|ms| *ms == issue.sent.ms + timeout_ms);
            issue.voids(timeout_ms).into_iter().chain(unsure).any(|ms| first.ms <= ms && ms <= second.ms)
        })
}

/// What an operation means for those that begin after it.
fn settle(world: &mut World, record: Record) {
    world.note(Actor::Client(record.open.client), record.to_string());
    world.count(record.label());
    let (end, timeout_ms) = (record.end, world.plan.timeout_ms);
    let row = &mut world.rows[record.open.key];
    match (record.open.verb, &record.outcome) {
        (Verb::Issue, Outcome::Secret(Some((_, version)), _))
        | (Verb::ReadOrIssue, Outcome::Secret(Some((_, version)), Some(Status::Healed))) => {
            // Its statement, or the one that was joined: the last that returned this secret.
            let statement = row.issues.iter().rfind(|issue| {
                issue.is_acknowledged(timeout_ms)
                    && issue.effect.is_some_and(|(_, stored)| stored == *version)
            });
            if let Some((at, (effect, _))) =
                statement.and_then(|issue| Some((issue.answer?.0, issue.effect?)))
            {
                row.floor.rise_to(effect.seq, 0);
                row.fresh.rise_to(at.seq, 0);
            }
        }
        (Verb::Issue | Verb::ReadOrIssue, Outcome::Failed(Error::OutcomeUnknown(_))) => {
            // Told in the millisecond of the answer, or in that of the deadline.
            row.floor.rise_to(0, end.ms);
            row.fresh.rise_to(0, end.ms);
        }
        _ => {}
    }
    world.history.push(record);
}

/// A removal, or a reset: at once, for everyone who begins later.
pub(crate) fn void(world: &mut World, key: usize) {
    let moment = world.moment();
    let row = &mut world.rows[key];
    row.voids.push(moment);
    row.floor.rise_to(moment.seq, 0);
    row.fresh.rise_to(moment.seq, 0);
}

/// A swap that has returned: loads of the older policy are joined no more.
pub(crate) fn swapped(world: &mut World, start: Moment) {
    let end = world.moment();
    world.swaps.push((start, end));
    for row in &mut world.rows {
        row.fresh.rise_to(end.seq, 0);
    }
}

/// G3, at the end of the run: each secret that a rotation committed was returned by one issue, or belongs to one that was
/// told that its outcome is unknown or whose caller was dropped. So an issue that was refused has changed nothing, and
/// none was sent twice.
pub(crate) fn claims(world: &mut World) {
    for key in 0..world.rows.len() {
        let issues = |record: &&Record| record.open.verb == Verb::Issue && record.open.key == key;
        let records: Vec<&Record> = world.history.iter().filter(issues).collect();
        let returned = |version| Outcome::Secret(Some((key, version)), None);
        let mut open: Vec<&&Record> = records
            .iter()
            .filter(|record| {
                matches!(record.outcome, Outcome::Dropped | Outcome::Failed(Error::OutcomeUnknown(_)))
            })
            .collect();
        open.sort_by_key(|record| record.open.start.seq);
        let mut orphan = None;
        for issue in world.rows[key].issues.iter().filter(|issue| !issue.heals) {
            let Some((effect, version)) = issue.effect else { continue };
            let claimed = records.iter().filter(|record| record.outcome == returned(version)).count();
            let owner = open.iter().position(|record| {
                let told = record.outcome != Outcome::Dropped;
                record.open.start.seq < issue.sent.seq && (!told || issue.sent.seq < record.end.seq)
            });
            match (claimed, owner) {
                (1, _) => {}
                (0, Some(owner)) => drop(open.remove(owner)),
                _ => {
                    orphan = Some(format!("w{key}#{version}, committed at {effect:?}, has {claimed} owners"))
                }
            }
        }
        if let Some(story) = orphan {
            world.violate("a failed issue changes nothing", story);
        }
    }
}

impl Record {
    /// What it is counted as.
    fn label(&self) -> &'static str {
        match (&self.outcome, self.open.verb) {
            (Outcome::Secret(_, Some(status)), _) => match status {
                Status::Hit => "hits",
                Status::Miss => "misses",
                Status::Renewed => "reads renewed",
                Status::Stale => "stale reads",
                Status::Healed => "heals",
                _ => "reads past a policy that failed",
            },
            (Outcome::Secret(..), Verb::Issue) => "issues acknowledged",
            (Outcome::Secret(..), _) => "secrets verified",
            (Outcome::Mismatch, _) => "secrets refused by verify",
            (Outcome::Nothing, _) => "lookups without a lease",
            (Outcome::Done, verb) => match verb {
                Verb::Swap => "swaps",
                Verb::Rollback => "rollbacks",
                Verb::Reset => "resets",
                _ => "removals",
            },
            (Outcome::Dropped, Verb::Issue) => "dropped issues",
            (Outcome::Dropped, Verb::ReadOrIssue) => "dropped heals",
            (Outcome::Dropped, _) => "dropped reads",
            (Outcome::Failed(error), _) => match error {
                Error::Absent => "reads of an absence",
                Error::UnknownWorkspace => "issues without a row",
                Error::Unavailable(_) => "errors: unavailable",
                Error::Timeout => "errors: timeout",
                Error::OutcomeUnknown(_) => "errors: outcome unknown",
                Error::Overloaded => "errors: overloaded",
                _ => "errors: internal",
            },
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, end, generation, outcome } = self;
        write!(f, "{:?} w{}", open.verb, open.key)?;
        if let Some(presented) = open.presented {
            write!(f, " presenting #{presented}")?;
        }
        write!(f, " -> ")?;
        match outcome {
            Outcome::Secret(Some((key, version)), status) => {
                write!(f, "w{key}#{version}")?;
                status.map_or(Ok(()), |status| write!(f, " ({})", status.as_str()))?;
            }
            Outcome::Secret(None, _) => f.write_str("a secret that nobody knows")?,
            Outcome::Failed(error) => write!(f, "{error}")?,
            other => write!(f, "{other:?}")?,
        }
        let (from, to) = (open.start.ms, end.ms);
        write!(f, " [{from} to {to} ms, generation {} to {generation}]", open.generation)
    }
}
