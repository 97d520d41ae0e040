//! A watch over a case from outside: the memories of its guests whenever they may have learnt something, and
//! every line that is logged.
//!
//! Guests are looked at while they wait, because a failed one is gone when its call has ended. It knows all
//! secrets of the case, and nothing of what a policy ought to do.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::{Answer, Clock, Database, Instant, IssueMode, ManualClock, Secret, WorkspaceId};
use leasehold_tests::guest_memory::{Marker, scan};
use leasehold_tests::scripted::Scripted;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Number of readings of the clock that are looked at after each statement: a guest that reads it for ever
/// would be looked at for ever.
const LOOKS_AT_CLOCK: u32 = 2;

/// The knowledge of one case.
pub(super) struct Watch {
    pub(super) marker: Marker,
    pub(super) database: Scripted,
    pub(super) clock: ManualClock,
    /// Every secret that the database has held.
    hidden: Mutex<Vec<String>>,
    looks_left: AtomicU32,
    /// Memories seen in all, and secrets seen in them.
    seen: Mutex<(usize, Vec<String>)>,
}

/// The database and the clock of a watched case.
#[derive(Clone)]
pub(super) struct Watched(pub(super) Arc<Watch>);

impl Watched {
    pub(super) fn new() -> Self {
        Self(Arc::new(Watch {
            marker: Marker::new(),
            database: Scripted::new(),
            clock: ManualClock::new(),
            hidden: Mutex::default(),
            looks_left: AtomicU32::new(0),
            seen: Mutex::default(),
        }))
    }
}

impl Watch {
    /// Stores a secret as another process would.
    pub(super) fn store(&self, workspace: &str, secret: &str) {
        self.database.store(workspace, Some(secret));
        self.hide(secret);
    }

    /// Adds a secret to those that must not be seen.
    pub(super) fn hide(&self, secret: &str) {
        self.hidden.lock().unwrap().push(secret.to_owned());
    }

    pub(super) fn hidden(&self) -> Vec<String> {
        self.hidden.lock().unwrap().clone()
    }

    /// Looks into the case's memories, and returns how many there are.
    pub(super) fn look(&self, when: &str) -> usize {
        let hidden = self.hidden();
        let scan = scan(&self.marker, &hidden).expect("a process may look at itself");
        let mut seen = self.seen.lock().unwrap();
        seen.0 += scan.memories;
        seen.1.extend(scan.found.iter().map(|index| format!("{} {when}", hidden[*index])));
        scan.memories
    }

    /// Returns how many memories were looked into in all, and which secrets were in them.
    pub(super) fn seen(&self) -> (usize, Vec<String>) {
        self.seen.lock().unwrap().clone()
    }

    /// Looks on a thread of its own: the guest's processor time is not to pay for it.
    fn look_at_clock(&self) {
        let left =
            self.looks_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            std::thread::scope(|threads| threads.spawn(|| self.look("at a reading of the clock")).join())
                .expect("it ends");
        }
    }
}

impl Database for Watched {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            self.0.look("before a select");
            let answer = self.0.database.select(workspace).await;
            self.0.looks_left.store(LOOKS_AT_CLOCK, Ordering::SeqCst);
            answer
        })
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            self.0.hide(minted.expose_str().expect("base64url"));
            self.0.look("before an issue");
            let answer = self.0.database.issue(workspace, mode, minted, send_by).await;
            self.0.looks_left.store(LOOKS_AT_CLOCK, Ordering::SeqCst);
            answer
        })
    }

    fn statements(&self) -> u64 {
        self.0.database.statements()
    }
}

impl Clock for Watched {
    fn now(&self) -> Instant {
        self.0.look_at_clock();
        self.0.clock.now()
    }

    fn now_coarse(&self) -> Instant {
        self.0.clock.now_coarse()
    }

    fn suspended(&self) -> Duration {
        self.0.clock.suspended()
    }
}

/// The lines that are logged on this thread, at every level.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects lines until the guard is dropped.
    pub(super) fn collect(&self) -> DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
