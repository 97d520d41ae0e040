//! A table that was there already: whether the server can work with it, in words, before it does.
//!
//! It looks, and changes nothing. The library finds out by itself what the columns are and whether the key
//! is unique; what the user may do, and whether a view can be updated, is found out here: PostgreSQL says so
//! only once a statement is run.

mod postgres;
mod sqlite;

use super::DatabaseReport;
use super::layout::{Layout, NamedColumn, RowOwner};

pub(super) use self::postgres::examine as postgres;
pub(super) use self::sqlite::examine as sqlite;

/// Ends the start with what is missing.
pub(super) fn ensure_usable(report: &DatabaseReport, shown: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        report.lacks.is_empty(),
        "cannot work with the tables of {shown}: {}; `leasehold database check` with the same arguments says \
         what is there",
        report.lacks.join("; ")
    );
    Ok(())
}

/// Reports what the tables are used for.
fn describe(report: &mut DatabaseReport, layout: &Layout, key_type: &str) {
    let NamedColumn { table, key, column, is_read_only, .. } = &layout.secrets;
    let done = if *is_read_only { "read, and never written" } else { "read and written" };
    report.fact("table", format!("{table}, of another program: its rows are not made or removed here"));
    report.fact("key", format!("{key}{key_type}"));
    report.fact("secret", format!("{column}, {done}"));
    let NamedColumn { table, key, column, .. } = &layout.tokens;
    report.fact("tokens", format!("{column} of {table} by {key}, only read"));
}

/// Logs what an operator may not expect.
pub(super) fn warn(asked: &Layout, found: &Layout) {
    if found.rows == RowOwner::Other && found.secrets.is_read_only && !asked.secrets.is_read_only {
        tracing::warn!(
            table = found.secrets.table,
            column = found.secrets.column,
            "the view cannot be updated: secrets are read, and rotations refused (--read-only-column says \
             the same)"
        );
    }
}
