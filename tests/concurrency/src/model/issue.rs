//! Issues: `Core::{heal, rotate, issue}` of `load.rs`, in the same order.

use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::future::spawn;

use super::{Fate, Model, Stamp};
use crate::flight::{LeaderGuard, ReadOutcome, Writer};
use crate::lease::Generation;
use crate::model::database::{Sent, pause};
use crate::sync::{Arc, watch};
use crate::table::Table;
use crate::{Error, Lookup, Status, WorkspaceId};

struct Issued {
    outcome: Result<Lookup, Error>,
    change: Option<Stamp>,
    changed: bool,
    pending: Option<Sent>,
}

impl Model {
    /// Rotates the secret for one caller, in a task of the host.
    pub(crate) async fn issue(self: &Arc<Self>, workspace: &WorkspaceId, fate: Fate) -> Result<Stamp, Error> {
        let (tx, mut rx) = watch::channel(None);
        let writer = self.flights.write(workspace);
        let generation = self.active.load().generation;
        let task = Arc::clone(self).rotate(generation, writer, fate, move |outcome| {
            let _ = tx.send(Some(outcome));
        });
        self.host(task);
        let outcome: Option<ReadOutcome> = match rx.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        outcome
            .unwrap_or_else(|| Err(Error::OutcomeUnknown("ended early".into())))
            .map(|lookup| Stamp::of(&lookup.secret))
    }

    pub(super) async fn heal(self: Arc<Self>, generation: Generation, leader: LeaderGuard) {
        let writer = self.flights.write(leader.workspace());
        let workspace = leader.workspace().clone();
        let complete = |outcome| leader.complete_without_store(outcome);
        self.change(generation, writer, &workspace, true, Fate::Committed, complete).await;
    }

    pub(crate) async fn rotate(
        self: Arc<Self>,
        generation: Generation,
        writer: Writer,
        fate: Fate,
        complete: impl FnOnce(ReadOutcome),
    ) {
        let workspace = writer.workspace().clone();
        self.change(generation, writer, &workspace, false, fate, complete).await;
    }

    /// Issues with a deadline that may pass at any moment while the issue waits for its turn. Returns whether
    /// it had its turn.
    pub(crate) async fn issue_with_deadline(self: Arc<Self>, workspace: &WorkspaceId) -> bool {
        let mut writer = self.flights.write(workspace);
        let generation = self.active.load().generation;
        let (passed, mut passes) = watch::channel(false);
        let deadline = spawn(async move {
            pause().await;
            let _ = passed.send(true);
        });
        let in_turn = tokio::select! {
            biased;
            () = writer.turn() => true,
            _ = passes.wait_for(|passed| *passed) => false,
        };
        if in_turn {
            self.change_in_turn(generation, writer, workspace, false, Fate::Committed, |_| {}).await;
        } else {
            drop(writer);
        }
        let _ = deadline.await;
        in_turn
    }

    async fn change(
        &self,
        generation: Generation,
        mut writer: Writer,
        workspace: &WorkspaceId,
        heals: bool,
        fate: Fate,
        complete: impl FnOnce(ReadOutcome),
    ) {
        writer.turn().await;
        self.change_in_turn(generation, writer, workspace, heals, fate, complete).await;
    }

    async fn change_in_turn(
        &self,
        generation: Generation,
        mut writer: Writer,
        workspace: &WorkspaceId,
        heals: bool,
        fate: Fate,
        complete: impl FnOnce(ReadOutcome),
    ) {
        let turn = Turn::begin(&self.in_turn);
        let unknown_outcome = UnknownOutcomeGuard { table: &self.table, writer: &writer };
        let issued = self.statement(generation, workspace, heals, fate).await;
        std::mem::forget(unknown_outcome);
        if issued.changed {
            let secret = issued.outcome.as_ref().ok().map(|lookup| lookup.secret.clone());
            writer.finish(secret.as_ref(), |may_store| {
                self.table.remove(workspace);
                if may_store {
                    self.store(workspace, issued.change.as_ref(), generation);
                }
            });
            self.table.evict();
        }
        complete(issued.outcome);
        if let Some(mut pending) = issued.pending {
            pending.ended().await;
            drop(turn);
            writer.yield_turn();
            pending.settled().await;
            writer.finish(None, |_| self.table.remove(workspace));
        }
    }

    async fn statement(
        &self,
        generation: Generation,
        workspace: &WorkspaceId,
        heals: bool,
        fate: Fate,
    ) -> Issued {
        let mut sent = self.database.send_issue(workspace, heals, fate);
        let answer = match fate {
            Fate::Late => Err(Error::OutcomeUnknown("late".into())),
            _ => sent.answer().await,
        };
        match answer {
            Ok(version) => {
                let stamp = Stamp::new(workspace, version, generation);
                let outcome = Ok(stamp.lookup(Status::Healed));
                Issued { outcome, change: Some(stamp), changed: true, pending: None }
            }
            Err(error @ Error::OutcomeUnknown(_)) => {
                Issued { outcome: Err(error), change: None, changed: true, pending: Some(sent) }
            }
            Err(error) => Issued { outcome: Err(error), change: None, changed: false, pending: None },
        }
    }
}

/// The time from before a statement is sent until its issue releases the write lock. No two of them overlap.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn begin(in_turn: &'a AtomicBool) -> Self {
        assert!(!in_turn.swap(true, Ordering::Relaxed), "two issues have their turn at once");
        Self(in_turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The guard of an issue whose outcome is not yet known, as in `load.rs`.
struct UnknownOutcomeGuard<'a> {
    table: &'a Table,
    writer: &'a Writer,
}

impl Drop for UnknownOutcomeGuard<'_> {
    fn drop(&mut self) {
        self.writer.finish(None, |_| self.table.remove(self.writer.workspace()));
    }
}
