//! A stand-in for a loaded policy: one of a few that matter for interleavings.
//!
//! Each answers with what it puts, and states in its secrets which generation has leased them, as far as it
//! is asked. It puts no absence.

use std::pin::pin;

use super::call::{Call, CallError, Fault, Handle, PolicyAnswer, Request};
use crate::database::issues_under;
use crate::lease::{Generation, Lease};
use crate::model::{FAR, Stamp, lease};
use crate::sync::Arc;
use crate::{Instant, IssueMode};

/// The answer of a policy to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The policy answers with a SELECT.
    Selects,
    /// The policy answers with the kept entry under a new lease, where there is one: as after a swap.
    Renews,
    /// The policy answers with a SELECT, and under a lease that asks for a refresh with its first hit.
    Refreshes,
    /// The policy puts what it has read or issued, and fails then.
    Fails,
}

pub(crate) struct Loaded {
    kind: Kind,
    generation: Generation,
}

impl Loaded {
    pub(super) fn new(kind: Kind, generation: Generation) -> Arc<Self> {
        Arc::new(Self { kind, generation })
    }

    /// Calls the policy, in the task that makes the call and with its requests beside it, as the product
    /// does.
    pub(crate) async fn call(
        self: &Arc<Self>,
        mut call: Box<Call>,
    ) -> (Box<Call>, Result<PolicyAnswer, CallError>) {
        let host_io = call.host_io();
        let answer = host_io.drive(pin!(self.answer(&mut call))).await;
        (call, answer)
    }

    pub(crate) fn note_fault(&self, _: &str, _: Request, _: &Fault) {
        assert_eq!(self.kind, Kind::Fails, "the record does not bear out what an honest policy answers");
    }

    async fn answer(&self, call: &mut Call) -> Result<PolicyAnswer, CallError> {
        let found = match call.request {
            Request::Read => self.read(call).await?,
            Request::Issue(mode) => self.issue(call, mode).await?,
        };
        let PolicyAnswer::Secret(handle) = found else { return Ok(found) };
        call.put(Some(&handle), self.lease())?;
        match self.kind {
            Kind::Fails => Err(Fault("it fails".into()).into()),
            Kind::Selects | Kind::Renews | Kind::Refreshes => Ok(PolicyAnswer::Secret(handle)),
        }
    }

    async fn read(&self, call: &mut Call) -> Result<PolicyAnswer, Fault> {
        let kept = if self.kind == Kind::Renews { call.entry().and_then(|(_, handle)| handle) } else { None };
        let found = match kept {
            Some(handle) => Ok(Some(handle)),
            None => call.select().await?,
        };
        Ok(match found {
            Ok(Some(handle)) => PolicyAnswer::Secret(self.stamped(handle)),
            Ok(None) => PolicyAnswer::Absent,
            Err(_) => PolicyAnswer::Error,
        })
    }

    async fn issue(&self, call: &mut Call, mode: IssueMode) -> Result<PolicyAnswer, Fault> {
        issues_under(self.generation);
        Ok(match call.issue(mode).await? {
            Ok(handle) => PolicyAnswer::Secret(handle),
            Err(_) => PolicyAnswer::Error,
        })
    }

    /// Makes a secret state that this generation has leased it.
    fn stamped(&self, mut handle: Handle) -> Handle {
        handle.secret = Stamp { generation: self.generation, ..Stamp::of(&handle.secret) }.secret();
        handle
    }

    fn lease(&self) -> Lease {
        let asks_at_once = self.kind == Kind::Refreshes;
        lease(if asks_at_once { Instant::default() } else { FAR }, FAR)
    }
}
