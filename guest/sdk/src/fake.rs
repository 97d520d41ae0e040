//! A host for native tests: a clock and a database that the test sets, and the rules that the real host
//! enforces.
//!
//! It keeps the contract's observable behaviour (hits under a lease, changes that take effect when a call
//! returns, ceilings, absence only where a SELECT found it, refreshes ahead and the pauses between them) and
//! nothing of the machinery: no threads, flights or swaps under load; a refresh is over when the hit that
//! asked for it returns. A fault of the policy for the real host is a panic here. The project's own tests run
//! the same scenario against this and against the real host with the component.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use crate::{Context, DatabaseError, Instant, IssueMode, Lease, Level, Policy, Secret, Settings, Snapshot};

/// The bounds that the operator sets, as the real host has them by default.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Maximum time for which a value is served without a call of the policy.
    pub max_fresh: Duration,
    /// Maximum time for which a value is kept.
    pub max_keep: Duration,
    /// Maximum time for which absence is served or kept.
    pub max_absent: Duration,
}

impl Default for Ceilings {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self { max_fresh: hours(1), max_keep: hours(24), max_absent: Duration::from_secs(30) }
    }
}

/// Minimum and maximum time for which a refresh that brought nothing is not tried again; between them it is
/// as long as the refresh has been due. The values are the real host's.
const REFRESH_PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// A policy under test, with the database and the clock that the test drives.
pub struct FakeHost<P> {
    policy: P,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    now: Cell<u64>,
    ceilings: Cell<Ceilings>,
    rows: RefCell<BTreeMap<String, Option<String>>>,
    entries: RefCell<BTreeMap<String, Entry>>,
    failure: Cell<Option<DatabaseError>>,
    generation: Cell<u64>,
    selects: Cell<u64>,
    issues: Cell<u64>,
    calls: Cell<u64>,
    refreshes: Cell<u64>,
    log: RefCell<Vec<(Level, String)>>,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Option<String>,
    obtained_at: Instant,
    lease: Lease,
    /// Generation of the policy that granted the lease.
    generation: u64,
    /// Instant until which no hit asks for a refresh.
    refresh_paused_until: Instant,
}

/// Request to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Read,
    Issue(IssueMode),
}

/// The backend of [`Context`] during one call.
pub(crate) struct Host {
    state: Rc<State>,
    workspace: String,
    request: Request,
    statements: Cell<u64>,
    /// Instant at which the last select found no secret.
    absent_at: Cell<Option<Instant>>,
    /// Secret that the issue of this call stored.
    issued: RefCell<Option<String>>,
    change: RefCell<Option<Option<Entry>>>,
}

/// The backend of [`Secret`]. It holds the plaintext, which a component never can.
pub(crate) struct Handle {
    value: String,
    obtained_at: Instant,
    // A handle dies with its call; not being Send keeps a test from carrying it elsewhere.
    _call: PhantomData<Rc<()>>,
}

pub(crate) fn obtained_at(handle: &Handle) -> Instant {
    handle.obtained_at
}

impl<P: Policy> FakeHost<P> {
    /// Configures the policy as an operator would, with pairs of name and value.
    pub fn new(settings: &[(&str, &str)]) -> Result<Self, String> {
        let state = Rc::new(State::default());
        state.now.set(1_000_000_000);
        Ok(Self { policy: configure(settings)?, state })
    }

    /// Replaces the policy. Entries stay; none of their leases holds until the new policy has granted its
    /// own.
    pub fn swap<Q: Policy>(self, settings: &[(&str, &str)]) -> Result<FakeHost<Q>, String> {
        let policy = configure(settings)?;
        self.state.generation.set(self.state.generation.get() + 1);
        Ok(FakeHost { policy, state: self.state })
    }

    /// Sets the operator's ceilings.
    pub fn set_ceilings(&self, ceilings: Ceilings) {
        self.state.ceilings.set(ceilings);
    }

    /// Writes a row as another process would; `None` is NULL.
    pub fn store(&self, workspace: &str, secret: Option<&str>) {
        self.state.rows.borrow_mut().insert(workspace.to_string(), secret.map(str::to_string));
    }

    /// Deletes a row as another process would.
    pub fn delete(&self, workspace: &str) {
        self.state.rows.borrow_mut().remove(workspace);
    }

    /// Lets every statement fail from now on, or none.
    pub fn fail(&self, error: Option<DatabaseError>) {
        self.state.failure.set(error);
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        self.state.now.set((Instant::from_nanos(self.state.now.get()) + span).as_nanos());
    }

    /// Returns the present instant.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.state.now.get())
    }

    /// Reads as a caller of the cache does: under a lease if there is one, else with a call of the policy. A
    /// hit that finds a refresh due is answered as any other, and then the policy is called, whatever the
    /// result.
    pub fn read(&self, workspace: &str) -> Result<Option<String>, DatabaseError> {
        let Some((value, refreshes)) = self.hit(workspace) else { return self.fill(workspace) };
        if refreshes {
            self.state.refreshes.set(self.state.refreshes.get() + 1);
            // In the background: no caller is answered with its error.
            let _ = self.fill(workspace);
        }
        Ok(value)
    }

    /// Returns the answer under a lease, and whether this hit asks for a refresh.
    fn hit(&self, workspace: &str) -> Option<(Option<String>, bool)> {
        let now = self.now();
        let mut entries = self.state.entries.borrow_mut();
        let entry = entries.get_mut(workspace)?;
        let covers = entry.generation == self.state.generation.get() && now < entry.lease.fresh_until;
        if !covers {
            return None;
        }
        let due = entry.lease.refresh_after.max(entry.obtained_at);
        let refreshes = now > entry.lease.refresh_after && now > entry.refresh_paused_until;
        if refreshes {
            let [least, most] = REFRESH_PAUSE;
            entry.refresh_paused_until = now + (now - due).clamp(least, most);
        }
        Some((entry.value.clone(), refreshes))
    }

    fn fill(&self, workspace: &str) -> Result<Option<String>, DatabaseError> {
        let (answer, host) = self.call(workspace, Request::Read, |cx| self.policy.read(cx));
        if let Ok(None) = answer {
            assert!(
                host.absent_at.get().is_some() || host.kept_absence(),
                "absence is answered only where it was found"
            );
        }
        self.apply(host);
        let answer = answer?.map(|secret| secret.0.value);
        // No reader gets another value once this one has been delivered.
        self.state.entries.borrow_mut().retain(|id, entry| id != workspace || entry.value == answer);
        Ok(answer)
    }

    /// Issues as a caller of the cache does.
    pub fn issue(&self, workspace: &str, mode: IssueMode) -> Result<String, DatabaseError> {
        let (answer, host) = self.call(workspace, Request::Issue(mode), |cx| self.policy.issue(cx, mode));
        match answer {
            Ok(Secret(handle)) => {
                let issued = host.issued.borrow().clone();
                assert!(
                    issued.as_ref().is_none_or(|issued| *issued == handle.value)
                        && (issued.is_some() || mode == IssueMode::Heal),
                    "an issue answers with the secret that was issued"
                );
                // The old secret is gone from the database, whatever the policy puts.
                self.state.entries.borrow_mut().remove(workspace);
                self.apply(host);
                Ok(handle.value)
            }
            Err(error) => {
                if error == DatabaseError::Timeout {
                    self.state.entries.borrow_mut().remove(workspace);
                }
                Err(error)
            }
        }
    }

    /// Returns the lease under which the workspace's entry is kept, if there is one.
    pub fn lease(&self, workspace: &str) -> Option<Lease> {
        self.state.entries.borrow().get(workspace).map(|entry| entry.lease)
    }

    /// Returns the number of SELECTs.
    pub fn selects(&self) -> u64 {
        self.state.selects.get()
    }

    /// Returns the number of issues.
    pub fn issues(&self) -> u64 {
        self.state.issues.get()
    }

    /// Returns the number of calls of the policy.
    pub fn calls(&self) -> u64 {
        self.state.calls.get()
    }

    /// Returns the number of hits that have asked the policy for a refresh.
    pub fn refreshes(&self) -> u64 {
        self.state.refreshes.get()
    }

    /// Returns the lines that the policy has logged.
    pub fn log(&self) -> Vec<(Level, String)> {
        self.state.log.borrow().clone()
    }

    fn call<T>(&self, workspace: &str, request: Request, run: impl FnOnce(&Context) -> T) -> (T, Host) {
        self.state.calls.set(self.state.calls.get() + 1);
        let host = Host {
            state: Rc::clone(&self.state),
            workspace: workspace.to_string(),
            request,
            statements: Cell::new(0),
            absent_at: Cell::new(None),
            issued: RefCell::new(None),
            change: RefCell::new(None),
        };
        let cx = Context { workspace: workspace.to_string(), host };
        (run(&cx), cx.host)
    }

    fn apply(&self, host: Host) {
        let mut entries = self.state.entries.borrow_mut();
        match host.change.into_inner() {
            Some(Some(mut entry)) => {
                // A refresh that brings nothing newer is not asked for again by the next hit.
                if let Some(replaced) = entries.get(&host.workspace)
                    && entry.obtained_at <= replaced.obtained_at
                    && entry.generation == replaced.generation
                {
                    entry.refresh_paused_until = replaced.refresh_paused_until;
                }
                drop(entries.insert(host.workspace, entry));
            }
            Some(None) => drop(entries.remove(&host.workspace)),
            None => {}
        }
    }
}

impl Host {
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.state.now.get() / 1_000_000 * 1_000_000)
    }

    pub(crate) fn select(&self) -> Result<Option<Handle>, DatabaseError> {
        self.statement();
        self.state.selects.set(self.state.selects.get() + 1);
        self.absent_at.set(None);
        self.state.failure.get().map_or(Ok(()), Err)?;
        let obtained_at = self.now();
        let row = self.state.rows.borrow().get(&self.workspace).cloned().flatten();
        let found = row.filter(|value| !value.is_empty());
        self.absent_at.set(found.is_none().then_some(obtained_at));
        Ok(found.map(|value| Handle { value, obtained_at, _call: PhantomData }))
    }

    pub(crate) fn issue(&self, mode: IssueMode) -> Result<Handle, DatabaseError> {
        assert_eq!(self.request, Request::Issue(mode), "a policy issues only when, and as, it is asked to");
        assert!(self.issued.borrow().is_none(), "a call issues once");
        self.statement();
        self.state.issues.set(self.state.issues.get() + 1);
        // All that was put or seen before is older than what the database is about to hold.
        self.change.replace(None);
        self.absent_at.set(None);
        self.state.failure.get().map_or(Ok(()), Err)?;
        let mut rows = self.state.rows.borrow_mut();
        let row = rows.get_mut(&self.workspace).ok_or(DatabaseError::UnknownWorkspace)?;
        let stored = row.clone().filter(|value| !value.is_empty());
        let value = match (mode, stored) {
            (IssueMode::Heal, Some(stored)) => stored,
            _ => format!("minted-{}", self.state.issues.get()),
        };
        *row = Some(value.clone());
        self.issued.replace(Some(value.clone()));
        Ok(Handle { value, obtained_at: self.now(), _call: PhantomData })
    }

    pub(crate) fn entry(&self) -> Option<Snapshot> {
        let entry = match &*self.change.borrow() {
            Some(change) => change.clone(),
            None if self.issued.borrow().is_some() => None,
            None => self.state.entries.borrow().get(&self.workspace).cloned(),
        };
        let entry = entry.filter(|entry| self.now() < entry.lease.keep_until)?;
        let obtained_at = entry.obtained_at;
        let value = entry.value.map(|value| Secret(Handle { value, obtained_at, _call: PhantomData }));
        Some(Snapshot { value, obtained_at, lease: entry.lease })
    }

    /// Returns whether absence is stored and still kept, and this call has sent no statement itself.
    fn kept_absence(&self) -> bool {
        self.statements.get() == 0 && self.entry().is_some_and(|kept| kept.value.is_none())
    }

    fn statement(&self) {
        self.statements.set(self.statements.get() + 1);
        assert!(self.statements.get() <= 8, "a call may send 8 statements at most");
    }

    pub(crate) fn put(&self, value: Option<&Handle>, lease: Lease) {
        let ceilings = self.state.ceilings.get();
        let (obtained_at, max_fresh, max_keep) = match value {
            Some(handle) => (handle.obtained_at, ceilings.max_fresh, ceilings.max_keep),
            None => {
                let absent_at = self.absent_at.get();
                let absent_at =
                    absent_at.expect("absence may be stored only after Context::select found none");
                (absent_at, ceilings.max_absent, ceilings.max_absent)
            }
        };
        let lease = lower(lease, obtained_at + max_fresh, obtained_at + max_keep);
        let (value, generation) = (value.map(|handle| handle.value.clone()), self.state.generation.get());
        let refresh_paused_until = Instant::NEVER;
        self.change.replace(Some(Some(Entry {
            value,
            obtained_at,
            lease,
            generation,
            refresh_paused_until,
        })));
    }

    pub(crate) fn remove(&self) {
        self.change.replace(Some(None));
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        self.state.log.borrow_mut().push((level, message.to_string()));
    }
}

fn configure<P: Policy>(settings: &[(&str, &str)]) -> Result<P, String> {
    let given: Vec<(String, String)> =
        settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    P::configure(&Settings::new(P::DESCRIPTION.settings, &given)?)
}

fn lower(lease: Lease, max_fresh: Instant, max_keep: Instant) -> Lease {
    let fresh_until = lease.fresh_until.min(max_fresh);
    Lease {
        refresh_after: lease.refresh_after,
        fresh_until,
        watched_until: lease.watched_until.min(max_fresh),
        keep_until: lease.keep_until.max(fresh_until).min(max_keep.max(fresh_until)),
    }
}
