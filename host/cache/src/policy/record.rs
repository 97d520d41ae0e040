//! Record of one call: what a policy was shown, what it did, and the judgement of its answer.
//!
//! It is pure: it reads no clock, sends no statement and knows nothing of WebAssembly, so that every case of
//! G4 and G7 can be written down in a test. The record, and not the policy's word, is what the host goes by.

use crate::lease::{Ceilings, Lease};
use crate::statements::{Obtained, Read};
use crate::table::Snapshot;
use crate::{DatabaseError, Instant, IssueMode, Lookup, Secret, Status};

/// Maximum number of statements in one call: more than any honest policy needs, few enough to bound a call.
const MAX_STATEMENTS: u32 = 8;

/// The host's request to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read,
    Issue(IssueMode),
}

/// Reason why a call did not count. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

/// A secret in the hands of a policy.
#[expect(unreachable_pub, reason = "the generated bindings re-export it inside the crate")]
pub struct Handle {
    pub(crate) secret: Secret,
    pub(crate) obtained_at: Instant,
    origin: Origin,
    /// Step of the call that the secret came from: a value from before an issue must not be stored after it.
    step: u32,
}

/// Source of a handle's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Selected,
    Issued,
    Entry,
}

/// Change to the workspace's entry that a policy asks for.
#[derive(Clone)]
pub(crate) enum Change {
    Put(Snapshot),
    Remove,
}

/// Answer that the policy returned.
pub(crate) enum PolicyAnswer {
    Secret(Handle),
    Absent,
    /// An error. Which one the policy named does not matter: the record has the one that the database gave.
    Error,
}

/// A read's answer that the record bears out.
pub(crate) enum JudgedRead {
    Found(Lookup),
    Absent,
    /// The error is the database's.
    Failed(DatabaseError),
}

/// An issue's answer that the record bears out.
pub(crate) enum JudgedIssue {
    Secret(Secret),
    /// The error is the database's.
    Failed(DatabaseError),
}

/// What a policy was shown in one call, and what it did.
pub(crate) struct Record {
    request: Request,
    ceilings: Ceilings,
    snapshot: Option<Snapshot>,
    change: Option<Change>,
    steps: u32,
    sent: u32,
    /// Time at which the last select found no secret.
    absent_at: Option<Instant>,
    /// `true` if `entry.get` has shown an absence. It may be answered, though its lease may have ended since.
    was_shown_absence: bool,
    selected: bool,
    failure: Option<DatabaseError>,
    /// Step of the issue that was sent.
    issued: Option<u32>,
}

impl Record {
    pub(super) fn new(request: Request, snapshot: Option<Snapshot>, ceilings: Ceilings) -> Self {
        Self {
            request,
            ceilings,
            snapshot,
            change: None,
            steps: 0,
            sent: 0,
            absent_at: None,
            was_shown_absence: false,
            selected: false,
            failure: None,
            issued: None,
        }
    }

    /// Notes that a SELECT is sent. Returns its step.
    pub(super) fn begin_select(&mut self) -> Result<u32, Fault> {
        let step = self.statement()?;
        (self.absent_at, self.was_shown_absence, self.selected) = (None, false, true);
        Ok(step)
    }

    /// Notes what a SELECT has brought, and makes it a handle for the policy.
    pub(super) fn note_read(&mut self, step: u32, read: Read) -> Result<Option<Handle>, DatabaseError> {
        let Obtained { value, at } = read.inspect_err(|error| self.failure = Some(error.clone()))?;
        self.absent_at = value.is_none().then_some(at);
        Ok(value.map(|secret| Handle { secret, obtained_at: at, origin: Origin::Selected, step }))
    }

    /// Notes that an issue is sent. Returns its step. `is_first`: none was sent before that may have been
    /// committed.
    pub(super) fn begin_issue(&mut self, mode: IssueMode, is_first: bool) -> Result<u32, Fault> {
        if self.request != Request::Issue(mode) {
            return Err(Fault(format!("database.issue({mode:?}) in a call of {:?}", self.request)));
        }
        if !is_first {
            return Err(Fault(
                "database.issue was called again after an issue that may have been committed".into(),
            ));
        }
        let step = self.statement()?;
        self.issued = Some(step);
        // All that was put or seen before this is older than what the database is about to hold.
        (self.change, self.snapshot, self.absent_at) = (None, None, None);
        self.was_shown_absence = false;
        Ok(step)
    }

    /// Notes how an issue has ended, as far as is known, and makes a handle of its secret.
    pub(super) fn note_issue(
        &mut self,
        step: u32,
        issued: Result<Obtained<Secret>, DatabaseError>,
    ) -> Result<Handle, DatabaseError> {
        let Obtained { value, at } = issued.inspect_err(|error| self.failure = Some(error.clone()))?;
        Ok(Handle { secret: value, obtained_at: at, origin: Origin::Issued, step })
    }

    /// Shows the entry, as the call has changed it.
    pub(super) fn entry(&mut self, now: Instant) -> Option<(Snapshot, Option<Handle>)> {
        let snapshot = match &self.change {
            Some(Change::Put(put)) => Some(put.clone()),
            Some(Change::Remove) => None,
            None => self.snapshot.clone(),
        };
        let snapshot = snapshot.filter(|kept| now < kept.lease.keep_until)?;
        self.was_shown_absence = snapshot.value.is_none() && !self.selected;
        self.steps += 1;
        let handle = snapshot.value.clone().map(|secret| Handle {
            secret,
            obtained_at: snapshot.obtained_at,
            origin: Origin::Entry,
            step: self.steps,
        });
        Some((snapshot, handle))
    }

    /// Notes a put, its lease lowered to the ceilings.
    pub(super) fn put(&mut self, value: Option<&Handle>, lease: Lease) -> Result<(), Fault> {
        let (secret, obtained_at) = match value {
            Some(handle) if self.issued.is_some_and(|issued| handle.step < issued) => {
                return Err(Fault("entry.put of a secret from before the issue of the same call".into()));
            }
            Some(handle) => (Some(handle.secret.clone()), handle.obtained_at),
            None => match self.absent_at {
                Some(at) => (None, at),
                None => {
                    return Err(Fault("entry.put of an absence that the last select did not find".into()));
                }
            },
        };
        let lease = lease.lowered(&self.ceilings, obtained_at, secret.is_some());
        self.change = Some(Change::Put(Snapshot { value: secret, obtained_at, lease }));
        Ok(())
    }

    pub(super) fn remove(&mut self) {
        self.change = Some(Change::Remove);
    }

    /// Takes the change that the policy wants stored.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// Checks the answer to a read against the record. An answer that the record does not bear out is a
    /// fault.
    pub(super) fn judge_read(
        &self,
        answer: PolicyAnswer,
        now: Instant,
        answered_at: Instant,
    ) -> Result<JudgedRead, Fault> {
        match answer {
            PolicyAnswer::Secret(handle) => {
                let status = self.status(&handle, now);
                let lookup = Lookup::new(handle.secret, status, handle.obtained_at, answered_at);
                Ok(JudgedRead::Found(lookup))
            }
            PolicyAnswer::Absent
                if self.absent_at.is_some() || self.was_shown_absence || self.kept_absence(now) =>
            {
                Ok(JudgedRead::Absent)
            }
            PolicyAnswer::Absent => {
                Err(Fault("the answer was an absence that the database did not report".into()))
            }
            PolicyAnswer::Error => self.reported().map(JudgedRead::Failed),
        }
    }

    /// Checks the answer to an issue against the record: it must be the secret that the database committed,
    /// or, for a heal that sent no issue, one that it selected.
    pub(super) fn judge_issue(&self, answer: PolicyAnswer) -> Result<JudgedIssue, Fault> {
        match answer {
            PolicyAnswer::Secret(handle) if handle.origin == Origin::Issued => {
                Ok(JudgedIssue::Secret(handle.secret))
            }
            PolicyAnswer::Secret(handle)
                if handle.origin == Origin::Selected
                    && self.request == Request::Issue(IssueMode::Heal)
                    && self.issued.is_none() =>
            {
                Ok(JudgedIssue::Secret(handle.secret))
            }
            PolicyAnswer::Secret(_) | PolicyAnswer::Absent => {
                Err(Fault("the answer was not the secret that was issued".into()))
            }
            PolicyAnswer::Error => self.reported().map(JudgedIssue::Failed),
        }
    }

    fn status(&self, answered: &Handle, now: Instant) -> Status {
        let is_answer = |value: &Secret| value.same_as(&answered.secret);
        let leased = matches!(&self.change, Some(Change::Put(put))
            if now < put.lease.fresh_until && put.value.as_ref().is_some_and(is_answer));
        match answered.origin {
            Origin::Selected | Origin::Issued => Status::Miss,
            Origin::Entry if leased && self.failure.is_none() => Status::Renewed,
            Origin::Entry => Status::Stale,
        }
    }

    /// Returns the error that the database gave, for a policy that answers with an error.
    fn reported(&self) -> Result<DatabaseError, Fault> {
        self.failure
            .clone()
            .ok_or_else(|| Fault("the answer was an error that the database did not report".into()))
    }

    /// Returns whether absence is stored and still kept, and this call has not sent a select itself.
    fn kept_absence(&self, now: Instant) -> bool {
        let kept =
            self.snapshot.as_ref().is_some_and(|kept| kept.value.is_none() && now < kept.lease.keep_until);
        kept && !self.selected
    }

    fn statement(&mut self) -> Result<u32, Fault> {
        self.sent += 1;
        self.steps += 1;
        if self.sent > MAX_STATEMENTS {
            return Err(Fault(format!("more than {MAX_STATEMENTS} statements in one call")));
        }
        Ok(self.steps)
    }
}

#[cfg(test)]
mod tests;
