//! Databases of a program's own whose code breaks the contract: it panics, or calls the empty text a secret.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::{
    Answer, Answers, Database, DatabaseError, Error, IssueMode, Reason, Secret, SecretCache, Status,
    WorkspaceId,
};
use leasehold_tests::scripted::Scripted;

use super::id;

/// A database with a secret of `w`, whose code fails on request.
#[derive(Clone)]
struct Broken {
    rows: Scripted,
    defect: Arc<Mutex<Option<Defect>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    /// The code panics before it has returned the future.
    PanicsAtOnce,
    /// The code panics when the future is polled.
    PanicsLater,
    /// The code answers with the empty secret.
    AnswersEmpty,
}

impl Broken {
    async fn with_cache() -> (Self, SecretCache) {
        let rows = Scripted::new();
        rows.store("w", Some("old"));
        let database = Self { rows, defect: Arc::default() };
        let builder = SecretCache::builder().database(database.clone()).max_selects(1);
        (database, builder.build().await.expect("the default policy is good"))
    }

    fn set(&self, defect: impl Into<Option<Defect>>) {
        *self.defect.lock().unwrap() = defect.into();
    }

    fn defect(&self) -> Option<Defect> {
        *self.defect.lock().unwrap()
    }

    fn strike(&self, defect: Defect) {
        assert_ne!(self.defect(), Some(defect), "as the test wants");
    }
}

impl Database for Broken {
    fn select<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        self.strike(Defect::PanicsAtOnce);
        Box::pin(async move {
            self.strike(Defect::PanicsLater);
            let found = self.rows.select(workspace).await?;
            Ok(if self.defect() == Some(Defect::AnswersEmpty) { Some(Secret::new("")) } else { found })
        })
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        self.strike(Defect::PanicsAtOnce);
        Box::pin(async move {
            let mut answers = Vec::new();
            for workspace in workspaces {
                answers.push(self.select(workspace).await);
            }
            answers
        })
    }

    fn batch_size(&self) -> usize {
        8
    }

    fn issue<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        mode: IssueMode,
        minted: Secret,
        send_by: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        self.strike(Defect::PanicsAtOnce);
        Box::pin(async move {
            self.strike(Defect::PanicsLater);
            let issued = self.rows.issue(workspace, mode, minted, send_by).await?;
            Ok(if self.defect() == Some(Defect::AnswersEmpty) { Secret::new("") } else { issued })
        })
    }

    fn statements(&self) -> u64 {
        self.rows.statements()
    }
}

async fn status(cache: &SecretCache) -> Status {
    cache.read(&id("w")).await.expect("it is stored").status
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_issue_is_an_unknown_outcome_that_names_the_panic() {
    let (database, cache) = Broken::with_cache().await;
    assert_eq!(status(&cache).await, Status::Miss);
    database.set(Defect::PanicsLater);
    let begun = tokio::time::Instant::now();
    let error = cache.issue(&id("w")).await.expect_err("it panicked");
    assert!(begun.elapsed() < Duration::from_secs(1), "there was nothing to wait for");
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    let words = error.to_string();
    assert!(words.contains("implementation of Database") && words.contains("panicked"), "{words}");
    database.set(None);
    // A statement that was sent before the panic may be carried out yet, so that for a while nothing is kept.
    assert_eq!((status(&cache).await, status(&cache).await), (Status::Miss, Status::Miss));
    tokio::time::sleep(Duration::from_secs(36)).await;
    assert_eq!((status(&cache).await, status(&cache).await), (Status::Miss, Status::Hit));
}

#[tokio::test]
async fn a_panic_before_an_issue_was_sent_changes_nothing() {
    let (database, cache) = Broken::with_cache().await;
    assert_eq!(status(&cache).await, Status::Miss);
    database.set(Defect::PanicsAtOnce);
    let error = cache.issue(&id("w")).await.expect_err("it panicked");
    assert!(matches!(error, Error::Unavailable(_)) && error.to_string().contains("panicked"), "{error}");
    assert_eq!(status(&cache).await, Status::Hit);
    database.set(None);
    assert!(cache.issue(&id("w")).await.is_ok());
    assert_eq!(status(&cache).await, Status::Hit);
}

#[tokio::test]
async fn a_panic_in_a_select_names_the_panic_and_befalls_nobody_else() {
    for defect in [Defect::PanicsAtOnce, Defect::PanicsLater] {
        let (database, cache) = Broken::with_cache().await;
        database.set(defect);
        // One read goes alone, and the others wait for it and go together.
        let reads = (0..20).map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.read(&id(&format!("w{n}"))).await })
        });
        for read in reads.collect::<Vec<_>>() {
            let error = read.await.expect("no panic").expect_err("it panicked");
            let words = error.to_string();
            assert!(matches!(error, Error::Unavailable(_)), "{words}");
            assert!(words.contains("implementation of Database") && words.contains("panicked"), "{words}");
        }
        database.set(None);
        assert_eq!((status(&cache).await, status(&cache).await), (Status::Miss, Status::Hit));
    }
}

#[tokio::test]
async fn the_empty_secret_is_absence_wherever_it_comes_from() {
    let (database, cache) = Broken::with_cache().await;
    database.set(Defect::AnswersEmpty);
    for _ in 0..2 {
        assert_eq!(cache.read(&id("w")).await.err(), Some(Error::Absent));
        assert_eq!(cache.verify(&id("w"), b"").await, Ok(false));
        assert!(cache.get(&id("w")).is_none());
    }
    let together: Vec<_> = (0..20).map(|n| id(&format!("w{n}"))).collect();
    let answers = cache.get_many(&together).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Absent))), "{answers:?}");
}

#[tokio::test]
async fn an_issue_that_answers_with_the_empty_secret_is_an_error_and_voids_the_entry() {
    let (database, cache) = Broken::with_cache().await;
    assert_eq!(status(&cache).await, Status::Miss);
    database.set(Defect::AnswersEmpty);
    let error = cache.issue(&id("w")).await.expect_err("it is none");
    assert!(matches!(error, Error::OutcomeUnknown(_)) && error.to_string().contains("empty"), "{error}");
    database.set(None);
    let found = cache.read(&id("w")).await.expect("the database holds what was minted");
    assert_eq!(found.status, Status::Miss);
    assert_eq!(found.secret.expose_str().map(str::to_owned), database.rows.stored("w"));
    // The statement has ended, so that there is nothing to wait for.
    assert_eq!(status(&cache).await, Status::Hit);
}

#[tokio::test]
async fn an_error_has_the_databases_own_error_as_its_source() {
    use std::error::Error as _;

    #[derive(Debug, PartialEq)]
    struct Denied(u32);
    impl std::fmt::Display for Denied {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "status {}", self.0)
        }
    }
    impl std::error::Error for Denied {}

    let (database, cache) = Broken::with_cache().await;
    let refused = |error: fn(Reason) -> DatabaseError| {
        let error = error(Reason::caused_by("the vault refused", Denied(403)));
        database.rows.fault(Some(leasehold_tests::scripted::Fault::Fails(error)));
    };
    let source = |error: &Error| error.source().and_then(|source| source.downcast_ref()).map(|Denied(n)| *n);
    refused(DatabaseError::Unavailable);
    let error = cache.read(&id("w")).await.expect_err("it was refused");
    assert_eq!(error.to_string(), "the database is unavailable: the vault refused");
    assert_eq!((source(&error), error), (Some(403), Error::Unavailable("the vault refused".into())));
    refused(DatabaseError::Lost);
    let error = cache.issue(&id("w")).await.expect_err("it was lost");
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    assert_eq!(source(&error), Some(403));
    assert_eq!(source(&Error::Timeout), None);
}
