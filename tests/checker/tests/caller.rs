//! A task that calls the cache at random, drops half of the futures that it has to wait for, and notes what
//! it was answered.

use std::sync::Arc;

use leasehold::{Error, Lookup, Status};
use leasehold_checker::{Content, Did, ValueId};
use tokio::sync::mpsc::Sender;

use crate::patience::{Ended, Patience};
use crate::policies::SETTINGS;
use crate::slow::LOST;
use crate::transactions::End;
use crate::world::{Log, WORKSPACES, World, content, text, value};
use crate::writer::Write;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Get,
    With,
    Read,
    ReadWith,
    GetMany,
    Verify,
    Issue,
    IssueIn,
    ReadOrIssue,
    Remove,
    Reset,
    Swap,
    Update,
    Clear,
    Delete,
    Insert,
}

/// The kinds of operation, their names and how many there are of each in a thousand.
const KINDS: [(Kind, &str, u32); 16] = [
    (Kind::Get, "get", 110),
    (Kind::With, "with", 80),
    (Kind::Read, "read", 210),
    (Kind::ReadWith, "read_with", 80),
    (Kind::GetMany, "get_many", 20),
    (Kind::Verify, "verify", 120),
    (Kind::Issue, "issue", 90),
    (Kind::IssueIn, "issue_in", 20),
    (Kind::ReadOrIssue, "read_or_issue", 80),
    (Kind::Remove, "remove", 40),
    (Kind::Reset, "reset", 1),
    (Kind::Swap, "swap", 2),
    (Kind::Update, "update", 110),
    (Kind::Clear, "clear", 15),
    (Kind::Delete, "delete", 10),
    (Kind::Insert, "insert", 12),
];

/// Number of answered reads of which one is remembered: most are of a value that was issued or written, which
/// is remembered.
const ANSWERS_PER_MEMORY: u32 = 8;

/// Number of calls of which one holds its thread up, and the time for which it does.
const CALLS_PER_HOLD_UP: u32 = 16;
const LONGEST_HOLD_UP_NANOS: u64 = 300_000;

/// Number of calls of which one cuts a connection.
const CALLS_PER_CUT: u32 = 400;

/// Disturbances of the database by others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The writer also removes values instead of only changing them. A cache that reads back what it has
    /// written, and finds that it is gone, does not know the outcome of its issue.
    pub(crate) clears: bool,
    /// Connections are cut.
    pub(crate) cuts: bool,
}

pub(crate) struct Caller {
    pub(crate) world: Arc<World>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) writes: Sender<Write>,
    pub(crate) log: Log,
    pub(crate) weather: Weather,
}

impl Caller {
    pub(crate) async fn run(mut self) -> Log {
        while self.world.claim() {
            self.act().await;
            self.hold_up();
            // Hits never wait, and other tasks have their turn.
            tokio::task::consume_budget().await;
        }
        self.log
    }

    async fn act(&mut self) {
        if self.weather.cuts && self.rng.u32(..CALLS_PER_CUT) == 0 {
            self.write(Write::Cut).await;
        }
        let (kind, name) = self.draw_kind();
        *self.log.tally.kinds.entry(name).or_default() += 1;
        let workspace = World::draw_workspace(&mut self.rng);
        match kind {
            Kind::Get => self.get(workspace),
            Kind::With => self.with(workspace),
            Kind::Read => self.read(workspace).await,
            Kind::ReadWith => self.read_with(workspace).await,
            Kind::GetMany => self.get_many().await,
            Kind::Verify => self.verify(workspace).await,
            Kind::Issue => self.issue(workspace).await,
            Kind::IssueIn => self.issue_in(workspace).await,
            Kind::ReadOrIssue => self.read_or_issue(workspace).await,
            Kind::Remove => self.remove(workspace),
            Kind::Reset => self.reset(),
            Kind::Swap => self.swap().await,
            Kind::Update => self.write(Write::Update(workspace)).await,
            Kind::Clear | Kind::Delete if !self.weather.clears => self.write(Write::Update(workspace)).await,
            Kind::Clear => self.write(Write::Clear(workspace)).await,
            Kind::Delete => self.write(Write::Delete(workspace)).await,
            Kind::Insert => self.write(Write::Insert(workspace)).await,
        }
    }

    /// Now and then keeps its thread from everything else that waits for it, the cache's own tasks among
    /// them: between two steps of one task other tasks take theirs.
    fn hold_up(&mut self) {
        if self.rng.u32(..CALLS_PER_HOLD_UP) == 0 {
            let until = self.world.now() + self.rng.u64(..LONGEST_HOLD_UP_NANOS);
            while self.world.now() < until {
                std::hint::spin_loop();
            }
        }
    }

    fn draw_kind(&mut self) -> (Kind, &'static str) {
        let total: u32 = KINDS.iter().map(|(_, _, weight)| *weight).sum();
        let mut left = self.rng.u32(..total);
        for (kind, name, weight) in KINDS {
            match left.checked_sub(weight) {
                None => return (kind, name),
                Some(less) => left = less,
            }
        }
        unreachable!("the weights add up to their sum")
    }

    fn get(&mut self, workspace: usize) {
        let start = self.world.now();
        let secret = self.world.cache.get(&self.world.ids[workspace]);
        let span = (start, self.world.now());
        if let Some(secret) = secret {
            self.answered(workspace, span, text(&secret));
        }
    }

    fn with(&mut self, workspace: usize) {
        let start = self.world.now();
        let found = self.world.cache.with(&self.world.ids[workspace], content);
        let span = (start, self.world.now());
        if let Some(content) = found {
            self.log.note(workspace, span, Did::Answered(content));
        }
    }

    async fn read(&mut self, workspace: usize) {
        let world = Arc::clone(&self.world);
        let Some((outcome, span)) = self.wait_for(world.cache.read(&world.ids[workspace])).await else {
            return;
        };
        self.looked_up(workspace, span, outcome);
    }

    async fn read_with(&mut self, workspace: usize) {
        let world = Arc::clone(&self.world);
        let read = world.cache.read_with(&world.ids[workspace], content);
        let Some((outcome, span)) = self.wait_for(read).await else { return };
        match outcome {
            Ok(content) => self.log.note(workspace, span, Did::Answered(content)),
            Err(error) => self.failed(workspace, span, &error),
        }
    }

    async fn get_many(&mut self) {
        let world = Arc::clone(&self.world);
        let workspaces: Vec<usize> =
            (0..self.rng.usize(2..12)).map(|_| World::draw_workspace(&mut self.rng)).collect();
        let ids: Vec<_> = workspaces.iter().map(|workspace| world.ids[*workspace].clone()).collect();
        let Some((answers, span)) = self.wait_for(world.cache.get_many(&ids)).await else { return };
        assert_eq!(answers.len(), ids.len(), "one answer for each");
        for (workspace, outcome) in workspaces.into_iter().zip(answers) {
            self.looked_up(workspace, span, outcome);
        }
    }

    async fn verify(&mut self, workspace: usize) {
        let world = Arc::clone(&self.world);
        // Now and then another workspace's.
        let owner = if self.rng.u32(..10) == 0 { self.rng.usize(..WORKSPACES) } else { workspace };
        let presented = world.recall(owner, &mut self.rng).unwrap_or_else(|| "never a key".into());
        let verify = world.cache.verify(&world.ids[workspace], presented.as_bytes());
        let Some((outcome, span)) = self.wait_for(verify).await else { return };
        match outcome {
            Ok(matches) => {
                self.log.tally.count(if matches { "verified" } else { "refused" });
                self.log.note(workspace, span, Did::Verified(ValueId::of(&presented), matches));
            }
            Err(error) => self.failed(workspace, span, &error),
        }
    }

    async fn issue(&mut self, workspace: usize) {
        let world = Arc::clone(&self.world);
        let Some((outcome, span)) = self.wait_for(world.cache.issue(&world.ids[workspace])).await else {
            return;
        };
        match outcome {
            Ok(secret) => {
                self.log.note(workspace, span, Did::Issued(value(&secret)));
                self.world.remember(workspace, text(&secret));
            }
            Err(error) => {
                // The entry is gone, as by a removal: at the latest when the answer was lost.
                if let Error::OutcomeUnknown(reason) = &error {
                    let lost = world.losses.first_from(workspace, span.0).filter(|_| reason.contains(LOST));
                    self.log.note(workspace, (lost.unwrap_or(span.0).min(span.1), span.1), Did::Removed);
                }
                self.failed(workspace, span, &error);
            }
        }
    }

    async fn issue_in(&mut self, workspace: usize) {
        let world = Arc::clone(&self.world);
        let end =
            self.rng.choice([End::Commit, End::Commit, End::Rollback, End::Drop]).expect("there are some");
        let issue = world.transactions.issue(&world.cache, &world.ids[workspace], end);
        let Some((outcome, span)) = self.wait_for(issue).await else { return };
        match outcome {
            Ok(Some(issued)) => {
                self.log.tally.count("committed");
                self.log.note(workspace, span, Did::Issued(issued));
            }
            Ok(None) => {}
            Err(error) => {
                if matches!(error, Error::OutcomeUnknown(_)) {
                    self.log.note(workspace, span, Did::Removed);
                }
                self.failed(workspace, span, &error);
            }
        }
    }

    async fn read_or_issue(&mut self, workspace: usize) {
        let world = Arc::clone(&self.world);
        let read = world.cache.read_or_issue(&world.ids[workspace]);
        let Some((outcome, span)) = self.wait_for(read).await else { return };
        match outcome {
            Ok(Lookup { status: Status::Healed, ref secret, .. }) => {
                self.log.note(workspace, span, Did::Healed(value(secret)));
            }
            outcome => self.looked_up(workspace, span, outcome),
        }
    }

    fn remove(&mut self, workspace: usize) {
        let start = self.world.now();
        self.world.cache.remove(&self.world.ids[workspace]);
        self.log.note(workspace, (start, self.world.now()), Did::Removed);
    }

    fn reset(&mut self) {
        let start = self.world.now();
        self.world.cache.reset();
        let end = self.world.now();
        (0..WORKSPACES).for_each(|workspace| self.log.note(workspace, (start, end), Did::Removed));
    }

    async fn swap(&mut self) {
        let world = Arc::clone(&self.world);
        let operator = world.cache.on_behalf_of("checker");
        // A swap that is refused or dropped leaves the active policy, which is nothing to note.
        match self.rng.u32(..10) {
            0..6 => {
                let policy = self.rng.choice(&world.policies).expect("there are some").clone();
                self.wait_for(operator.swap(policy)).await.map(drop)
            }
            6..8 => self.wait_for(operator.rollback()).await.map(drop),
            _ => {
                let (name, value) = *self.rng.choice(&SETTINGS).expect("there are some");
                let settings = vec![(name.to_owned(), value.to_owned())];
                self.wait_for(operator.reconfigure(settings)).await.map(drop)
            }
        };
    }

    async fn write(&mut self, write: Write) {
        // The writer outlives its callers.
        self.writes.send(write).await.expect("the writer is there");
    }

    /// Returns the future's output and its span, unless the future was dropped.
    async fn wait_for<F: Future>(&mut self, future: F) -> Option<(F::Output, (u64, u64))> {
        self.log.tally.futures += 1;
        let patience = Patience::draw(&mut self.rng);
        let start = self.world.now();
        let ended = patience.wait_for(future).await;
        let end = self.world.now();
        let tally = &mut self.log.tally;
        let (answer, has_waited) = match ended {
            Ended::Answered(output, has_waited) => (Some((output, (start, end))), has_waited),
            Ended::Dropped => {
                tally.dropped += 1;
                (None, true)
            }
            Ended::Unbegun => {
                tally.unbegun += 1;
                (None, false)
            }
        };
        tally.waited += u64::from(has_waited);
        answer
    }

    fn looked_up(&mut self, workspace: usize, span: (u64, u64), outcome: Result<Lookup, Error>) {
        match outcome {
            Ok(lookup) => self.answered(workspace, span, text(&lookup.secret)),
            Err(error) => self.failed(workspace, span, &error),
        }
    }

    fn answered(&mut self, workspace: usize, span: (u64, u64), text: &str) {
        self.log.note(workspace, span, Did::Answered(Content::Value(ValueId::of(text))));
        if self.rng.u32(..ANSWERS_PER_MEMORY) == 0 {
            self.world.remember(workspace, text);
        }
    }

    fn failed(&mut self, workspace: usize, span: (u64, u64), error: &Error) {
        let what = match error {
            Error::Absent => return self.log.note(workspace, span, Did::Answered(Content::Absent)),
            Error::UnknownWorkspace => "error: UnknownWorkspace",
            Error::Unavailable(_) => "error: Unavailable",
            Error::Refused(_) => "error: Refused",
            Error::Timeout => "error: Timeout",
            Error::OutcomeUnknown(_) => "error: OutcomeUnknown",
            Error::Overloaded => "error: Overloaded",
            error => panic!("no reason for this error: {error:?}"),
        };
        self.log.tally.count(what);
    }
}
