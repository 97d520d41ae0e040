//! [`SecretCache`]: the handle that a program holds. It answers hits, and hands everything else to a task of
//! the host.
//!
//! It decides nothing by itself: leases decide hits, the policy decides the rest. The careless mistake here
//! would be to do work on the hit path, or to let a caller's fate reach a task that others depend on.

mod builder;
mod changes;
mod entry;
mod housekeeping;
mod many;
mod operator;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod transaction;
mod verify;

use std::fmt;
use std::sync::Arc;

use tracing::{Instrument as _, Span, debug_span, field};

use crate::core::Core;
use crate::error::RUNTIME_ENDED;
use crate::flight::{FlightKind, ReadOutcome, Waiter};
use crate::start::LoadStart;
use crate::stats::{Gauges, count};
use crate::table::Value;
use crate::{Error, Lookup, Secret, Stats, Status, WorkspaceId};

pub use builder::{BuildError, Builder};
pub use entry::{EntryInfo, EntryState};
pub use many::WarmReport;
pub use operator::Operator;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use transaction::Transaction;

/// A cache of one column of secrets. Cloning it gives another handle of the same cache.
///
/// Reads and issues may be dropped at any moment: what they started runs to its end for the other callers
/// that wait for it.
///
/// It runs on the runtime that the cache was built on, which has to live as long as the cache is used; its
/// callers may be on any runtime. Reads that miss, issues and swaps are spans of [`tracing`] (target
/// `leasehold`, level debug).
#[derive(Clone)]
pub struct SecretCache {
    core: Arc<Core>,
}

impl SecretCache {
    /// Starts to build a cache. A database and a policy are needed; everything else has a default.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes a cache of these parts, without housekeeping: for a rehearsal.
    pub(crate) fn around(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Answers from the cache alone: applies `answer` to the secret if a lease covers it. No policy call, no
    /// statement, no lock, no allocation and no write that another thread would see. (One hit of a lease that
    /// asks for a refresh starts it, and pays for that.)
    ///
    /// `None` says nothing about the database: [`read`](Self::read) finds out.
    ///
    /// `answer` must be short and must not block: it borrows the entry. While it runs, no entry of this cache
    /// that is replaced or removed, whatever its workspace, is wiped and given back; all but a few are once
    /// it has returned. So beside an `answer` that blocks for seconds memory grows with each issue and each
    /// load, by some 200 bytes and the secret, until as many are held as the capacity, and 1,024 at least
    /// ([`Stats::held`]); from then on nothing is stored. For work that takes long, take a handle by
    /// [`get`](Self::get).
    #[inline]
    pub fn with<R>(&self, workspace: &WorkspaceId, answer: impl FnOnce(&Secret) -> R) -> Option<R> {
        self.core.covered(workspace, answer)?.present()
    }

    /// Returns a handle of the secret, as [`with`](Self::with) would lend it. Two threads that both hit share
    /// its reference count. The handle may be held for any length of time: it keeps its own secret and
    /// nothing else.
    #[inline]
    #[must_use]
    pub fn get(&self, workspace: &WorkspaceId) -> Option<Secret> {
        self.with(workspace, Secret::clone)
    }

    /// The workspace's secret: from the cache if a lease covers it, else as the policy decides.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] if the workspace has no secret; the other variants if that could not be found out.
    pub async fn read(&self, workspace: &WorkspaceId) -> Result<Lookup, Error> {
        let outcome = match self.core.hit(workspace) {
            Some(Value::Present(lookup)) => return Ok(lookup),
            Some(Value::Absent) => Err(Error::Absent),
            None => self.join_or_lead(workspace, FlightKind::Fill).await,
        };
        self.count_read(outcome)
    }

    /// The workspace's secret, lent to `answer`: borrowed from the cache if a lease covers it, as by
    /// [`with`](Self::with) and under the same terms, otherwise read as by [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read). `answer` has not been called then.
    pub async fn read_with<R>(
        &self,
        workspace: &WorkspaceId,
        answer: impl FnOnce(&Secret) -> R,
    ) -> Result<R, Error> {
        let mut answer = Some(answer);
        let lend = |secret: &Secret| answer.take().map(|answer| answer(secret));
        if let Some(answered) = self.with(workspace, lend).flatten() {
            return Ok(answered);
        }
        let Lookup { secret, .. } = self.read(workspace).await?;
        let answered = answer.map(|answer| answer(&secret));
        answered.ok_or_else(|| Error::Internal("a secret was lent and nothing came back".into()))
    }

    /// Issues a secret in place of the old one: mints it, stores it, and returns it once the database has
    /// committed it.
    ///
    /// The issue goes over a connection of its own. A caller whose own transaction holds the row waits for
    /// that transaction: in PostgreSQL the outcome is unknown once the time is up, and the secret is rotated
    /// if that transaction ends within 30 s, be it by a rollback; SQLite refuses the issue. `issue_in` takes
    /// part in the transaction.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWorkspace`] if there is no row; [`Error::OutcomeUnknown`] if it may have been
    /// committed. After any other error nothing has changed.
    pub async fn issue(&self, workspace: &WorkspaceId) -> Result<Secret, Error> {
        let span = debug_span!(target: "leasehold", "issue", %workspace, error = field::Empty);
        let outcome = self.core.rotate_in_task(workspace, span.clone()).instrument(span.clone()).await;
        record(&span, &outcome);
        self.count_error(outcome).map(|lookup| lookup.secret)
    }

    /// The workspace's secret; where it has none, one is issued. The database decides whether it has: of
    /// several replicas that heal together, a single one stores a secret, and all return it.
    ///
    /// # Errors
    ///
    /// As [`issue`](Self::issue); never [`Error::Absent`].
    pub async fn read_or_issue(&self, workspace: &WorkspaceId) -> Result<Lookup, Error> {
        match self.read(workspace).await {
            Err(Error::Absent) => {
                let outcome = self.heal(workspace).await;
                if outcome.is_ok() {
                    count(&self.core.counters.healed);
                }
                self.count_error(outcome)
            }
            answer => answer,
        }
    }

    /// Issues a secret where the database holds none, as [`read_or_issue`](Self::read_or_issue) does after
    /// its read.
    pub(crate) async fn heal(&self, workspace: &WorkspaceId) -> ReadOutcome {
        self.join_or_lead(workspace, FlightKind::Heal).await
    }

    /// Drops the workspace's entry, and voids any read in flight for it: the next read asks the database. For
    /// a server that has just deleted the row.
    pub fn remove(&self, workspace: &WorkspaceId) {
        self.core.remove(workspace);
    }

    /// Drops every entry, and voids every read in flight.
    pub fn reset(&self) {
        self.core.reset();
    }

    /// Counters and gauges of the cache's work so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = &self.core;
        let gauges = Gauges {
            entries: core.table.len() as u64,
            held: core.table.held() as u64,
            in_flight: core.flights.len() as u64,
        };
        core.counters.snapshot(core.table.hits(), core.statements.database.statements(), gauges)
    }

    /// Waits for a flight of this kind, starting it if there is none.
    async fn join_or_lead(&self, workspace: &WorkspaceId, kind: FlightKind) -> ReadOutcome {
        match self.core.find_or_start(workspace, kind) {
            LoadStart::InFlight(waiter) => self.wait_for(workspace, kind, waiter).await,
            LoadStart::Answered(outcome) => {
                if outcome.is_ok() {
                    self.core.table.count_hit();
                }
                outcome
            }
        }
    }

    /// Waits for the outcome of a flight, in a span.
    async fn wait_for(&self, workspace: &WorkspaceId, kind: FlightKind, waiter: Waiter) -> ReadOutcome {
        let (status, error) = (field::Empty, field::Empty);
        let span = match kind {
            FlightKind::Fill => debug_span!(target: "leasehold", "miss", %workspace, status, error),
            FlightKind::Heal => debug_span!(target: "leasehold", "heal", %workspace, status, error),
        };
        let outcome = match (waiter.outcome().instrument(span.clone()).await, kind) {
            (Err(Error::Internal(_)), FlightKind::Fill) if self.core.statements.runtime_has_ended() => {
                Err(Error::RuntimeEnded)
            }
            // It is not known what the task had sent by then.
            (Err(Error::Internal(_)), FlightKind::Heal) if self.core.statements.runtime_has_ended() => {
                Err(Error::OutcomeUnknown(RUNTIME_ENDED.into()))
            }
            (outcome, _) => outcome,
        };
        record(&span, &outcome);
        outcome
    }

    fn count_read(&self, outcome: ReadOutcome) -> ReadOutcome {
        let counters = &self.core.counters;
        match &outcome {
            Ok(lookup) => match lookup.status {
                Status::Miss => count(&counters.misses),
                Status::Renewed => count(&counters.renewed),
                Status::Stale => count(&counters.stale),
                // Counted where it happened: hits one by one, bypasses once for all waiters.
                Status::Hit | Status::Bypassed | Status::Healed => {}
            },
            Err(Error::Absent) => count(&counters.absent),
            Err(_) => count(&counters.errors),
        }
        outcome
    }

    fn count_error(&self, outcome: ReadOutcome) -> ReadOutcome {
        if outcome.is_err() {
            count(&self.core.counters.errors);
        }
        outcome
    }
}

/// Records in a span how it ended: the status or the error of a read, never the secret.
fn record(span: &Span, outcome: &ReadOutcome) {
    match outcome {
        Ok(lookup) => span.record("status", lookup.status.as_str()),
        Err(error) => span.record("error", field::display(error)),
    };
}

impl fmt::Debug for SecretCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretCache").field("entries", &self.core.table.len()).finish_non_exhaustive()
    }
}
