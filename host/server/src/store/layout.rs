//! The places of the secrets and the tokens: which table, and which of its columns.
//!
//! A table of the server's own is made and migrated, and its rows are made and removed. One that was there
//! already is another program's: nothing is known of its other columns, so that no row is made or removed,
//! and the table stays as it is.

use anyhow::Context as _;
use leasehold::{Column, KeyForm, WorkspaceId};

use crate::options::DatabaseOptions;

/// Names of the server's own table.
const TABLE: &str = "workspaces";
const KEY: &str = "id";
const SECRET: &str = "platform_inbound_secret";
const TOKEN: &str = "auth_token_hash";

/// A column with its table and the table's key, by their names.
#[derive(Clone, Debug)]
pub(crate) struct NamedColumn {
    pub(crate) table: String,
    pub(super) key: String,
    pub(super) column: String,
    pub(crate) is_read_only: bool,
    is_unique_by_word: bool,
}

/// The program that makes the rows, and removes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOwner {
    /// This server, by its API.
    Server,
    /// Another program.
    Other,
}

/// The columns of the secrets and of the tokens.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) secrets: NamedColumn,
    pub(crate) tokens: NamedColumn,
    pub(crate) rows: RowOwner,
    /// The ids that the secrets' key column can hold.
    pub(super) form: KeyForm,
}

impl NamedColumn {
    /// Returns the column as the library takes it.
    pub(crate) fn column(&self) -> anyhow::Result<Column> {
        let column = Column::new(&self.table, &self.key, &self.column)?;
        let column = if self.is_read_only { column.read_only() } else { column };
        Ok(if self.is_unique_by_word { column.assume_unique() } else { column })
    }

    /// Returns the schema, if one is named, and the table.
    pub(super) fn schema_and_table(&self) -> (Option<&str>, &str) {
        match self.table.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, &self.table),
        }
    }
}

impl Layout {
    /// Returns the layout of the server's own table.
    pub(crate) fn own() -> Self {
        let named = |column: &str, is_read_only| NamedColumn {
            table: TABLE.to_owned(),
            key: KEY.to_owned(),
            column: column.to_owned(),
            is_read_only,
            is_unique_by_word: false,
        };
        Self {
            secrets: named(SECRET, false),
            // Tokens are made with their row.
            tokens: named(TOKEN, true),
            rows: RowOwner::Server,
            form: KeyForm::Text,
        }
    }

    /// Returns the layout that was asked for.
    pub(crate) fn new(options: &DatabaseOptions) -> anyhow::Result<Self> {
        let Some(table) = &options.table else {
            let others = [
                ("--key", options.key.is_some()),
                ("--column", options.column.is_some()),
                ("--token-table", options.token_table.is_some()),
                ("--token-key", options.token_key.is_some()),
                ("--token-column", options.token_column.is_some()),
                ("--assume-unique", options.assume_unique),
                ("--read-only-column", options.read_only_column),
            ];
            let alone = others.iter().find(|(_, is_given)| *is_given);
            anyhow::ensure!(
                alone.is_none(),
                "{} is given without --table; expected the table or view that it is about, as \
                 --table SCHEMA.TABLE",
                alone.map_or("", |(name, _)| name)
            );
            return Ok(Self::own());
        };
        let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        let key = or(&options.key, KEY);
        let secrets = NamedColumn {
            table: table.clone(),
            column: or(&options.column, SECRET),
            key: key.clone(),
            is_read_only: options.read_only_column,
            is_unique_by_word: options.assume_unique,
        };
        let tokens = NamedColumn {
            table: or(&options.token_table, table),
            key: or(&options.token_key, &key),
            column: or(&options.token_column, TOKEN),
            is_read_only: true,
            is_unique_by_word: options.assume_unique,
        };
        secrets.column().context("--table, --key or --column cannot be used")?;
        tokens.column().context("--token-table, --token-key or --token-column cannot be used")?;
        Ok(Self { secrets, tokens, rows: RowOwner::Other, form: KeyForm::Text })
    }

    /// Returns what is expected of an id, if there can be no workspace with this one.
    pub(crate) fn misfit(&self, workspace: &WorkspaceId) -> Option<&'static str> {
        if self.form.may_be(workspace.as_str()) { None } else { self.form.expected() }
    }
}
