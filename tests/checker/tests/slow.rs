//! The real database behind a network that is slow now and then, for the statement or for the answer: answers
//! overtake each other, and others commit between a commit and its answer. Where it may, it loses that
//! answer, so that the cache does not know the outcome of an issue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold::{
    Answer, Answers, Database, DatabaseError, IssueMode, Secret, TransactionConnection, WorkspaceId,
};
use leasehold_checker::{Content, Did, Operation, Span};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::world::{content, nanos};

/// Maximum number of turns of other tasks that a message waits for; some of them are statements of theirs.
const LONGEST: u32 = 400;

/// The reason for an unknown outcome.
pub(crate) const LOST: &str = "by the checker";

/// Number of answers of issues of which one is lost.
const ANSWERS_PER_LOSS: u32 = 20;

pub(crate) struct Slow {
    database: Arc<dyn Database>,
    rng: Mutex<fastrand::Rng>,
    losses: Arc<Losses>,
}

/// The issues whose answer was lost.
pub(crate) struct Losses {
    began: Instant,
    is_allowed: AtomicBool,
    noted: Mutex<Vec<Loss>>,
}

struct Loss {
    workspace: usize,
    span: Span,
    /// The content that was written: nothing where an issue that heals has found a secret.
    written: Option<Content>,
}

impl Losses {
    pub(crate) fn new(began: Instant) -> Self {
        Self { began, is_allowed: AtomicBool::new(false), noted: Mutex::default() }
    }

    pub(crate) fn allow(&self, is_allowed: bool) {
        self.is_allowed.store(is_allowed, Ordering::SeqCst);
    }

    /// Returns when the first answer about this workspace was lost from a moment on: after the change that it
    /// was about was known to be committed.
    pub(crate) fn first_from(&self, workspace: usize, start: u64) -> Option<u64> {
        let noted = self.noted();
        let lost = noted.iter().filter(|lost| lost.workspace == workspace && lost.span.end >= start);
        lost.map(|lost| lost.span.end + 1).min()
    }

    /// Returns what they have written, which the cache does not know.
    pub(crate) fn take(&self) -> Vec<Operation> {
        let lost = std::mem::take(&mut *self.noted()).into_iter();
        lost.filter_map(|Loss { workspace, span, written }| {
            Some(Operation { workspace, span, did: Did::Written(written?) })
        })
        .collect()
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slow {
    pub(crate) fn new(database: Arc<dyn Database>, rng: fastrand::Rng, losses: Arc<Losses>) -> Self {
        Self { database, rng: Mutex::new(rng), losses }
    }

    async fn travel(&self) {
        for _ in 0..self.draw() {
            yield_now().await;
        }
    }

    fn draw(&self) -> u32 {
        if self.below(4) == 0 { self.below(LONGEST) } else { 0 }
    }

    fn below(&self, bound: u32) -> u32 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u32(..bound)
    }
}

impl Database for Slow {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            self.travel().await;
            let answer = self.database.select(workspace).await;
            self.travel().await;
            answer
        })
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        Box::pin(async move {
            self.travel().await;
            let answers = self.database.select_batch(workspaces).await;
            self.travel().await;
            answers
        })
    }

    fn batch_size(&self) -> usize {
        self.database.batch_size()
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            self.travel().await;
            let start = nanos(self.losses.began);
            let answer = self.database.issue(workspace, mode, minted.clone(), send_by).await;
            if let Ok(stored) = &answer
                && self.losses.is_allowed.load(Ordering::SeqCst)
                && self.below(ANSWERS_PER_LOSS) == 0
            {
                let span = Span { start, end: nanos(self.losses.began) };
                let written = Some(content(stored)).filter(|stored| *stored == content(&minted));
                self.losses.noted().push(Loss { workspace: number(workspace), span, written });
                return Err(DatabaseError::Lost(LOST.into()));
            }
            self.travel().await;
            answer
        })
    }

    fn issue_in<'a>(
        &'a self,
        connection: TransactionConnection<'a>,
        workspace: &'a WorkspaceId,
        minted: Secret,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            self.travel().await;
            let answer = self.database.issue_in(connection, workspace, minted).await;
            self.travel().await;
            answer
        })
    }

    fn open_transaction<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, Option<i64>> {
        Box::pin(async move {
            self.travel().await;
            self.database.open_transaction(connection).await
        })
    }

    fn prepare_commit<'a>(&'a self, connection: TransactionConnection<'a>) -> Answer<'a, ()> {
        self.database.prepare_commit(connection)
    }

    fn statements(&self) -> u64 {
        self.database.statements()
    }

    fn connections(&self) -> Option<usize> {
        self.database.connections()
    }
}

/// A workspace's number, which its id ends with.
fn number(workspace: &WorkspaceId) -> usize {
    workspace.as_str().trim_start_matches('w').parse().expect("an id of this test")
}
