//! A database of the program's own: `cargo run -p leasehold --no-default-features --example own_database`.
//!
//! Three methods are enough. What they have to promise is in the documentation of `Database`: an answer of
//! `issue` is a commit, and an error says whether one may have happened.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold::{Answer, Database, DatabaseError, IssueMode, Secret, SecretCache, WorkspaceId};

/// A map in place of a service somewhere else.
#[derive(Default)]
struct Vault {
    rows: Mutex<HashMap<String, Option<String>>>,
    statements: AtomicU64,
}

impl Vault {
    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<String>>> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Database for Vault {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async {
            Ok(self.rows().get(workspace.as_str()).and_then(|row| row.as_deref().map(Secret::new)))
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
            if tokio::time::Instant::now() > send_by {
                return Err(DatabaseError::Overloaded);
            }
            let mut rows = self.rows();
            let row = rows.get_mut(workspace.as_str()).ok_or(DatabaseError::UnknownWorkspace)?;
            match (mode, &*row) {
                // A heal leaves alone what is there.
                (IssueMode::Heal, Some(stored)) => Ok(Secret::new(stored)),
                _ => {
                    *row = minted.expose_str().map(str::to_owned);
                    Ok(minted)
                }
            }
        })
    }

    fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vault = Vault::default();
    vault.rows().insert("acme".to_owned(), None);
    let cache = SecretCache::builder().database(vault).build().await?;
    let acme = WorkspaceId::new("acme")?;
    let issued = cache.read_or_issue(&acme).await?;
    println!("{}: {:?}", issued.status.as_str(), issued.secret);
    println!("{}: the next one", cache.read(&acme).await?.status.as_str());
    Ok(())
}
