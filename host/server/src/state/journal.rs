//! The thread that writes what is kept: disks are slow, and whoever changes a policy holds a lock.
//!
//! Changes are written in the order in which they took effect. A disk that fails costs what would have been kept, says so,
//! and changes nothing in what is served.

use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use leasehold::{Policy, PolicyChange};
use tokio::sync::oneshot;

use super::State;
use crate::{policy, respond};

/// Writes changes of the policy in the background.
#[derive(Clone)]
pub(crate) struct Journal(mpsc::Sender<Order>);

enum Order {
    Write {
        line: String,
        active: Policy,
        previous: Vec<Policy>,
        highest_revision: u64,
    },
    /// Says whether everything so far is kept.
    Flush(oneshot::Sender<bool>),
}

impl Journal {
    /// Starts the thread. `asked` is what the command line asks for.
    pub(crate) fn start(state: State, asked: Policy) -> anyhow::Result<Self> {
        let (sender, orders) = mpsc::channel();
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_all(&state, &asked, &orders))
            .context("cannot start the thread that keeps the policies")?;
        Ok(Self(sender))
    }

    /// Notes a change.
    pub(crate) fn note(&self, change: &PolicyChange<'_>) {
        let mut shown = respond::change(change.record);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("card".to_owned(), change.record.card.as_ref().map(policy::json).into());
        }
        let (active, previous) = (change.active.clone(), change.previous.clone());
        // The thread ends only when every handle is gone.
        let _ = self.0.send(Order::Write {
            line: shown.to_string(),
            active,
            previous,
            highest_revision: change.highest_revision,
        });
    }

    /// Waits until all changes up to here are kept. `false`: the disk has failed one of them.
    pub(crate) async fn flushed(&self) -> bool {
        let (done, kept) = oneshot::channel();
        self.0.send(Order::Flush(done)).is_ok() && kept.await.unwrap_or(false)
    }
}

fn write_all(state: &State, asked: &Policy, orders: &mpsc::Receiver<Order>) {
    let mut kept = true;
    for order in orders {
        match order {
            Order::Write { line, active, previous, highest_revision } => {
                // The record first: what it names may then be found not to have happened, but never the reverse.
                let written = state
                    .append(&line)
                    .and_then(|()| state.keep(asked, &active, &previous, highest_revision));
                kept = written
                    .inspect_err(|error| {
                        tracing::error!(%error, folder = %state.folder.display(), "cannot keep a change of the policy");
                    })
                    .is_ok();
            }
            Order::Flush(done) => {
                // Whoever asked may be gone.
                let _ = done.send(kept);
            }
        }
    }
}
