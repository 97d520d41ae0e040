//! The thread that writes the kept state and the record of changes: disks are slow, and a change of the
//! policy is made under a lock.
//!
//! Changes are written in the order in which they took effect, and those that wait together are synced
//! together. A disk that fails costs the state that would have been kept, is reported, and changes nothing in
//! what is served. An operator's change waits for its line; a heartbeat that heals does not.

use std::mem;
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::Context as _;
use leasehold::{Clock as _, Policy, PolicyChange, Secret, SwapError, SystemClock, WorkspaceId};
use serde::Serialize;
use tokio::sync::oneshot;

use super::heals::{HealLine, Heals};
use super::{Checkpoint, Requested, State};
use crate::api::{self, AuditJson, ChangeJson, LostJson, RecordJson, RefusedJson, UnreadJson};
use crate::audit::{AuditedChange, Effect};
use crate::policy;

/// Maximum number of orders that are written with one sync.
const MAX_BATCH: usize = 1_024;

/// Handle of the thread that writes changes in the background.
#[derive(Clone)]
pub(crate) struct Journal {
    tx: mpsc::Sender<JournalCommand>,
    heals: Arc<Heals>,
}

enum JournalCommand {
    /// Write a line of the record, and keep the policies from then on, if they are others than before.
    Write(String, Option<Checkpoint>),
    /// Write the line of a heal, and give its place back.
    WriteHeal(String),
    /// Note that the policy that the command line names was read again.
    Requested(Requested),
    /// Report whether a restart comes back with the latest change.
    Flush(oneshot::Sender<bool>),
    /// Report the same, and release the folder.
    Close(oneshot::Sender<bool>),
}

impl Journal {
    /// Starts the thread. `requested` is the policy that the command line names.
    pub(crate) fn start(state: State, requested: Requested) -> anyhow::Result<Self> {
        let (tx, rx) = mpsc::channel();
        let heals = Arc::<Heals>::default();
        let writer = JournalWriter::new(state, requested, Arc::clone(&heals));
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.write_all(&rx))
            .context("cannot start the thread that keeps the policies")?;
        Ok(Self { tx, heals })
    }

    /// Notes a change. If it is not `kept`, the state that was kept before stays.
    pub(crate) fn note(&self, change: &PolicyChange<'_>, kept: bool) {
        let card = change.record.card.as_ref().map(policy::json);
        let line = AuditJson { record: RecordJson::of(change.record), card };
        let checkpoint = kept.then(|| Checkpoint {
            active: change.active.clone(),
            previous: change.previous.clone(),
            highest_revision: change.highest_revision,
        });
        self.write(&line, checkpoint);
    }

    /// Notes a policy that never got as far as the cache.
    pub(crate) fn note_refused(&self, by: &str, requested: &str, stage: &str, reason: &str) {
        let refused = RefusedJson { stage: stage.to_owned(), message: reason.to_owned() };
        self.write(&UnreadJson { at: now(), by, policy: requested, cause: "swap", refused }, None);
    }

    /// Notes a kept policy that a start could not use.
    pub(crate) fn note_unusable(&self, policy: &Policy, error: &SwapError) {
        self.note_refused("start", policy.digest(), error.stage.as_str(), &error.reason);
    }

    /// Notes what an operator has changed of a workspace, or of what is cached.
    pub(crate) fn note_change(&self, change: &AuditedChange<'_>) {
        self.write(&ChangeJson::of(now(), change), None);
    }

    /// Notes that a heartbeat from `peer` has healed the workspace, or may have, where there is no secret:
    /// once for each secret. It waits for nothing.
    pub(crate) fn note_heal(&self, workspace: &WorkspaceId, secret: Option<&Secret>, peer: &str) {
        match self.heals.take_place(workspace, secret) {
            HealLine::Wanted => {}
            HealLine::Lost { first: true } => {
                return tracing::error!("the record cannot be written fast enough: heals are missing in it");
            }
            HealLine::Known | HealLine::Lost { .. } => return,
        }
        let effect = if secret.is_some() { Effect::Done } else { Effect::Unknown };
        match serde_json::to_string(&ChangeJson::of_heal(now(), workspace, effect, peer)) {
            Ok(line) => self.send(JournalCommand::WriteHeal(line)),
            Err(error) => tracing::error!(%error, "a heal is no JSON"),
        }
    }

    /// Notes the state of the policy that the command line names, as it was last read.
    pub(crate) fn note_asked(&self, requested: Requested) {
        self.send(JournalCommand::Requested(requested));
    }

    /// Waits until all changes up to here are written. Returns `false` if the disk has failed the latest
    /// policy, so that a restart comes back with an earlier one.
    pub(crate) async fn flushed(&self) -> bool {
        let (done, kept) = oneshot::channel();
        self.send(JournalCommand::Flush(done));
        kept.await.unwrap_or(false)
    }

    /// Does the same, and releases the folder, for a successor. Later policies are not kept; the lines of
    /// later changes, made by requests in flight, still go to the record.
    pub(crate) async fn close(&self) {
        let (done, kept) = oneshot::channel();
        self.send(JournalCommand::Close(done));
        let _ = kept.await;
    }

    fn write(&self, line: &impl Serialize, checkpoint: Option<Checkpoint>) {
        match serde_json::to_string(line) {
            Ok(line) => self.send(JournalCommand::Write(line, checkpoint)),
            // Only a map with keys that are no text fails, and there is none.
            Err(error) => tracing::error!(%error, "a change is no JSON"),
        }
    }

    fn send(&self, order: JournalCommand) {
        // The thread lives for as long as its handles do.
        let _ = self.tx.send(order);
    }
}

fn now() -> String {
    api::time(SystemClock::new().wall())
}

/// The thread's own state.
struct JournalWriter {
    state: State,
    requested: Requested,
    heals: Arc<Heals>,
    /// The lines that are not written yet.
    lines: Vec<String>,
    /// Senders to the callers that wait until they are.
    waiting: Vec<oneshot::Sender<bool>>,
    last: Option<Checkpoint>,
    kept: bool,
}

impl JournalWriter {
    fn new(state: State, requested: Requested, heals: Arc<Heals>) -> Self {
        let (lines, waiting) = (Vec::new(), Vec::new());
        Self { state, requested, heals, lines, waiting, last: None, kept: true }
    }

    fn write_all(mut self, rx: &mpsc::Receiver<JournalCommand>) {
        while let Ok(order) = rx.recv() {
            self.carry_out(order);
            // Those that wait already are written with it.
            rx.try_iter().take(MAX_BATCH).for_each(|order| self.carry_out(order));
            self.write_lines();
        }
    }

    fn carry_out(&mut self, order: JournalCommand) {
        match order {
            JournalCommand::Write(line, checkpoint) => {
                self.lines.push(line);
                let Some(checkpoint) = checkpoint else { return };
                // The record first: a change that it names may then be found not to have been kept, but never
                // the reverse.
                let recorded = self.write_lines();
                self.kept = self.keep(&checkpoint) && recorded;
                self.last = Some(checkpoint);
            }
            JournalCommand::WriteHeal(line) => {
                self.heals.give_back();
                self.lines.push(line);
            }
            JournalCommand::Requested(now) => {
                self.requested = now;
                if let Some(last) = self.last.take() {
                    self.kept = self.keep(&last);
                    self.last = Some(last);
                }
            }
            JournalCommand::Flush(done) => self.waiting.push(done),
            JournalCommand::Close(done) => {
                self.write_lines();
                self.state.release();
                // The caller may be gone.
                let _ = done.send(self.kept);
            }
        }
    }

    /// Keeps the policies, unless the folder is a successor's by now.
    fn keep(&self, checkpoint: &Checkpoint) -> bool {
        self.state.is_ours() && self.noted(self.state.keep(&self.requested, checkpoint))
    }

    /// Writes the lines, and tells the callers that wait for them. Returns whether they are on the disk.
    fn write_lines(&mut self) -> bool {
        let lost = self.heals.take_lost();
        if lost > 0 {
            tracing::error!(lost, "heals that the record does not have");
            let line = LostJson { at: now(), cause: "lost", heals: lost };
            self.lines.extend(serde_json::to_string(&line));
        }
        let lines = mem::take(&mut self.lines);
        let recorded = lines.is_empty() || self.noted(self.state.append(&lines.join("\n")));
        for done in self.waiting.drain(..) {
            // The caller may be gone.
            let _ = done.send(self.kept);
        }
        recorded
    }

    fn noted(&self, written: std::io::Result<()>) -> bool {
        written
            .inspect_err(|error| {
                tracing::error!(%error, folder = %self.state.folder.display(), "cannot keep a change");
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests;
