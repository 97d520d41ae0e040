//! The thread that writes the kept state: disks are slow, and a change of the policy is made under a lock.
//!
//! Changes are written in the order in which they took effect. A disk that fails costs the state that would
//! have been kept, is reported, and changes nothing in what is served.

use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use leasehold::{Clock as _, Policy, PolicyChange, SwapError, SystemClock};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{Checkpoint, Requested, State};
use crate::api::{self, AuditJson, RecordJson, RefusedJson, UnreadJson};
use crate::policy;

/// Handle of the thread that writes changes of the policy in the background.
#[derive(Clone)]
pub(crate) struct Journal(mpsc::Sender<JournalCommand>);

enum JournalCommand {
    /// Write a line of the record, and keep the policies from then on, if they are others than before.
    Write(String, Option<Checkpoint>),
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
        let (sender, orders) = mpsc::channel();
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_all(state, requested, &orders))
            .context("cannot start the thread that keeps the policies")?;
        Ok(Self(sender))
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
        let at = api::time(SystemClock::new().wall());
        let refused = RefusedJson { stage: stage.to_owned(), message: reason.to_owned() };
        self.write(&UnreadJson { at, by, policy: requested, cause: "swap", refused }, None);
    }

    /// Notes a kept policy that a start could not use.
    pub(crate) fn note_unusable(&self, policy: &Policy, error: &SwapError) {
        self.note_refused("start", policy.digest(), error.stage.as_str(), &error.reason);
    }

    /// Notes the state of the policy that the command line names, as it was last read.
    pub(crate) fn note_asked(&self, requested: Requested) {
        self.send(JournalCommand::Requested(requested));
    }

    /// Waits until all changes up to here are written. Returns `false` if the disk has failed the latest, so
    /// that a restart comes back with an earlier one.
    pub(crate) async fn flushed(&self) -> bool {
        let (done, kept) = oneshot::channel();
        self.send(JournalCommand::Flush(done));
        kept.await.unwrap_or(false)
    }

    /// Does the same, and releases the folder, for a successor. Later changes are not kept.
    pub(crate) async fn close(&self) {
        let (done, kept) = oneshot::channel();
        self.send(JournalCommand::Close(done));
        let _ = kept.await;
    }

    fn write(&self, line: &impl Serialize, checkpoint: Option<Checkpoint>) {
        match serde_json::to_string(line) {
            Ok(line) => self.send(JournalCommand::Write(line, checkpoint)),
            // Only a map with keys that are no text fails, and there is none.
            Err(error) => tracing::error!(%error, "a change of the policy is no JSON"),
        }
    }

    fn send(&self, order: JournalCommand) {
        // The thread ends before its handles do only after a `Close`.
        let _ = self.0.send(order);
    }
}

fn write_all(state: State, mut requested: Requested, orders: &mpsc::Receiver<JournalCommand>) {
    let (mut kept, mut last) = (true, None);
    for order in orders {
        match order {
            JournalCommand::Write(line, checkpoint) => {
                // The record first: a change that it names may then be found not to have been kept, but never
                // the reverse.
                let recorded = noted(&state, state.append(&line));
                if let Some(checkpoint) = checkpoint {
                    kept = noted(&state, state.keep(&requested, &checkpoint)) && recorded;
                    last = Some(checkpoint);
                }
            }
            JournalCommand::Requested(now) => {
                requested = now;
                if let Some(last) = &last {
                    kept = noted(&state, state.keep(&requested, last));
                }
            }
            JournalCommand::Flush(done) => {
                // The caller may be gone.
                let _ = done.send(kept);
            }
            JournalCommand::Close(done) => {
                drop(state);
                let _ = done.send(kept);
                return;
            }
        }
    }
}

fn noted(state: &State, written: std::io::Result<()>) -> bool {
    written
        .inspect_err(|error| {
            tracing::error!(%error, folder = %state.folder.display(), "cannot keep a change of the policy");
        })
        .is_ok()
}
