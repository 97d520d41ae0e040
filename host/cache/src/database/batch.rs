//! Statements for many workspaces, and what to do where one fails for the sake of a single workspace.
//!
//! A batch that cannot be answered as a whole is asked again in halves, down to the workspace that it failed
//! for, which alone gets the error. This file knows no SQL and no driver.

use std::collections::HashMap;
use std::future::Future;

use crate::{DatabaseError, Secret, WorkspaceId};

/// Maximum of workspaces in one statement: so many that the round trip hardly counts any more, and few enough
/// that none of them waits for long.
pub(super) const BATCH_SIZE: usize = 128;

/// The stored value of one workspace.
pub(super) type BatchRead = Result<Option<Secret>, DatabaseError>;

/// A column that can be asked in both ways.
pub(super) trait Readable: Sync {
    /// Asks for one workspace.
    fn one(&self, workspace: &WorkspaceId) -> impl Future<Output = BatchRead> + Send;

    /// Asks for several, each at most once.
    fn several(&self, workspaces: &[WorkspaceId]) -> impl Future<Output = Several> + Send;
}

/// The outcome of a statement for several workspaces.
pub(super) enum Several {
    /// The rows that were found, each with the id that it was found by.
    Found(Vec<(String, BatchRead)>),
    /// The statement failed, as it would have for each of them.
    Failed(DatabaseError),
    /// The statement failed, perhaps because of one of them.
    Splits,
}

/// Reads all of them, in as few statements as possible.
pub(super) async fn read(column: &impl Readable, workspaces: &[WorkspaceId]) -> Vec<BatchRead> {
    let mut answers = Vec::with_capacity(workspaces.len());
    // The parts that are left, the next one last.
    let mut parts = vec![workspaces];
    while let Some(part) = parts.pop() {
        match part {
            [] => {}
            [one] => answers.push(column.one(one).await),
            several => match column.several(several).await {
                Several::Found(rows) => match in_order(several, rows) {
                    Some(all) => answers.extend(all),
                    None => split(several, &mut parts),
                },
                Several::Failed(error) => answers.extend(several.iter().map(|_| Err(error.clone()))),
                Several::Splits => split(several, &mut parts),
            },
        }
    }
    answers
}

fn split<'a>(part: &'a [WorkspaceId], parts: &mut Vec<&'a [WorkspaceId]>) {
    let (first, second) = part.split_at(part.len() / 2);
    parts.extend([second, first]);
}

/// Returns an answer for each workspace; `None` where one of them has two rows: the batch is split then,
/// until that workspace alone gets the error.
fn in_order(workspaces: &[WorkspaceId], rows: Vec<(String, BatchRead)>) -> Option<Vec<BatchRead>> {
    let count = rows.len();
    let rows: HashMap<String, BatchRead> = rows.into_iter().collect();
    if rows.len() < count {
        return None;
    }
    let answer = |workspace: &WorkspaceId| rows.get(workspace.as_str()).cloned().unwrap_or(Ok(None));
    Some(workspaces.iter().map(answer).collect())
}
