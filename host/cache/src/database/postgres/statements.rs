//! The statements about one column of a PostgreSQL database, as texts.
//!
//! Each statement works on its own: a single autocommit statement, guarded by its tag. A value of the column
//! leaves as text, whatever type it is stored as.

use super::tagged::{Tagged, literal};
use crate::IssueMode;
use crate::database::Column;

/// The time limit of what a transaction has deferred to its end, where the connection sets none: that of the
/// cache's own statements.
const DEFERRED_TIMEOUT: &str = "(SELECT set_config('statement_timeout', \
     CASE current_setting('statement_timeout') WHEN '0' THEN '30s' \
     ELSE current_setting('statement_timeout') END, true)) IS NOT NULL";

/// The statements for one column.
#[derive(Clone, Debug)]
pub(super) struct PostgresSql {
    /// Reads the secret, or NULL; `$4` is the id. Two rows are an error of the server.
    pub(super) select: Tagged,
    /// Reads ids as text with their secrets, and one row without an id where there is none; `$4` is the ids,
    /// `$5` one more than the rows that there may be if the key column is unique.
    pub(super) select_batch: Tagged,
    /// Answers whether there is such a row; `$4` is the id.
    pub(super) exists: Tagged,
    /// Rotates within a transaction, and answers with the columns of [`Written`]; `$4` is the id, `$5` the
    /// minted secret.
    pub(super) rotate_within: Tagged,
    /// Reads the number of the transaction, or NULL where none has written yet or none is open.
    pub(super) open_transaction: Tagged,
    /// Sets a time limit for what the transaction has deferred.
    pub(super) limit_deferred: Tagged,
    rotate: Tagged,
    heal: Tagged,
}

/// The columns that a write answers with.
pub(super) struct Written;

impl Written {
    /// The number of rows that were changed.
    pub(super) const CHANGED: usize = 3;
    /// The value that the row holds, before any triggers that come after.
    pub(super) const STORED: usize = 4;
    /// Whether there was such a row.
    pub(super) const EXISTED: usize = 5;
    /// Whether the row may hold something else by now.
    pub(super) const IS_REWRITTEN: usize = 6;
}

impl PostgresSql {
    /// Makes the statements. `key_type` is the type of the key column where it is not text, quoted as SQL
    /// wants it.
    pub(super) fn new(column: &Column, key_type: Option<&str>) -> Self {
        let (table, key, secret) = (column.quoted_table(), column.quoted_key(), column.quoted_secret());
        let id = key_type.map_or_else(|| "$4".to_owned(), |name| format!("CAST($4::text AS {name})"));
        // The second comparison is of text, byte for byte; see column.rs.
        let found = format!("{key} = {id} AND CAST({key} AS text) COLLATE \"C\" = $4");
        let text = format!("CAST({secret} AS text)");
        let change = |value: &str, guard: &str| {
            let target = column.target();
            format!(
                "UPDATE {table} SET {target} = {value} WHERE {found} AND {guard} RETURNING {text} AS stored"
            )
        };
        let written = {
            // A trigger that comes after the change, a rule or another table behind the name may change what
            // was returned.
            let rewritten = format!(
                "COALESCE((SELECT c.relkind <> 'r' OR c.relhassubclass OR c.relhasrules \
                 OR EXISTS (SELECT FROM pg_catalog.pg_trigger g \
                 WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 66 = 0) \
                 FROM pg_catalog.pg_class c WHERE c.oid = to_regclass({})), true)",
                literal(&table)
            );
            format!("EXISTS (SELECT FROM {table} WHERE {found}), {rewritten}")
        };
        let typed = key_type.unwrap_or("text");
        let any = format!(
            "{key} = ANY(CAST($4::text[] AS {typed}[])) AND CAST({key} AS text) COLLATE \"C\" = ANY($4)"
        );
        Self {
            select: Tagged::read(&format!("select:{column}"), |guard| {
                format!("(SELECT {text} FROM {table} WHERE {found} AND {guard})")
            }),
            select_batch: Tagged::read(&format!("select-batch:{column}"), |guard| {
                format!(
                    "found.id, found.secret FROM (SELECT 1) AS one \
                     LEFT JOIN (SELECT CAST({key} AS text) AS id, \
                     {text} AS secret FROM {table} WHERE {any} AND {guard} LIMIT $5) AS found ON true"
                )
            }),
            exists: Tagged::read(&format!("exists:{column}"), |guard| {
                format!("EXISTS (SELECT FROM {table} WHERE {found}) AND {guard}")
            }),
            open_transaction: Tagged::read("open-transaction", |guard| {
                format!("CASE WHEN {guard} THEN txid_current_if_assigned() END")
            }),
            limit_deferred: Tagged::read("limit-deferred", |guard| format!("{guard} AND {DEFERRED_TIMEOUT}")),
            rotate_within: Tagged::write_within(
                &format!("rotate-within:{column}"),
                |guard| change("$5", guard),
                &written,
            ),
            rotate: Tagged::write(&format!("rotate:{column}"), |guard| change("$5", guard), &written),
            heal: Tagged::write(
                &format!("heal:{column}"),
                |guard| {
                    let kept =
                        format!("CASE WHEN {secret} IS NULL OR {secret} = '' THEN $5 ELSE {secret} END");
                    change(&kept, guard)
                },
                &written,
            ),
        }
    }

    /// Returns the statement of an issue, which answers with the columns of [`Written`]; `$4` is the id, `$5`
    /// the minted secret.
    pub(super) fn issue(&self, mode: IssueMode) -> &Tagged {
        match mode {
            IssueMode::Rotate => &self.rotate,
            IssueMode::Heal => &self.heal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_text_is_compared_as_its_own_type_and_as_text() {
        let column = Column::new("t", "k", "s").unwrap();
        let statements = PostgresSql::new(&column, Some("uuid"));
        let select = statements.select.text();
        assert!(
            select.contains(
                "(SELECT CAST(\"t\".\"s\" AS text) FROM \"t\" WHERE \"t\".\"k\" = CAST($4::text AS uuid) \
                 AND CAST(\"t\".\"k\" AS text) COLLATE \"C\" = $4 AND "
            ),
            "{select}"
        );
        let batch = statements.select_batch.text();
        assert!(
            batch.contains(
                "WHERE \"t\".\"k\" = ANY(CAST($4::text[] AS uuid[])) \
                 AND CAST(\"t\".\"k\" AS text) COLLATE \"C\" = ANY($4) AND "
            ),
            "{batch}"
        );
    }
}
