//! Failures of one kind: told when they begin, with their cause, counted while they last, and told when they
//! are over.
//!
//! A database that is down fails every request, and a line for each would fill a disk and hide the cause. So
//! no file may log for a request that failed: it hands its [`Failure`] on, and this table, which has one
//! place for each kind of trouble, says what is to be logged. It knows nothing of HTTP. No line is logged
//! under its lock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold::{Clock, Error, Instant, SystemClock};
use tokio::sync::Notify;

use crate::store::{Access, Store, StoreError};

/// Time between two lines about the same trouble, and time without a failure after which it may be over.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pause between two looks at the table, while there is trouble.
const LOOK: Duration = Duration::from_secs(1);

/// Kinds of trouble. Each has its own beginning and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The database cannot be reached, or does not keep up.
    Database,
    /// The database takes no writes.
    ReadOnly,
    /// The database refuses statements for good: a missing privilege, table or column.
    Refused,
    /// The fault is ours.
    Internal,
}

/// The words in the log, for the beginning, while it lasts, and for the end.
impl Trouble {
    const ALL: [Self; 4] = [Self::Database, Self::ReadOnly, Self::Refused, Self::Internal];

    fn begins(self) -> &'static str {
        match self {
            Self::Database => "the database fails; what fails from here on is counted",
            Self::ReadOnly => "the database takes no writes; what fails from here on is counted",
            Self::Refused => "the database refuses statements; what fails from here on is counted",
            Self::Internal => "requests fail inside the server; what fails from here on is counted",
        }
    }

    fn lasts(self) -> &'static str {
        match self {
            Self::Database => "the database still fails",
            Self::ReadOnly => "the database still takes no writes",
            Self::Refused => "the database still refuses statements",
            Self::Internal => "requests still fail inside the server",
        }
    }

    fn ends(self) -> &'static str {
        match self {
            Self::Database => "the database answers again",
            Self::ReadOnly => "no more writes have failed",
            Self::Refused => "no more statements were refused",
            Self::Internal => "no more requests have failed inside the server",
        }
    }
}

/// A request that failed, on its way from a handler to the table, with the answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    pub(crate) cause: Arc<str>,
    /// Whether the cause is somebody's words, and not only that time was up.
    is_named: bool,
}

impl Failure {
    fn new(trouble: Trouble, cause: impl Into<Arc<str>>, is_named: bool) -> Self {
        Self { trouble, cause: cause.into(), is_named }
    }

    /// Returns the trouble behind an error of a cache. An answer that is merely "no" has none.
    pub(crate) fn of_cache(error: &Error) -> Option<Self> {
        Some(match error {
            Error::Absent | Error::UnknownWorkspace => return None,
            Error::Unavailable(reason) => Self::new(Trouble::Database, reason.to_string(), true),
            Error::OutcomeUnknown(_) => Self::new(Trouble::Database, error.to_string(), true),
            Error::Timeout | Error::Overloaded => Self::new(Trouble::Database, error.to_string(), false),
            Error::ReadOnly => Self::new(Trouble::ReadOnly, error.to_string(), true),
            Error::Refused(reason) => Self::new(Trouble::Refused, reason.to_string(), true),
            _ => Self::new(Trouble::Internal, error.to_string(), true),
        })
    }

    /// Returns the trouble behind an error of the server's own statements.
    pub(crate) fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::ReadOnly => Self::new(Trouble::ReadOnly, error.to_string(), true),
            StoreError::Unavailable(reason) => Self::new(Trouble::Database, reason.to_string(), true),
            StoreError::FileChanged(_) | StoreError::OutcomeUnknown(_) => {
                Self::new(Trouble::Database, error.to_string(), true)
            }
        }
    }
}

/// A line of the log about one trouble.
#[derive(Debug, PartialEq, Eq)]
enum OutageLine {
    Begins {
        trouble: Trouble,
        cause: Arc<str>,
    },
    /// The first cause in somebody's words, where the beginning had none.
    Named {
        trouble: Trouble,
        cause: Arc<str>,
    },
    Lasts {
        trouble: Trouble,
        cause: Arc<str>,
        failed: u64,
        in_all: u64,
        lasted: Duration,
    },
    Ends {
        trouble: Trouble,
        cause: Arc<str>,
        in_all: u64,
        lasted: Duration,
    },
}

/// A trouble that lasts.
struct Outage {
    trouble: Trouble,
    begun: Instant,
    last: Instant,
    told: Instant,
    in_all: u64,
    untold: u64,
    cause: Arc<str>,
    is_named: bool,
}

/// The troubles that last, one of each kind at most.
#[derive(Default)]
struct OutageTable([Option<Outage>; Trouble::ALL.len()]);

impl OutageTable {
    /// Notes a failure. Returns what is to be logged about it, mostly nothing.
    fn note(&mut self, now: Instant, failure: &Failure) -> Option<OutageLine> {
        let trouble = failure.trouble;
        let place = self.0.get_mut(trouble as usize)?;
        let Some(outage) = place else {
            let (cause, is_named) = (Arc::clone(&failure.cause), failure.is_named);
            let begins = OutageLine::Begins { trouble, cause: Arc::clone(&cause) };
            let (begun, last, told) = (now, now, now);
            *place = Some(Outage { trouble, begun, last, told, in_all: 1, untold: 0, cause, is_named });
            return Some(begins);
        };
        outage.last = now;
        outage.in_all += 1;
        outage.untold += 1;
        if !failure.is_named {
            return None;
        }
        if outage.cause != failure.cause {
            outage.cause = Arc::clone(&failure.cause);
        }
        let was_named = std::mem::replace(&mut outage.is_named, true);
        (!was_named).then(|| OutageLine::Named { trouble, cause: Arc::clone(&outage.cause) })
    }

    /// Returns the troubles that may be over: none has failed for a while.
    fn quiet(&self, now: Instant) -> Vec<Trouble> {
        let outages = self.0.iter().flatten();
        outages.filter(|outage| outage.is_quiet(now)).map(|outage| outage.trouble).collect()
    }

    /// Returns the lines that are due, and drops the troubles that are over: those of `over` that have been
    /// quiet since.
    fn due(&mut self, now: Instant, over: &[Trouble]) -> Vec<OutageLine> {
        self.0.iter_mut().filter_map(|place| Outage::due(place, now, over)).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl Outage {
    fn is_quiet(&self, now: Instant) -> bool {
        self.untold == 0 && now.saturating_since(self.last) >= INTERVAL
    }

    fn due(place: &mut Option<Self>, now: Instant, over: &[Trouble]) -> Option<OutageLine> {
        let outage = place.as_mut()?;
        let lasted = outage.last.saturating_since(outage.begun);
        let (trouble, in_all, cause) = (outage.trouble, outage.in_all, Arc::clone(&outage.cause));
        if outage.untold > 0 {
            if now.saturating_since(outage.told) < INTERVAL {
                return None;
            }
            outage.told = now;
            let failed = std::mem::take(&mut outage.untold);
            return Some(OutageLine::Lasts { trouble, cause, failed, in_all, lasted });
        }
        if outage.is_quiet(now) && over.contains(&trouble) {
            *place = None;
            return Some(OutageLine::Ends { trouble, cause, in_all, lasted });
        }
        None
    }
}

impl OutageLine {
    fn log(&self) {
        let seconds = |lasted: &Duration| humantime::format_duration(Duration::from_secs(lasted.as_secs()));
        match self {
            Self::Begins { trouble, cause } => tracing::warn!(%cause, "{}", trouble.begins()),
            Self::Named { trouble, cause } => tracing::warn!(%cause, "{}: the cause", trouble.lasts()),
            Self::Lasts { trouble, cause, failed, in_all, lasted } => {
                let lasted = seconds(lasted);
                tracing::warn!(failed, in_all, %lasted, %cause, "{}", trouble.lasts());
            }
            Self::Ends { trouble, cause, in_all, lasted } => {
                let lasted = seconds(lasted);
                tracing::warn!(in_all, %lasted, last_cause = %cause, "{}", trouble.ends());
            }
        }
    }
}

/// The table, the clock that it goes by, and the task that logs what is due.
pub(crate) struct Outages {
    clock: Box<dyn Clock>,
    table: Mutex<OutageTable>,
    begun: Notify,
}

impl Outages {
    pub(crate) fn new() -> Self {
        Self { clock: Box::new(SystemClock::new()), table: Mutex::default(), begun: Notify::new() }
    }

    /// Notes a failure, and logs the first of its kind.
    pub(crate) fn note(&self, failure: &Failure) {
        let line = self.table().note(self.clock.now(), failure);
        if let Some(line) = line {
            line.log();
            self.begun.notify_one();
        }
    }

    /// Logs what is due, for as long as the server runs. The database is asked before it is said to be back:
    /// without requests there are no failures either.
    pub(crate) async fn watch(&self, store: &Store) {
        loop {
            self.begun.notified().await;
            while !self.table().is_empty() {
                tokio::time::sleep(LOOK).await;
                let mut over = self.table().quiet(self.clock.now());
                if over.contains(&Trouble::Database) || over.contains(&Trouble::ReadOnly) {
                    let access = store.ping().await.ok();
                    over.retain(|trouble| match trouble {
                        Trouble::Database => access.is_some(),
                        Trouble::ReadOnly => access == Some(Access::ReadWrite),
                        Trouble::Refused | Trouble::Internal => true,
                    });
                }
                let due = self.table().due(self.clock.now(), &over);
                due.iter().for_each(OutageLine::log);
            }
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, OutageTable> {
        // Nothing that may panic is done under the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
