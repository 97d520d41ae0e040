//! The scripted database: every statement draws from the seed how long it takes and what becomes of it.
//!
//! It keeps the contract of `leasehold::Database`: `Timeout` and `Lost` leave it open whether an issue was
//! committed, and any other error means that nothing was changed. Everything else that a real database can do
//! to its clients it does: it is slow before or after the effect, refuses, cannot be reached, commits and
//! loses the acknowledgement, commits long after the connection was lost, and forgets commits in a failover.

use std::future::{Future as _, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use leasehold::{Answer, Answers, Database, DatabaseError, IssueMode, Secret, WorkspaceId};

use super::checker;
use super::rng::Rng;
use super::row::{Content, Ended, Issue, Select};
use super::time::Time;
use super::world::{Actor, World};

#[derive(Clone)]
pub(crate) struct SimDatabase {
    world: Arc<Mutex<World>>,
    time: Time,
    statements: Arc<AtomicU64>,
}

/// The course of one statement.
#[derive(Clone, Copy, Debug)]
struct Course {
    before_ms: u64,
    after_ms: u64,
    fate: Fate,
    survives_failover: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The statement is carried out and answered.
    Answers,
    /// The statement is refused before it changes anything.
    Refuses,
    /// The statement is refused as well, with another error.
    Overloads,
    /// The connection is lost before the statement arrives.
    LosesStatement,
    /// The statement is carried out, and the connection is lost before the answer arrives.
    LosesAnswer,
    /// The connection is lost, and the database carries it out so many milliseconds later.
    Lingers(u64),
    /// The driver gives up on an answer that would have said that it was carried out.
    TimesOut,
}

impl SimDatabase {
    pub(crate) fn new(world: Arc<Mutex<World>>, time: Time) -> Self {
        Self { world, time, statements: Arc::default() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no step panics while it holds the world")
    }

    fn send_select(&self, key: usize) -> (usize, Course, u64) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let mut world = self.world();
        let sent = world.moment();
        let select = Select { sent, answer: None };
        checker::one_load(&mut world, key, &select);
        let (weather, failovers) = (world.plan.weather, world.failovers);
        let row = &mut world.rows[key];
        let course = Course::of_select(&mut row.rng, weather.slow, weather.faulty);
        row.selects.push(select);
        let number = row.selects.len();
        world.note(Actor::Database(key), format!("select {number} is sent"));
        (number, course, failovers)
    }

    async fn select(&self, key: usize) -> Result<Option<Secret>, DatabaseError> {
        let (sent, ended) = self.carried_out(key).await;
        self.answer(sent, ended)
    }

    /// Sends a SELECT of one row, and returns how it ends once its answer arrives.
    async fn carried_out(&self, key: usize) -> (SentSelect<'_>, Ended) {
        let (number, course, failovers) = self.send_select(key);
        let sent = SentSelect { database: self, key, number };
        self.time.pass(course.before_ms).await;
        let seen = self.world().look(key, course, failovers);
        self.time.pass(course.after_ms).await;
        let ended = match (seen, course.fate) {
            (Err(ended), _) => ended,
            (Ok(_), Fate::LosesAnswer) => Ended::Unknown("lost"),
            (Ok(_), Fate::TimesOut) => Ended::Unknown("timeout"),
            (Ok(Content::Secret(version)), _) => Ended::Secret(version),
            (Ok(_), _) => Ended::Absent,
        };
        (sent, ended)
    }

    fn answer(&self, sent: SentSelect<'_>, ended: Ended) -> Result<Option<Secret>, DatabaseError> {
        let (key, number) = (sent.key, sent.number);
        let mut world = self.world();
        let at = world.moment();
        world.rows[key].selects[number - 1].answer = Some((at, ended));
        world.note(Actor::Database(key), format!("select {number} ends: {ended:?}"));
        match ended {
            Ended::Secret(version) => Ok(Some(world.rows[key].secret(version))),
            Ended::Absent => Ok(None),
            Ended::Refused(reason) | Ended::Unknown(reason) => Err(error(reason)),
        }
    }

    fn send_issue(&self, key: usize, mode: IssueMode) -> (usize, Course, u64) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let mut world = self.world();
        let sent = world.moment();
        checker::one_issue(&mut world, key, sent);
        let (weather, failovers) = (world.plan.weather, world.failovers);
        let row = &mut world.rows[key];
        let course = Course::of_issue(&mut row.rng, weather.slow, weather.faulty);
        let heals = mode == IssueMode::Heal;
        row.issues.push(Issue { heals, sent, effect: None, minted: false, answer: None });
        let number = row.issues.len();
        world.note(Actor::Database(key), format!("issue {number} ({mode:?}) is sent"));
        (number, course, failovers)
    }

    async fn issue(&self, key: usize, mode: IssueMode, minted: Secret) -> Result<Secret, DatabaseError> {
        let (number, course, failovers) = self.send_issue(key, mode);
        self.time.pass(course.before_ms).await;
        let done = match course.fate {
            Fate::Lingers(linger_ms) => {
                let database = self.clone();
                self.world().lingering += 1;
                tokio::spawn(async move {
                    database.time.pass(linger_ms).await;
                    let mut world = database.world();
                    world.count("commits after the connection was lost");
                    // No task is left that waits for the result.
                    let _ = world.carry_out(key, number, mode, &minted, course, failovers);
                    world.lingering -= 1;
                });
                Err(Ended::Unknown("lost"))
            }
            _ => self.world().carry_out(key, number, mode, &minted, course, failovers),
        };
        self.time.pass(course.after_ms).await;
        let mut world = self.world();
        let ended = match (done, course.fate) {
            (Err(ended), _) => ended,
            (Ok(_), Fate::LosesAnswer) => {
                world.count("acknowledgements lost after the commit");
                Ended::Unknown("lost")
            }
            (Ok(_), Fate::TimesOut) => Ended::Unknown("timeout"),
            (Ok(version), _) => Ended::Secret(version),
        };
        let at = world.moment();
        world.rows[key].issues[number - 1].answer = Some((at, ended));
        world.note(Actor::Database(key), format!("issue {number} ends: {ended:?}"));
        match ended {
            Ended::Secret(version) => Ok(world.rows[key].secret(version)),
            Ended::Absent => unreachable!("an issue never ends without a secret"),
            Ended::Refused(reason) | Ended::Unknown(reason) => Err(error(reason)),
        }
    }
}

/// A SELECT that was sent. If it is dropped before it has ended, its load has waited long enough.
struct SentSelect<'a> {
    database: &'a SimDatabase,
    key: usize,
    number: usize,
}

impl Drop for SentSelect<'_> {
    fn drop(&mut self) {
        // While a violation unwinds the world may be poisoned, and it no longer matters.
        let Ok(mut world) = self.database.world.lock() else { return };
        let at = world.moment();
        let answer = &mut world.rows[self.key].selects[self.number - 1].answer;
        if answer.is_none() {
            *answer = Some((at, Ended::Unknown("given up")));
            world.count("selects given up at the deadline");
            world.note(Actor::Database(self.key), format!("select {} is given up", self.number));
        }
    }
}

impl World {
    /// Looks at what a statement meets at the moment at which it would take effect.
    fn look(&mut self, key: usize, course: Course, failovers: u64) -> Result<Content, Ended> {
        if self.time.ms() < self.unreachable_until_ms {
            self.count("statements while the database was unreachable");
            return Err(Ended::Refused("unreachable"));
        }
        if self.failovers != failovers && !course.survives_failover {
            self.count("statements lost in a failover");
            return Err(Ended::Unknown("lost"));
        }
        match course.fate {
            Fate::Refuses => {
                self.count("statements refused");
                Err(Ended::Refused("refused"))
            }
            Fate::Overloads => Err(Ended::Refused("overloaded")),
            Fate::LosesStatement => {
                self.count("statements lost before they arrived");
                Err(Ended::Unknown("lost"))
            }
            _ => Ok(self.rows[key].content),
        }
    }

    fn carry_out(
        &mut self,
        key: usize,
        number: usize,
        mode: IssueMode,
        minted: &Secret,
        course: Course,
        failovers: u64,
    ) -> Result<u32, Ended> {
        let (effect, version, is_minted) = match (self.look(key, course, failovers)?, mode) {
            (Content::NoRow, _) => return Err(Ended::Refused("unknown workspace")),
            (Content::Secret(version), IssueMode::Heal) => (self.moment(), version, false),
            _ => {
                let text = minted.expose_str().expect("minted secrets are text");
                let (moment, version) = self.commit_secret(key, text);
                self.note(Actor::Database(key), format!("issue {number} commits w{key}#{version}"));
                (moment, version, true)
            }
        };
        let issue = &mut self.rows[key].issues[number - 1];
        (issue.effect, issue.minted) = (Some((effect, version)), is_minted);
        Ok(version)
    }
}

impl Course {
    fn of_select(rng: &mut Rng, slow: u64, faulty: u64) -> Self {
        use Fate::{Answers, LosesAnswer, LosesStatement, Overloads, Refuses, TimesOut};
        let faults = [(6, Refuses), (1, Overloads), (3, LosesStatement), (3, LosesAnswer), (1, TimesOut)];
        let fate = if rng.percent(faulty) { rng.weighted(&faults) } else { Answers };
        Self::with(rng, slow, fate, &[(60, 60), (30, 600), (10, 1_600)])
    }

    fn of_issue(rng: &mut Rng, slow: u64, faulty: u64) -> Self {
        use Fate::{Answers, Lingers, LosesAnswer, LosesStatement, Overloads, Refuses, TimesOut};
        let linger_ms = rng.below(34_000);
        let faults = [
            (5, Refuses),
            (1, Overloads),
            (2, LosesStatement),
            (5, LosesAnswer),
            (2, Lingers(linger_ms)),
            (1, TimesOut),
        ];
        let fate = if rng.percent(faulty) { rng.weighted(&faults) } else { Answers };
        Self::with(rng, slow, fate, &[(60, 60), (30, 600), (8, 1_600), (2, 20_000), (1, 80_000)])
    }

    fn with(rng: &mut Rng, slow: u64, fate: Fate, slowness: &[(u64, u64)]) -> Self {
        let mut wait_ms = || match rng.below(4) {
            // There is no wait at all: the effect, or the answer, comes in the same step.
            0 => 0,
            _ if rng.percent(slow) => {
                let bound = rng.weighted(slowness);
                rng.below(bound)
            }
            _ => rng.below(8),
        };
        let (before_ms, after_ms) = (wait_ms(), wait_ms());
        Self { before_ms, after_ms, fate, survives_failover: rng.percent(50) }
    }
}

impl super::row::Row {
    fn secret(&self, version: u32) -> Secret {
        Secret::new(&self.texts[version as usize - 1])
    }
}

fn error(reason: &'static str) -> DatabaseError {
    match reason {
        "timeout" => DatabaseError::Timeout,
        "lost" => DatabaseError::Lost(reason.into()),
        "overloaded" => DatabaseError::Overloaded,
        "unknown workspace" => DatabaseError::UnknownWorkspace,
        _ => DatabaseError::Unavailable(reason.into()),
    }
}

impl Database for SimDatabase {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(self.select(key(workspace)))
    }

    /// Draws a fate for each row; all answers arrive once the slowest of them is known.
    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        self.world().count("selects of several rows");
        let rows = workspaces.iter().map(|workspace| Box::pin(self.carried_out(key(workspace))));
        let mut rows: Vec<_> = rows.map(|row| (row, None)).collect();
        Box::pin(poll_fn(move |context| {
            for (row, ended) in rows.iter_mut().filter(|(_, ended)| ended.is_none()) {
                if let Poll::Ready(done) = row.as_mut().poll(context) {
                    *ended = Some(done);
                }
            }
            if rows.iter().any(|(_, ended)| ended.is_none()) {
                return Poll::Pending;
            }
            let ended = rows.iter_mut().filter_map(|(_, ended)| ended.take());
            Poll::Ready(ended.map(|(sent, ended)| self.answer(sent, ended)).collect())
        }))
    }

    fn batch_size(&self) -> usize {
        self.world().plan.batch_size
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(self.issue(key(workspace), mode, minted))
    }

    fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

/// Returns the id of a key: `w0`, `w1` and so on.
pub(crate) fn id(key: usize) -> WorkspaceId {
    WorkspaceId::new(format!("w{key}")).expect("a usable id")
}

fn key(workspace: &WorkspaceId) -> usize {
    workspace.as_str()[1..].parse().expect("the ids of a run are numbered")
}
