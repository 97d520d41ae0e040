//! A database in memory: rows that a test writes as another process would, and the faults that a program
//! should expect.
//!
//! It keeps the contract of [`Database`] and no more: statements take effect one after the other, each at a
//! single moment.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::{Answer, Database, DatabaseError, IssueMode, Secret, WorkspaceId};

/// A database in memory. Clones share its rows and its faults.
#[derive(Clone)]
pub struct InMemory(Arc<MemoryState>);

struct MemoryState {
    rows: Mutex<Rows>,
    /// Whether statements wait.
    holds: watch::Sender<bool>,
    selects: AtomicU64,
    issues: AtomicU64,
}

#[derive(Default)]
struct Rows {
    /// The secrets by workspace; `None` is NULL.
    secrets: HashMap<WorkspaceId, Option<Secret>>,
    fault: Option<DatabaseError>,
}

impl InMemory {
    /// Makes a database without rows, that does what it is asked.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(MemoryState {
            rows: Mutex::default(),
            holds: watch::Sender::new(false),
            selects: AtomicU64::new(0),
            issues: AtomicU64::new(0),
        }))
    }

    /// Writes the row of a workspace. Text that is no [`WorkspaceId`] is the key of no row.
    pub fn store(&self, workspace: &str, secret: &str) {
        self.put(workspace, Some(Secret::new(secret)));
    }

    /// Writes the row of a workspace without a secret.
    pub fn store_null(&self, workspace: &str) {
        self.put(workspace, None);
    }

    /// Deletes the row of a workspace.
    pub fn delete(&self, workspace: &str) {
        if let Ok(workspace) = WorkspaceId::new(workspace) {
            self.rows().secrets.remove(&workspace);
        }
    }

    /// The secret in the row of a workspace, if it has one.
    #[must_use]
    pub fn stored(&self, workspace: &str) -> Option<Secret> {
        self.rows().secrets.get(&WorkspaceId::new(workspace).ok()?)?.clone()
    }

    /// Makes every statement fail with this error, without effect, from now on; the statements that wait now
    /// as well, once they go on.
    pub fn fail_with(&self, error: DatabaseError) {
        self.rows().fault = Some(error);
    }

    /// Makes statements succeed again.
    pub fn recover(&self) {
        self.rows().fault = None;
    }

    /// Makes every statement wait, from now on and before it takes effect, until [`release`](Self::release).
    pub fn hold(&self) {
        self.0.holds.send_replace(true);
    }

    /// Lets the statements that wait go on, and later ones too.
    pub fn release(&self) {
        self.0.holds.send_replace(false);
    }

    /// The number of SELECTs so far, each of one workspace.
    #[must_use]
    pub fn selects(&self) -> u64 {
        self.0.selects.load(Ordering::SeqCst)
    }

    /// The number of issues so far.
    #[must_use]
    pub fn issues(&self) -> u64 {
        self.0.issues.load(Ordering::SeqCst)
    }

    fn put(&self, workspace: &str, secret: Option<Secret>) {
        if let Ok(workspace) = WorkspaceId::new(workspace) {
            self.rows().secrets.insert(workspace, secret.filter(|secret| !secret.is_empty()));
        }
    }

    /// Returns the rows, once statements go on and unless they fail.
    async fn reach(&self) -> Result<MutexGuard<'_, Rows>, DatabaseError> {
        // The sender is ours, so that this cannot fail.
        let _ = self.0.holds.subscribe().wait_for(|holds| !holds).await;
        let rows = self.rows();
        match &rows.fault {
            Some(error) => Err(error.clone()),
            None => Ok(rows),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing that may panic is done under the lock.
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for InMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory").field("rows", &self.rows().secrets.len()).finish_non_exhaustive()
    }
}

impl Database for InMemory {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            self.0.selects.fetch_add(1, Ordering::SeqCst);
            let rows = self.reach().await?;
            Ok(rows.secrets.get(workspace).cloned().flatten())
        })
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async move {
            self.0.issues.fetch_add(1, Ordering::SeqCst);
            let mut rows = self.reach().await?;
            let row = rows.secrets.get_mut(workspace).ok_or(DatabaseError::UnknownWorkspace)?;
            Ok(match (row.as_ref(), mode) {
                (Some(stored), IssueMode::Heal) => stored.clone(),
                _ => row.insert(minted).clone(),
            })
        })
    }

    fn statements(&self) -> u64 {
        self.selects() + self.issues()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    async fn issued(
        database: &InMemory,
        id: &str,
        mode: IssueMode,
        minted: &str,
    ) -> Result<String, DatabaseError> {
        let id = WorkspaceId::new(id).unwrap();
        let issued = database.issue(&id, mode, Secret::new(minted), tokio::time::Instant::now()).await?;
        assert_eq!(database.stored(id.as_str()).map(|stored| stored.same_as(&issued)), Some(true));
        Ok(issued.expose_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_heal_leaves_what_is_stored_and_a_rotation_replaces_it() {
        let database = InMemory::new();
        database.store_null("null");
        database.store("empty", "");
        database.store("w", "old");
        for id in ["null", "empty"] {
            assert_eq!(issued(&database, id, IssueMode::Heal, "new").await, Ok("new".into()), "{id}");
        }
        assert_eq!(issued(&database, "w", IssueMode::Heal, "new").await, Ok("old".into()));
        assert_eq!(issued(&database, "w", IssueMode::Rotate, "new").await, Ok("new".into()));
        database.delete("w");
        for mode in [IssueMode::Heal, IssueMode::Rotate] {
            let unknown = issued(&database, "w", mode, "newer").await;
            assert_eq!(unknown, Err(DatabaseError::UnknownWorkspace));
        }
        assert_eq!((database.issues(), database.statements()), (6, 6));
    }

    #[tokio::test]
    async fn what_waits_takes_effect_when_it_is_released_and_fails_as_all_do_then() {
        let (database, id) = (InMemory::new(), WorkspaceId::new("w").unwrap());
        for fault in [None, Some(DatabaseError::ReadOnly)] {
            database.hold();
            let mut select = pin!(database.select(&id));
            assert!(poll_fn(|context| Poll::Ready(select.as_mut().poll(context).is_pending())).await);
            database.store("w", "stored meanwhile");
            if let Some(error) = fault.clone() {
                database.fail_with(error);
            }
            database.release();
            let found = select.await.map(|found| found.unwrap().verify(b"stored meanwhile"));
            assert_eq!(found, fault.map_or(Ok(true), Err));
            database.delete("w");
        }
        database.recover();
        assert!(matches!(database.select(&id).await, Ok(None)));
        assert_eq!(database.selects(), 3);
    }
}
