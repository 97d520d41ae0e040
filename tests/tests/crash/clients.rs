//! The clients: each has one workspace, and goes from one request to the next until its server is gone.
//!
//! An acknowledgement is an answer that says that something was done; it is in the log before the client goes
//! on. An answer that says that nothing was done is none, and an answer that says that the outcome is unknown
//! leaves its step pending.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::acknowledged::{Log, Row};
use leasehold_tests::server::{Answer, Client, no_body};

/// The work of a client on its workspace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Habit {
    /// The client rotates the secret.
    Rotate,
    /// The client deletes the workspace, creates it again, and sends the first heartbeat, which issues a
    /// secret.
    Heal,
}

/// One request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Delete,
    Create,
    Heal,
    Rotate,
}

/// The state that a client had to leave when its server was killed.
pub(super) struct Left {
    pub(super) id: &'static str,
    /// The step that was sent and not acknowledged.
    pub(super) pending: Option<Step>,
    /// Number of requests that were answered with an error.
    pub(super) refused: u64,
}

/// A client that remembers between two servers how many answers it has acknowledged.
pub(super) struct Worker {
    id: &'static str,
    habit: Habit,
    sequence: u64,
    token: String,
}

/// The meaning of an answer.
enum Said {
    Done(Row),
    /// The request has changed nothing.
    Refused,
    /// The request may have changed something.
    Unknown,
    /// The change was made before, by a request whose outcome was unknown.
    Exists,
}

impl Step {
    /// Returns whether this step, carried out to its end, can have made this row. `known` are the secrets of
    /// other steps.
    pub(super) fn makes(self, row: &Row, known: &HashSet<String>) -> bool {
        match (self, row) {
            (Self::Delete, Row::Gone) | (Self::Create, Row::Empty) => true,
            (Self::Heal | Self::Rotate, Row::Holds(secret)) => !known.contains(secret),
            _ => false,
        }
    }
}

impl Worker {
    pub(super) fn new(id: &'static str, habit: Habit) -> Self {
        Self { id, habit, sequence: 0, token: String::new() }
    }

    /// Sends requests until one fails because the server was killed.
    pub(super) fn work(
        &mut self,
        client: &Client,
        log: &Log,
        acknowledged: &Sender<()>,
        killing: &AtomicBool,
    ) -> Result<Left> {
        let mut step = self.first();
        let mut doubt = None;
        let mut refused = 0;
        loop {
            let said = match self.send(client, step) {
                Ok(said) => said,
                Err(error) => {
                    ensure!(killing.load(Ordering::SeqCst), "{}: {step:?} failed: {error:#}", self.id);
                    let pending = if was_sent(&error) { Some(step) } else { doubt };
                    return Ok(Left { id: self.id, pending, refused });
                }
            };
            match said {
                Said::Done(row) => {
                    self.sequence += 1;
                    log.append(self.id, self.sequence, &row)?;
                    doubt = None;
                    step = self.after(step);
                    // Acknowledgements are no longer counted once the kill is being sent.
                    let _ = acknowledged.send(());
                }
                Said::Refused => refused += 1,
                Said::Unknown => {
                    refused += 1;
                    doubt = Some(step);
                }
                Said::Exists => {
                    ensure!(doubt == Some(step), "{}: {step:?} met a row that nobody made", self.id);
                    step = self.first();
                }
            }
        }
    }

    fn first(&self) -> Step {
        match self.habit {
            Habit::Rotate => Step::Rotate,
            Habit::Heal => Step::Delete,
        }
    }

    fn after(&self, step: Step) -> Step {
        match step {
            Step::Rotate => Step::Rotate,
            Step::Delete => Step::Create,
            Step::Create => Step::Heal,
            Step::Heal => Step::Delete,
        }
    }

    fn send(&mut self, client: &Client, step: Step) -> Result<Said> {
        let (id, field) = (self.id, "platform_inbound_secret");
        let secret =
            |answer: &Answer| answer.text_of(200, field).map(|secret| Said::Done(Row::Holds(secret)));
        match step {
            Step::Rotate => {
                let answer = client.admin("POST", &format!("/workspaces/{id}/secret"), no_body())?;
                if answer.status == 200 { secret(&answer) } else { error(&answer) }
            }
            Step::Heal => {
                let answer = client.heartbeat(id, &self.token)?;
                if answer.status != 200 {
                    return error(&answer);
                }
                // The secret was missing, and an error that it came with is not distinguished.
                if answer.json(200)?.get("secret_error").is_some() {
                    return Ok(Said::Unknown);
                }
                secret(&answer)
            }
            Step::Create => {
                let body = serde_json::json!({ "id": id }).to_string();
                let answer = client.admin("POST", "/workspaces", body.into())?;
                match answer.status {
                    201 => {
                        self.token = answer.text_of(201, "auth_token")?;
                        Ok(Said::Done(Row::Empty))
                    }
                    409 => Ok(Said::Exists),
                    _ => error(&answer),
                }
            }
            Step::Delete => {
                let answer = client.admin("DELETE", &format!("/workspaces/{id}"), no_body())?;
                if matches!(answer.status, 204 | 404) { Ok(Said::Done(Row::Gone)) } else { error(&answer) }
            }
        }
    }
}

/// Judges an error that a busy database may be the cause of. Any other error is a defect.
fn error(answer: &Answer) -> Result<Said> {
    let code = answer.json(503)?["error"]["code"].as_str().context("no code")?.to_owned();
    Ok(if code == "outcome_unknown" { Said::Unknown } else { Said::Refused })
}

/// Returns whether a request that failed may have reached the server.
fn was_sent(error: &anyhow::Error) -> bool {
    let refused = |error: &ureq::Error| match error {
        ureq::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        ureq::Error::ConnectionFailed => true,
        _ => false,
    };
    !error.downcast_ref::<ureq::Error>().is_some_and(refused)
}
