//! The path of an issue to a task of the host, and the error of an issue whose task is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::SecretCache;
use crate::error::RUNTIME_ENDED;
use crate::flight::ReadOutcome;
use crate::{Error, WorkspaceId};

impl SecretCache {
    /// Rotates the secret in a task of the host, within the span.
    pub(super) async fn rotate(&self, workspace: &WorkspaceId, span: Span) -> ReadOutcome {
        let core = &self.core;
        let slot = match core.writing.try_enqueue() {
            Ok(slot) => slot,
            Err(error) => return Err(core.reject(error)),
        };
        let (tx, rx) = oneshot::channel();
        // From this moment no read that was sent earlier can be stored, and the caller may be dropped.
        let writer = core.flights.write(workspace);
        let rotate = Arc::clone(core).rotate(core.rollout.active(), writer, slot, move |outcome| {
            // The caller may be gone.
            let _ = tx.send(outcome);
        });
        let has_begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&has_begun);
        let task = async move {
            begins.store(true, Ordering::SeqCst);
            rotate.await;
        };
        core.statements.runtime.spawn(task.instrument(span));
        match rx.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.lost_issue(workspace, has_begun.load(Ordering::SeqCst))),
        }
    }

    /// The error of an issue whose task ended without an answer.
    fn lost_issue(&self, workspace: &WorkspaceId, has_begun: bool) -> Error {
        let runtime_has_ended = self.core.statements.runtime_has_ended();
        if runtime_has_ended && !has_begun {
            return Error::RuntimeEnded;
        }
        // The statement may have been sent.
        self.remove(workspace);
        let words = if runtime_has_ended { RUNTIME_ENDED } else { "the task of the issue ended early" };
        Error::OutcomeUnknown(words.into())
    }
}
