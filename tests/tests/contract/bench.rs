//! A cache with the default policy over each kind of database, and its rows as another process writes them.

use std::sync::Arc;

use anyhow::Result;
use leasehold::testing::InMemory;
use leasehold::{
    Database, DatabaseError, Error, ManualClock, Policy, Secret, SecretCache, Status, WorkspaceId,
};
use leasehold_tests::scripted::{Fault, Scripted};
use leasehold_tests::{Engine, Fixture, MAX_WAIT};

/// The place of the rows of a test.
enum Rows {
    Real(Fixture),
    Scripted(Scripted),
    InMemory(InMemory),
}

/// A cache over one of them, under a clock that the test moves.
pub(super) struct TestBed {
    pub(super) cache: SecretCache,
    pub(super) clock: Arc<ManualClock>,
    rows: Rows,
}

impl TestBed {
    pub(super) async fn real(engine: Engine) -> Result<Self> {
        let fixture = engine.workspaces().await?;
        let database = fixture.secrets().await?;
        Self::new(database, Rows::Real(fixture)).await
    }

    pub(super) async fn scripted() -> Result<Self> {
        let database = Scripted::new();
        Self::new(database.clone(), Rows::Scripted(database)).await
    }

    pub(super) async fn in_memory() -> Result<Self> {
        let database = InMemory::new();
        Self::new(database.clone(), Rows::InMemory(database)).await
    }

    async fn new(database: impl Database, rows: Rows) -> Result<Self> {
        let clock = Arc::new(ManualClock::new());
        // Leases of exactly 5 minutes.
        let policy = Policy::from_bytes(leasehold_policies::TTL).setting("jitter", "0s");
        let cache = SecretCache::builder()
            .database(database)
            .clock(Arc::clone(&clock))
            .policy(policy)
            .database_timeout(MAX_WAIT)
            .build()
            .await?;
        Ok(Self { cache, clock, rows })
    }

    /// Writes a row as another process would; `None` is NULL.
    pub(super) async fn row(&self, id: &str, secret: Option<&str>) -> Result<()> {
        match &self.rows {
            Rows::Real(fixture) => {
                fixture.execute(&format!("DELETE FROM workspaces WHERE id = '{id}'")).await?;
                fixture.insert(id, secret).await?;
            }
            Rows::Scripted(database) => database.store(id, secret),
            Rows::InMemory(database) => match secret {
                Some(secret) => database.store(id, secret),
                None => database.store_null(id),
            },
        }
        Ok(())
    }

    pub(super) async fn delete(&self, id: &str) -> Result<()> {
        match &self.rows {
            Rows::Real(fixture) => {
                fixture.execute(&format!("DELETE FROM workspaces WHERE id = '{id}'")).await?
            }
            Rows::Scripted(database) => database.delete(id),
            Rows::InMemory(database) => database.delete(id),
        }
        Ok(())
    }

    pub(super) async fn stored(&self, id: &str) -> Result<Option<String>> {
        match &self.rows {
            Rows::Real(fixture) => {
                fixture
                    .text(&format!("SELECT platform_inbound_secret FROM workspaces WHERE id = '{id}'"))
                    .await
            }
            Rows::Scripted(database) => Ok(database.stored(id)),
            Rows::InMemory(database) => Ok(database.stored(id).as_ref().map(text)),
        }
    }

    /// Lets every statement fail, or none.
    pub(super) async fn break_database(&self, broken: bool) -> Result<()> {
        match &self.rows {
            Rows::Real(fixture) if broken => fixture.execute("ALTER TABLE workspaces RENAME TO away").await?,
            Rows::Real(fixture) => fixture.execute("ALTER TABLE away RENAME TO workspaces").await?,
            Rows::Scripted(database) => {
                database.fault(broken.then(|| Fault::Fails(DatabaseError::Unavailable("down".into()))));
            }
            Rows::InMemory(database) if broken => {
                database.fail_with(DatabaseError::Unavailable("down".into()));
            }
            Rows::InMemory(database) => database.recover(),
        }
        Ok(())
    }

    /// Returns whether an error is what a database says that is broken so: a table that is gone is refused
    /// until it is brought back; the words of the databases in memory are up to the test.
    pub(super) fn says_it_is_broken(&self, error: &Error) -> bool {
        match &self.rows {
            Rows::Real(_) => matches!(error, Error::Refused(_)),
            Rows::Scripted(_) | Rows::InMemory(_) => *error == Error::Unavailable("down".into()),
        }
    }

    pub(super) async fn read(&self, id: &str) -> Result<(String, Status), Error> {
        let lookup = self.cache.read(&workspace(id)).await?;
        Ok((text(&lookup.secret), lookup.status))
    }

    pub(super) async fn issue(&self, id: &str) -> Result<String, Error> {
        Ok(text(&self.cache.issue(&workspace(id)).await?))
    }

    pub(super) fn selects(&self) -> u64 {
        self.cache.stats().selects
    }
}

pub(super) fn workspace(id: &str) -> WorkspaceId {
    WorkspaceId::new(id).expect("a usable id")
}

pub(super) fn text(secret: &Secret) -> String {
    secret.expose_str().expect("text").to_owned()
}
