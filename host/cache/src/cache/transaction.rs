//! Issues within a transaction of the program's own, which take effect in the cache when it is committed.
//!
//! From its issue to the end of the transaction a workspace counts as being written: a read of it meanwhile
//! finds the old secret, and is not stored. The cache has to see the end, so it is the cache that commits.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout, timeout_at};
use tracing::{Instrument as _, debug_span, field};

use super::SecretCache;
use crate::core::{Core, read_error};
use crate::database::Engine;
use crate::error::RUNTIME_ENDED;
use crate::flight::Writer;
use crate::statements::{ISSUE_LIMIT, LOST_LIMIT};
use crate::statements::{Panicked, contained};
use crate::stats::count;
use crate::{DatabaseError, Error, Secret, WorkspaceId};

/// A transaction of the program's own, in which [`SecretCache::issue_in`] issues secrets along with whatever
/// else the program does in it. It is made from a transaction that a pool of sqlx has begun; as with that
/// one, `&mut *transaction` is the connection to run statements on, and dropping it rolls it back.
///
/// ```no_run
/// # async fn rotate(pool: sqlx::PgPool, cache: leasehold::SecretCache, workspace: leasehold::WorkspaceId)
/// # -> Result<leasehold::Secret, Box<dyn std::error::Error>> {
/// let mut transaction = leasehold::Transaction::from(pool.begin().await?);
/// let secret = cache.issue_in(&mut transaction, &workspace).await?;
/// sqlx::query("INSERT INTO rotations (workspace) VALUES ($1)")
///     .bind(workspace.as_str())
///     .execute(&mut *transaction)
///     .await?;
/// transaction.commit().await?;
/// # Ok(secret)
/// # }
/// ```
#[must_use]
pub struct Transaction<DB: Engine> {
    inner: sqlx::Transaction<'static, DB>,
    issues: Vec<Issue>,
    /// The database's number for the transaction, once an issue was answered.
    number: Option<i64>,
    /// Whether an issue has failed, or was given up before its answer was there.
    is_spoiled: bool,
}

/// An issue whose transaction has not ended. Dropping it ends it; where a statement was sent, the entry goes:
/// the program may have committed the issue past the cache, or the database by itself.
struct Issue {
    core: Arc<Core>,
    writer: Writer,
    was_sent: bool,
}

impl<DB: Engine> Transaction<DB> {
    /// Commits everything that was done in the transaction. When this returns, no read of this process is
    /// answered with a secret that was replaced in it, and the new ones have been read into the cache, as far
    /// as the database answered in time.
    ///
    /// Once the commit has been polled it runs to its end, whatever becomes of its caller. In PostgreSQL what
    /// was deferred to the end of the transaction, triggers and constraints, runs before the COMMIT, and has
    /// 30 s unless the connection sets another `statement_timeout`. If the connection of a COMMIT that waits
    /// for a synchronous standby is lost, its end is waited for during 35 s, and it may take effect later. A
    /// transaction without an issue is committed as sqlx does it.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if it may have been committed. After any other error nothing was:
    /// [`Error::Refused`] where an issue in it has failed, or was dropped before its end. None is worth
    /// another `commit`; where [`is_transient`](Error::is_transient) says so, the whole of it is worth
    /// another attempt.
    pub async fn commit(self) -> Result<(), Error> {
        if self.is_spoiled {
            return Err(spoiled());
        }
        let Some(first) = self.issues.first() else {
            return self.inner.commit().await.map_err(|error| commit_error(DB::of_commit(error)));
        };
        let core = Arc::clone(&first.core);
        if core.statements.runtime_has_ended() {
            return Err(Error::RuntimeEnded);
        }
        let (tx, rx) = oneshot::channel();
        core.statements.runtime.spawn(self.run_commit(Arc::clone(&core), tx));
        rx.await.unwrap_or_else(|_| {
            let has_ended = core.statements.runtime_has_ended();
            let words = if has_ended { RUNTIME_ENDED } else { "the task of the commit ended early" };
            Err(Error::OutcomeUnknown(words.into()))
        })
    }

    /// Rolls everything back.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] or [`Error::Unavailable`] if the server did not confirm that in time; the
    /// transaction is rolled back all the same.
    pub async fn rollback(self) -> Result<(), Error> {
        let Some(first) = self.issues.first() else {
            return self.inner.rollback().await.map_err(|error| read_error(DB::of_commit(error)));
        };
        // A statement that was given up may still wait for its row.
        let deadline = first.core.statements.deadline();
        match timeout_at(deadline, self.inner.rollback()).await {
            Ok(ended) => ended.map_err(|error| read_error(DB::of_commit(error))),
            Err(_elapsed) => Err(Error::Timeout),
        }
    }

    async fn run_commit(mut self, core: Arc<Core>, tx: oneshot::Sender<Result<(), Error>>) {
        // The caller may be gone whenever it is answered.
        if let Err(error) = self.check(&core).await {
            drop(self);
            let _ = tx.send(Err(error));
            return;
        }
        let Self { inner, mut issues, .. } = self;
        let mut commit = pin!(timeout(ISSUE_LIMIT, inner.commit()));
        let mut tx = Some(tx);
        let mut complete = |outcome| tx.take().map(|tx| tx.send(outcome));
        let ended = match timeout_at(core.statements.deadline(), &mut commit).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                issues.iter().for_each(Issue::forget_entry);
                complete(Err(DatabaseError::Timeout.into_unknown_outcome()));
                commit.await
            }
        };
        match ended.map(|committed| committed.map_err(DB::of_commit)) {
            Ok(Ok(())) => {
                let ended = end(issues);
                let deadline = core.statements.deadline();
                for (cache, workspaces) in &ended {
                    // The outcome does not matter, nor does a timeout: the next read finds out by itself.
                    let _ = timeout_at(deadline, cache.warm(workspaces)).await;
                }
                complete(Ok(()));
            }
            Ok(Err(error)) if !is_unknown(&error) => {
                drop(issues);
                complete(Err(commit_error(error)));
            }
            lost => {
                issues.iter().for_each(Issue::forget_entry);
                let error = lost.ok().and_then(Result::err).unwrap_or(DatabaseError::Timeout);
                complete(Err(error.into_unknown_outcome()));
                // A server that is busy with the COMMIT does not notice that its client is gone. Nothing that
                // is read meanwhile is stored.
                issues.iter_mut().for_each(|issue| issue.writer.yield_turn());
                sleep(LOST_LIMIT).await;
            }
        }
    }

    /// Checks that what was issued can be committed: in the transaction that is open, and in no other one. A
    /// server answers the COMMIT of a transaction that has failed with a ROLLBACK, and a transaction that was
    /// ended by the server, or by a driver whose savepoint failed, is not committed again; neither is an
    /// error to the driver.
    async fn check(&mut self, core: &Core) -> Result<(), Error> {
        match self.open_number(core).await? {
            Some(open) if Some(open) == self.number => {}
            _ => return Err(Error::OutcomeUnknown(ENDED.into())),
        }
        let prepared = core.statements.database.prepare_commit(DB::connection(&mut self.inner));
        match timeout(LOST_LIMIT, contained(prepared)).await {
            Ok(Ok(prepared)) => prepared.map_err(read_error),
            Ok(Err(Panicked)) => Err(read_error(DatabaseError::panicked())),
            Err(_elapsed) => Err(Error::Timeout),
        }
    }

    /// The database's number for the transaction that is open.
    async fn open_number(&mut self, core: &Core) -> Result<Option<i64>, Error> {
        let asked = core.statements.database.open_transaction(DB::connection(&mut self.inner));
        match timeout_at(core.statements.deadline(), contained(asked)).await {
            Ok(Ok(open)) => open.map_err(read_error),
            Ok(Err(Panicked)) => Err(read_error(DatabaseError::panicked())),
            Err(_elapsed) => Err(Error::Timeout),
        }
    }

    async fn issue(&mut self, core: &Arc<Core>, workspace: &WorkspaceId) -> Result<Secret, Error> {
        if self.is_spoiled {
            return Err(spoiled());
        }
        let minted =
            Secret::mint().map_err(|error| Error::Unavailable(format!("no random bytes: {error}").into()))?;
        let known = self.issues.iter().position(|issue| issue.is_of(core, workspace));
        let mut issue = match known {
            Some(index) => self.issues.remove(index),
            None => {
                let mut writer = core.flights.write(workspace);
                if timeout_at(core.statements.deadline(), writer.turn()).await.is_err() {
                    return Err(core.reject(Error::Overloaded));
                }
                Issue { core: Arc::clone(core), writer, was_sent: false }
            }
        };
        count(&core.counters.issues);
        // The transaction counts as spoiled until there is an answer: this future may be dropped.
        self.is_spoiled = true;
        issue.was_sent = true;
        self.issues.push(issue);
        let outcome = self.send(core, workspace, minted).await;
        self.is_spoiled = !matches!(outcome, Ok(_) | Err(Error::UnknownWorkspace));
        if known.is_none() && matches!(outcome, Err(Error::UnknownWorkspace)) {
            // Nothing was written: the transaction that is committed holds no issue of this workspace.
            self.issues.pop();
        }
        outcome
    }

    async fn send(&mut self, core: &Core, workspace: &WorkspaceId, minted: Secret) -> Result<Secret, Error> {
        let connection = DB::connection(&mut self.inner);
        let sent = core.statements.database.issue_in(connection, workspace, minted);
        let issued = match timeout_at(core.statements.deadline(), contained(sent)).await {
            Ok(Ok(issued)) => issued.map_err(read_error)?,
            Ok(Err(Panicked)) => return Err(read_error(DatabaseError::panicked())),
            Err(_elapsed) => return Err(Error::Timeout),
        };
        if issued.is_empty() {
            return Err(Error::Refused(EMPTY.into()));
        }
        match (self.open_number(core).await?, self.number) {
            (Some(open), None) => self.number = Some(open),
            (Some(open), Some(number)) if open == number => {}
            // The issue was committed as soon as it was sent, or the transaction has ended in between.
            _ => return Err(Error::OutcomeUnknown(ENDED.into())),
        }
        Ok(issued)
    }
}

impl SecretCache {
    /// Issues a secret within a transaction of the program's own: mints it and stores it there, and returns
    /// what the row holds in it. The secret takes effect once the transaction is committed, by
    /// [`Transaction::commit`]: until then reads are answered with the old one. The policy is not asked to
    /// issue; it is asked for a lease when the new secret is read.
    ///
    /// To the end of the transaction other issues for the workspace wait for it in this process, and are
    /// [`Error::Overloaded`] when they have waited too long; those of other processes wait for the row. What
    /// is read of the workspace meanwhile is not stored, and the entry goes with the end of the transaction.
    /// End it soon, and by [`commit`](Transaction::commit) or [`rollback`](Transaction::rollback) and not by
    /// a statement. The server's notices are kept from the driver from here to its end.
    ///
    /// The transaction has to be one of the database of the cache.
    ///
    /// # Errors
    ///
    /// As [`issue`](Self::issue). After any other error than [`Error::UnknownWorkspace`] and
    /// [`Error::Overloaded`] the transaction cannot be committed any more, so that nothing was stored; but
    /// for [`Error::OutcomeUnknown`], which says that the transaction had ended before.
    pub async fn issue_in<DB: Engine>(
        &self,
        transaction: &mut Transaction<DB>,
        workspace: &WorkspaceId,
    ) -> Result<Secret, Error> {
        let span = debug_span!(target: "leasehold", "issue", %workspace, error = field::Empty);
        let outcome = transaction.issue(&self.core, workspace).instrument(span.clone()).await;
        if let Err(error) = &outcome {
            span.record("error", field::display(error));
            count(&self.core.counters.errors);
        }
        outcome
    }
}

impl Issue {
    fn is_of(&self, core: &Arc<Core>, workspace: &WorkspaceId) -> bool {
        Arc::ptr_eq(&self.core, core) && self.writer.workspace() == workspace
    }

    /// Drops the entry, and voids the reads in flight.
    fn forget_entry(&self) {
        self.writer.finish(None, |_| self.core.table.remove(self.writer.workspace()));
    }
}

impl Drop for Issue {
    fn drop(&mut self) {
        if self.was_sent {
            self.forget_entry();
        }
    }
}

impl<DB: Engine> From<sqlx::Transaction<'static, DB>> for Transaction<DB> {
    fn from(inner: sqlx::Transaction<'static, DB>) -> Self {
        Self { inner, issues: Vec::new(), number: None, is_spoiled: false }
    }
}

impl<DB: Engine> Deref for Transaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.inner
    }
}

impl<DB: Engine> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.inner
    }
}

/// The output leaves out the connection, whose own output names the way to the server.
impl<DB: Engine> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("issues", &self.issues.len()).finish_non_exhaustive()
    }
}

/// Ends issues that are committed: their entries go. Returns their workspaces by cache.
fn end(issues: Vec<Issue>) -> Vec<(SecretCache, Vec<WorkspaceId>)> {
    let mut ended: Vec<(SecretCache, Vec<WorkspaceId>)> = Vec::new();
    for issue in &issues {
        let workspace = issue.writer.workspace().clone();
        match ended.iter_mut().find(|(cache, _)| Arc::ptr_eq(&cache.core, &issue.core)) {
            Some((_, workspaces)) => workspaces.push(workspace),
            None => ended.push((SecretCache::around(Arc::clone(&issue.core)), vec![workspace])),
        }
    }
    ended
}

/// The message for a transaction that is not the one that is open.
const ENDED: &str = "the transaction in which it was issued is no longer open: it was ended by a statement, \
     by a savepoint that failed or by the database";

/// The message for an issue whose answer holds no secret.
const EMPTY: &str = "the database answered an issue with the empty secret, which stands for absence";

fn spoiled() -> Error {
    Error::Refused(
        "an issue in this transaction has failed or was given up; roll it back and begin anew".into(),
    )
}

/// The caller's error for a COMMIT that failed.
fn commit_error(error: DatabaseError) -> Error {
    if is_unknown(&error) { error.into_unknown_outcome() } else { read_error(error) }
}

/// Returns whether the transaction may have been committed.
fn is_unknown(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Timeout | DatabaseError::Lost(_) | DatabaseError::Broken(_))
}
