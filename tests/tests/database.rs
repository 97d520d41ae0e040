//! The two databases: their common duties, each test written once, and the peculiarities of each.

mod batch;
mod both;
mod kept;
mod poolers;
mod postgres;
mod schema;
mod sqlite;
mod suspected;
mod url;
mod written;

use std::sync::Arc;

use anyhow::Result;
use leasehold::{Column, Database, DatabaseError, IssueMode, Secret, WorkspaceId};

/// Makes a test for each database of functions that take an [`Engine`](leasehold_tests::Engine). A function
/// that is left out is never called, and does not compile without a warning.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(leasehold_tests::Engine::Sqlite).await
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(leasehold_tests::Engine::Postgres).await
            })*
        }
    };
}
pub(crate) use on_both;

fn column() -> Column {
    Column::new("workspaces", "id", "platform_inbound_secret").expect("plain names")
}

fn id(text: &str) -> WorkspaceId {
    WorkspaceId::new(text).expect("a usable id")
}

/// Reads a secret, as text.
async fn select(database: &dyn Database, workspace: &str) -> Result<Option<String>, DatabaseError> {
    let secret = database.select(&id(workspace)).await?;
    Ok(secret.map(|secret| secret.expose_str().expect("text").to_owned()))
}

/// Reads the secrets of several workspaces at once, as text.
async fn select_batch(
    database: &dyn Database,
    workspaces: &[&str],
) -> Vec<Result<Option<String>, DatabaseError>> {
    let workspaces: Vec<_> = workspaces.iter().map(|workspace| id(workspace)).collect();
    let answers = database.select_batch(&workspaces).await;
    let text = |secret: Secret| secret.expose_str().expect("text").to_owned();
    answers.into_iter().map(|answer| answer.map(|secret| secret.map(text))).collect()
}

/// Returns a moment by which every statement can be sent.
fn at_leisure() -> tokio::time::Instant {
    tokio::time::Instant::now() + leasehold_tests::MAX_WAIT
}

/// Issues, and returns what is stored after it, as text.
async fn issue(
    database: &dyn Database,
    workspace: &str,
    mode: IssueMode,
    minted: &str,
) -> Result<String, DatabaseError> {
    let secret = database.issue(&id(workspace), mode, Secret::new(minted), at_leisure()).await?;
    Ok(secret.expose_str().expect("text").to_owned())
}

/// Issues in a task of its own, as the cache does.
fn spawn_issue(
    database: &Arc<dyn Database>,
    mode: IssueMode,
    minted: String,
) -> tokio::task::JoinHandle<Result<String, DatabaseError>> {
    let database = Arc::clone(database);
    tokio::spawn(async move { issue(&*database, "w", mode, &minted).await })
}

/// Asserts that the statement was refused for now and without effect, and that no output of the error holds
/// `secret`.
#[track_caller]
fn assert_unavailable<T>(answer: Result<T, DatabaseError>, words: &str, secret: &str) {
    let error = answer.err().expect("an error");
    assert!(matches!(error, DatabaseError::Unavailable(_)), "{error:?}");
    assert_words(&error, words, secret);
}

/// Asserts the same for a statement that is refused until the cause is changed.
#[track_caller]
fn assert_refused<T>(answer: Result<T, DatabaseError>, words: &str, secret: &str) {
    let error = answer.err().expect("an error");
    assert!(matches!(error, DatabaseError::Refused(_)), "{error:?}");
    assert_words(&error, words, secret);
}

#[track_caller]
fn assert_words(error: &DatabaseError, words: &str, secret: &str) {
    let output = format!("{error} {error:?}");
    assert!(output.contains(words), "{output}");
    assert!(!output.contains(secret), "the error quotes the secret");
}
