//! The statements about one column of a SQLite database, as texts.
//!
//! They have no tags: a statement here is a handle in this process, and not a name that a pooler could take
//! for another one. No statement casts a value that it reads: a BLOB would become text, and a value that is
//! not text has to be refused.

use std::sync::Arc;

use crate::IssueMode;
use crate::database::Column;
use crate::database::batch::BATCH_SIZE;

/// The statements for one column. `?1` is the workspace's id, `?2` a minted secret.
#[derive(Clone, Debug)]
pub(super) struct SqliteSql {
    /// Reads no row or one, and two only if the key column is not unique.
    pub(super) select: Arc<str>,
    /// Counts the rows.
    pub(super) count: Arc<str>,
    rotate: Arc<str>,
    heal: Arc<str>,
    /// The batch statements by size, the smallest first. A batch takes the first that it fits in: few texts,
    /// each of them prepared once.
    select_batch: Arc<[(usize, Arc<str>)]>,
}

impl SqliteSql {
    pub(super) fn new(column: &Column) -> Self {
        let (table, key, secret) = (column.quoted_table(), column.quoted_key(), column.quoted_secret());
        // The second comparison is of text, byte for byte; see column.rs.
        let found = format!("{key} = ?1 AND CAST({key} AS text) COLLATE BINARY = ?1");
        let count = format!("SELECT count(*) FROM {table} WHERE {found}");
        // There is a row in the answer for each row changed. Counting changes instead would miss those made
        // through a view. Where one id has several rows none is changed: SQLite has one writer at a time, so
        // that no row can come in between. The values returned are those from before the triggers that come
        // after.
        let triggers = format!(
            "SELECT 1 FROM \"{}\".sqlite_schema WHERE type = 'trigger' AND tbl_name = '{}' COLLATE NOCASE",
            column.schema().unwrap_or("main"),
            column.table()
        );
        let write = |value: &str| {
            let target = column.target();
            let changed = format!("UPDATE {table} SET {target} = {value} WHERE {found} AND ({count}) = 1");
            format!("{changed} RETURNING {target}, EXISTS ({triggers})").into()
        };
        Self {
            select: format!("SELECT {secret} FROM {table} WHERE {found} LIMIT 2").into(),
            rotate: write("?2"),
            heal: write(&format!("CASE WHEN {secret} IS NULL OR {secret} = '' THEN ?2 ELSE {secret} END")),
            count: count.into(),
            select_batch: sizes().map(|size| (size, select_batch(column, size).into())).collect(),
        }
    }

    /// Returns the statement that changes a row as `mode` says, and answers with a row if it has: the stored
    /// value, and whether there are triggers that may have stored something else since.
    pub(super) fn issue(&self, mode: IssueMode) -> &Arc<str> {
        match mode {
            IssueMode::Rotate => &self.rotate,
            IssueMode::Heal => &self.heal,
        }
    }

    /// Returns the statement that reads so many workspaces, and the number of ids that it takes. The
    /// parameter after the ids is one more than the rows that there may be if the key column is unique.
    pub(super) fn select_batch(&self, workspaces: usize) -> Option<&(usize, Arc<str>)> {
        self.select_batch.iter().find(|(size, _)| workspaces <= *size)
    }
}

/// Makes the statement that reads the ids of the workspaces that have a row, as text, and their secrets.
fn select_batch(column: &Column, size: usize) -> String {
    let (table, key, secret) = (column.quoted_table(), column.quoted_key(), column.quoted_secret());
    let ids: Vec<String> = (1..=size).map(|number| format!("?{number}")).collect();
    // A list has no affinity of its own: the key's is applied, as it is for a single id.
    let any = format!("IN ({})", ids.join(", "));
    format!(
        "SELECT CAST({key} AS text), {secret} FROM {table} WHERE {key} {any} \
         AND CAST({key} AS text) COLLATE BINARY {any} LIMIT ?{}",
        size + 1
    )
}

/// Returns the powers of two up to the size of a batch.
fn sizes() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(2), |size| Some(size * 2)).take_while(|size| *size <= BATCH_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_compares_the_key_as_its_own_type_and_as_text() {
        let column = Column::new("t", "k", "s").unwrap();
        assert_eq!(
            select_batch(&column, 2),
            "SELECT CAST(\"t\".\"k\" AS text), \"t\".\"s\" FROM \"t\" WHERE \"t\".\"k\" IN (?1, ?2) \
             AND CAST(\"t\".\"k\" AS text) COLLATE BINARY IN (?1, ?2) LIMIT ?3"
        );
    }
}
