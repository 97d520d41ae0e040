//! The builder of a cache: what the cache needs, and the operator's bounds with their defaults.
//!
//! Every bound is checked before anything is made, so that nothing made later has to check it.

mod check;
mod error;
mod runtime;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use self::runtime::check_runtime;
use super::{SecretCache, changes, housekeeping};
use crate::admission::Admission;
use crate::core::Core;
use crate::flight::Flights;
use crate::lease::Ceilings;
use crate::policy::intake::Rehearsal;
use crate::policy::intake::gate::Gate;
use crate::policy::rollout::breaker::Breaker;
use crate::policy::rollout::notices::Observer;
use crate::policy::rollout::{Rollout, RolloutConfig};
use crate::policy::runtime::pool::CallLimits;
use crate::rehearsal::{load_and_rehearse, rehearsing};
use crate::reread::Rereads;
use crate::statements::Statements;
use crate::stats::Counters;
use crate::table::Table;
use crate::{
    Clock, Database, Execution, Policy, PolicyCard, PolicyChange, Probation, PublicKey, RetainedPolicy,
    SystemClock,
};

pub use self::error::BuildError;

/// Default capacity: enough for any fleet that one process serves; at 36-byte ids and 43-byte secrets about
/// 250 MB when full, and twice that beside an `answer` that blocks.
const CAPACITY: usize = 1_000_000;
const MAX_FRESH: Duration = Duration::from_secs(3600);
const MAX_KEEP: Duration = Duration::from_secs(24 * 3600);
const MAX_ABSENT: Duration = Duration::from_secs(30);
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);
const POLICY_CPU_LIMIT: Duration = Duration::from_millis(10);

/// Default faults and window of the breaker: few enough that a policy which always fails is gone after some
/// tens of milliseconds of wasted calls, and more than a single odd workspace causes.
const BREAKER: (u32, Duration) = (8, Duration::from_secs(10));
/// Statements that a database is taken to run at once if it does not say.
const CONNECTIONS: usize = 16;
/// Maximum of loads that ask the policy at once, however many a statement can serve (or `max_selects`, if
/// that is more): each takes an instance of it, which may wait for the database, so this bounds its memory.
const MAX_CALLS: usize = 64;
/// Maximum of loads that ask the policy at once after their SELECT was answered: each holds an instance only
/// for as long as the policy computes, so about as many of them run as there are processors.
const ANSWERED: usize = 16;
/// Default maximum of loads that wait while others run. Where the database reads one workspace at a time, at
/// a millisecond each and with eight permits, the last of them waits an eighth of a second.
const QUEUE: usize = 1024;

/// Puts a [`SecretCache`] together.
#[must_use]
pub struct Builder {
    database: Option<Arc<dyn Database>>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    capacity: usize,
    ceilings: Ceilings,
    database_timeout: Duration,
    calls: CallLimits,
    gate: Gate,
    max_selects: Option<usize>,
    max_issues: Option<usize>,
    max_queue: usize,
    breaker: (u32, Duration),
    probation: Probation,
    previous: Vec<RetainedPolicy>,
    first_on_probation: bool,
    observer: Option<Observer>,
    rehearsal: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            database: None,
            policy: builtin(),
            clock: Arc::new(SystemClock::new()),
            capacity: CAPACITY,
            ceilings: Ceilings { max_fresh: MAX_FRESH, max_keep: MAX_KEEP, max_absent: MAX_ABSENT },
            database_timeout: DATABASE_TIMEOUT,
            calls: CallLimits { cpu_limit: POLICY_CPU_LIMIT, may_leave: true, execution: None },
            gate: Gate::default(),
            max_selects: None,
            max_issues: None,
            max_queue: QUEUE,
            breaker: BREAKER,
            probation: Probation::default(),
            previous: Vec::new(),
            first_on_probation: false,
            observer: None,
            rehearsal: true,
        }
    }
}

/// Returns the policy that needs no operator.
fn builtin() -> Policy {
    Policy::from_bytes(leasehold_policies::TTL)
}

impl Builder {
    /// Sets the database that holds the secrets. Required.
    pub fn database(mut self, database: impl Database) -> Self {
        self.database = Some(Arc::new(database));
        self
    }

    /// Sets the first policy; the built-in `ttl` by default.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the clock; the machine's by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the maximum number of entries; 1,000,000 by default. When there are more, the entries with the
    /// least time left go, a sixteenth of the capacity at once.
    pub fn capacity(mut self, entries: usize) -> Self {
        self.capacity = entries;
        self
    }

    /// Sets the longest time that a value may be served without asking the policy, counted from when it was
    /// obtained; 1 h by default. No policy can exceed it.
    pub fn max_fresh(mut self, span: Duration) -> Self {
        self.ceilings.max_fresh = span;
        self
    }

    /// Sets the longest time that a policy may keep a value and answer with it; 24 h by default.
    pub fn max_keep(mut self, span: Duration) -> Self {
        self.ceilings.max_keep = span;
        self
    }

    /// Sets the longest time that a policy may store absence; 30 s by default.
    pub fn max_absent(mut self, span: Duration) -> Self {
        self.ceilings.max_absent = span;
        self
    }

    /// Sets the longest time that a load may wait for the database in all, after which it fails with a typed
    /// error; 1 s by default, an hour at most. An issue may wait as long again for its turn. The timeout
    /// should be longer than the database's own waits for a connection or a lock (0.8 s at most for the
    /// databases of this crate): an issue that is given up on while it waits there has an outcome that is
    /// unknown, though nothing was sent.
    pub fn database_timeout(mut self, span: Duration) -> Self {
        self.database_timeout = span;
        self
    }

    /// Sets the processor time that one call of a policy may take; 10 ms by default. A call comes back to be
    /// checked within a millisecond of it, and is ended where the next check would be too late.
    pub fn policy_cpu_limit(mut self, span: Duration) -> Self {
        self.calls.cpu_limit = span;
        self
    }

    /// Sets whether a call that takes long, in milliseconds of processor time, leaves the runtime for a
    /// thread of its own, so that the runtime's tasks do not wait for it; it does by default. A test that has
    /// to run the same way each time says no.
    pub fn offload_long_calls(mut self, may_leave: bool) -> Self {
        self.calls.may_leave = may_leave;
        self
    }

    /// Sets whether policies are run by an interpreter, which needs no executable memory, in place of machine
    /// code. By default they are where the system forbids such memory (systemd's `MemoryDenyWriteExecute`,
    /// SELinux's `execmem`), and nowhere else. Hits ask no policy and take as long; a miss takes longer, as
    /// ARCHITECTURE.md says.
    pub fn interpreter(mut self, interpreted: bool) -> Self {
        self.calls.execution = Some(if interpreted { Execution::Interpreter } else { Execution::Native });
        self
    }

    /// Sets the only components that are let in, by their SHA-256 in hexadecimal. Without any digest, every
    /// component is let in. The policies that come with this crate are always let in: the breaker falls back
    /// on one of them.
    pub fn pinned_digests(mut self, digests: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.gate.pinned = digests.into_iter().map(|digest| digest.into().to_ascii_lowercase()).collect();
        self
    }

    /// Sets the keys whose signatures are accepted. Where there is a key, a component has to be
    /// [signed](Policy::signed) by one of them, under a revision that is no older than the highest that was
    /// active before, unless it is [forced](Policy::forced). The policies that come with this crate need no
    /// signature; a [rollback](SecretCache::rollback) asks for none, because the policy it goes back to was
    /// let in before.
    pub fn trusted_keys(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        self.gate.trusted = keys.into_iter().collect();
        self
    }

    /// Sets the lowest signed revision that is let in; 0 by default. See also
    /// [`remembered_revision`](Self::remembered_revision).
    pub fn revision_floor(mut self, revision: u64) -> Self {
        self.gate.highest_revision = AtomicU64::new(revision);
        self
    }

    /// Sets the highest signed revision that was active in an earlier process, as
    /// [`PolicyChange::highest_revision`](crate::PolicyChange::highest_revision) reported it then: a policy
    /// that is swapped in must not be older. The first policy and the retained ones may be, after a rollback.
    pub fn remembered_revision(mut self, revision: u64) -> Self {
        self.gate.remembered_revision = revision;
        self
    }

    /// Sets how long a swap waits for its component to be compiled, and for other components that are being
    /// compiled in this process: one at a time, whatever the number of caches, and the same component once
    /// for all of them; 30 s by default, by the machine's clock. A swap whose component is not compiled by
    /// then is refused. The compiler itself cannot be stopped, and is busy until it has finished.
    pub fn policy_compile_limit(mut self, span: Duration) -> Self {
        self.gate.compile_limit = span;
        self
    }

    /// Sets the number of failed calls, and the window in which they count, after which the active policy is
    /// replaced by the last good one, or by the built-in `ttl` where there is none; 8 in 10 s by default.
    pub fn breaker(mut self, faults: u32, window: Duration) -> Self {
        self.breaker = (faults, window);
        self
    }

    /// Sets what a policy that was just swapped in may do before it is taken back; see [`Probation`] for the
    /// defaults.
    pub fn probation(mut self, probation: Probation) -> Self {
        self.probation = probation;
        self
    }

    /// Sets the policies that a rollback, the breaker or a failed probation goes back to, the latest last:
    /// those that an earlier process retained. A policy that cannot be loaded any more is left out, with a
    /// warning in the log.
    pub fn previous(mut self, policies: Vec<RetainedPolicy>) -> Self {
        self.previous = policies;
        self
    }

    /// Sets whether the first policy is on probation as if it had just been swapped in: for a policy that had
    /// not yet proved itself in an earlier process. It is not by default.
    pub fn first_on_probation(mut self, on_probation: bool) -> Self {
        self.first_on_probation = on_probation;
        self
    }

    /// Sets the observer, which is notified of every change of the policy and of every refusal, in order: the
    /// first policy, swaps, rollbacks, and what the breaker or a probation does. A swap and a rollback return
    /// once the observer was notified of them. It may look at the cache and have its policy changed, but must
    /// not block until another thread or task has changed it, which waits for the observer to return. It
    /// should be quick: a read may be what made the change. Where it panics, that is logged, and the change
    /// stands.
    pub fn on_policy_change(mut self, observer: impl Fn(&PolicyChange<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Sets the maximum of SELECT statements in flight; by default three quarters of the database's
    /// connections, so that a flood of misses leaves some for issues. Where a database reads many workspaces
    /// in one statement, that many more loads are in flight at once.
    pub fn max_selects(mut self, loads: usize) -> Self {
        self.max_selects = Some(loads);
        self
    }

    /// Sets the maximum of issues that run at once; by default half of the database's connections.
    pub fn max_issues(mut self, issues: usize) -> Self {
        self.max_issues = Some(issues);
        self
    }

    /// Sets the maximum of loads, and of issues, that may wait while others run; 1,024 by default. One more
    /// is rejected at once with [`Error::Overloaded`](crate::Error::Overloaded).
    pub fn max_queue(mut self, waiting: usize) -> Self {
        self.max_queue = waiting;
        self
    }

    /// Sets whether every policy is rehearsed before it becomes active, the first one included; it is by
    /// default. A rehearsal takes some milliseconds, beside the requests and never before them; the result
    /// for the same component under the same settings and ceilings holds for other caches of the process too.
    /// Without a rehearsal there is no [`PolicyCard`], and a policy that always fails is found out by the
    /// breaker instead.
    pub fn rehearsal(mut self, rehearsed: bool) -> Self {
        self.rehearsal = rehearsed;
        self
    }

    /// Rehearses the policy under these bounds, and returns what was found. It needs no database and makes no
    /// cache.
    ///
    /// # Errors
    ///
    /// [`BuildError::Policy`] where the policy is refused: a swap would refuse it at the same stage.
    pub async fn rehearse(self) -> Result<PolicyCard, BuildError> {
        self.check()?;
        check_runtime()?;
        Ok(load_and_rehearse(self.policy, self.gate, self.clock, self.calls, self.ceilings).await?)
    }

    /// Compiles, configures and rehearses the policy, and starts the cache's housekeeping on the current
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BuildError`] says what is missing, out of range or refused.
    pub async fn build(self) -> Result<SecretCache, BuildError> {
        self.check()?;
        let database = self.database.ok_or(BuildError::Missing("database"))?;
        check_runtime()?;
        let (faults, window) = self.breaker;
        let config = RolloutConfig {
            gate: self.gate,
            calls: self.calls,
            rehearsal: self.rehearsal.then_some(Rehearsal { ceilings: self.ceilings, run: rehearsing }),
            breaker: Breaker::new(faults, window),
            probation: self.probation,
            first_on_probation: self.first_on_probation,
            observer: self.observer,
        };
        let (clock, counters) = (Arc::clone(&self.clock), Arc::new(Counters::default()));
        let rollout =
            Rollout::new(self.policy, builtin(), self.previous, config, clock, Arc::clone(&counters)).await?;
        let connections = database.connections().unwrap_or(CONNECTIONS);
        let max_selects = self.max_selects.unwrap_or((connections * 3 / 4).max(1));
        let max_issues = self.max_issues.unwrap_or((connections / 2).max(1));
        // Each statement reads for many loads, which ask the policy when it has ended.
        let calls = max_selects.saturating_mul(database.batch_size()).min(MAX_CALLS).max(max_selects);
        let statements = Statements::new(
            database,
            Arc::clone(&self.clock),
            Arc::clone(&counters),
            self.database_timeout,
            max_selects,
        );
        let core = Arc::new(Core {
            table: Table::new(self.capacity),
            flights: Arc::new(Flights::new()),
            rollout,
            clock: self.clock,
            statements: Arc::new(statements),
            counters,
            ceilings: self.ceilings,
            reading: Admission::new(calls, self.max_queue),
            answered: Admission::new(ANSWERED, 0),
            writing: Admission::new(max_issues, self.max_queue),
            rereads: Rereads::default(),
        });
        changes::start(&core);
        housekeeping::start(&core);
        Ok(SecretCache { core })
    }
}

#[cfg(test)]
mod tests;
