//! The column that holds the secrets, and the words of SQL for it that both databases share.
//!
//! It knows SQL text and no driver; the statements are put together beside each driver. Identifiers cannot be
//! bound as parameters, so they are checked here, once, and always quoted. A column is always qualified with
//! its table as well: SQLite takes a bare quoted name that it does not know for a string literal, and would
//! answer with the column's name where the secret should be.
//!
//! Every statement compares the key twice. The first comparison is the database's own and uses its index; the
//! second is of text, byte for byte. Without it `042` would find the row of the number 42, and `ABC` that of
//! a case-insensitive `abc`: two ids and so two cached entries for one row, of which an issue would renew
//! only one.

use std::fmt;

use crate::ConnectError;

/// Maximum length of an identifier. PostgreSQL cuts longer names off without an error, and SQLite does not;
/// one limit keeps them alike.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The column that holds the secrets: its table, and the column that holds the workspace's id.
///
/// Names are compared as the database compares quoted names: PostgreSQL minds the case, SQLite does not. The
/// key column has to be unique (a primary key or a unique index); see [`assume_unique`](Self::assume_unique).
#[derive(Clone, Debug)]
pub struct Column {
    schema: Option<String>,
    table: String,
    key: String,
    secret: String,
    is_unique_by_word: bool,
    is_read_only: bool,
}

impl Column {
    /// Names the column `secret` of `table`, where the column `key` holds the workspace's id.
    ///
    /// `table` may be `schema.table`. Whether they exist is checked when a database is connected.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Identifier`] if a name is not a letter or `_` followed by letters, digits or `_`, of
    /// at most 63 bytes, all of ASCII.
    pub fn new(table: &str, key: &str, secret: &str) -> Result<Self, ConnectError> {
        let (schema, bare) = match table.split_once('.') {
            Some((schema, bare)) => (Some(schema), bare),
            None => (None, table),
        };
        if !is_identifier(bare) || !schema.is_none_or(is_identifier) {
            return Err(ConnectError::Identifier { role: "table", name: table.to_owned() });
        }
        for (role, name) in [("key column", key), ("secret column", secret)] {
            if !is_identifier(name) {
                return Err(ConnectError::Identifier { role, name: name.to_owned() });
            }
        }
        Ok(Self {
            schema: schema.map(str::to_owned),
            table: bare.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            is_unique_by_word: false,
            is_read_only: false,
        })
    }

    /// The schema, if one was named.
    #[cfg(feature = "sqlite")]
    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table without its schema.
    #[cfg(feature = "sqlite")]
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// The name of the key column.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The name of the secret column.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The table as it is written in a statement.
    pub(super) fn quoted_table(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.table)),
            None => quoted(&self.table),
        }
    }

    /// The key column, qualified. The qualifier is the table's own name: `"schema"."table"."column"` is not
    /// accepted everywhere.
    pub(super) fn quoted_key(&self) -> String {
        format!("{}.{}", quoted(&self.table), quoted(&self.key))
    }

    /// The secret column, qualified.
    pub(super) fn quoted_secret(&self) -> String {
        format!("{}.{}", quoted(&self.table), quoted(&self.secret))
    }

    /// The secret column as the target of an assignment: not qualified, and never taken for a literal.
    pub(super) fn target(&self) -> String {
        quoted(&self.secret)
    }

    /// All words of SQL that it puts into a statement.
    #[cfg(feature = "testing")]
    pub(crate) fn words(&self) -> [String; 4] {
        [self.quoted_table(), self.quoted_key(), self.quoted_secret(), self.target()]
    }

    /// Takes it on trust that no two rows have the same key. Without this, a database that has no unique
    /// index on the key column alone is refused, since an issue could meet the rows of several workspaces.
    /// (Such an issue would be refused, and change nothing.) A view has no index, and is accepted without
    /// this.
    #[must_use]
    pub fn assume_unique(mut self) -> Self {
        self.is_unique_by_word = true;
        self
    }

    /// Marks a column that is only ever read, such as one of a view that cannot be written: an issue is
    /// refused, and a database that could not do one is accepted.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Returns whether nothing is written.
    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns whether the operator says that the key column is unique.
    pub(super) fn is_assumed_unique(&self) -> bool {
        self.is_unique_by_word
    }

    /// The error for a key column that has no unique index.
    pub(super) fn not_unique(&self) -> ConnectError {
        ConnectError::Schema(format!(
            "the key column {:?} of the table {} has no unique index, so that an issue could meet several \
             rows; make one (CREATE UNIQUE INDEX ON {} ({})), name a column that has one, or say that it is \
             unique all the same (Column::assume_unique)",
            self.key,
            self.quoted_table(),
            self.quoted_table(),
            quoted(&self.key)
        ))
    }
}

/// The column as `table.column`, for messages.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        write!(f, "{}.{}", self.table, self.secret)
    }
}

fn is_identifier(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts
        && name.len() <= MAX_IDENTIFIER_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn quoted(identifier: &str) -> String {
    format!("\"{identifier}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_accepted_and_quoted() {
        let longest = "x".repeat(63);
        for (table, quoted) in
            [("order", "\"order\""), ("a.b", "\"a\".\"b\""), (&longest, &format!("\"{longest}\""))]
        {
            assert_eq!(Column::new(table, "_id", "Secret2").unwrap().quoted_table(), *quoted);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_role_that_it_was_given_for() {
        let long = "x".repeat(64);
        for name in ["", "1a", "a-b", "a b", "a\"", "a;", "a.b.c", "ä", ".a", "a.", "\"a\"", "a\0", &long] {
            for (role, column) in [
                ("table", Column::new(name, "k", "s")),
                ("key column", Column::new("t", name, "s")),
                ("secret column", Column::new("t", "k", name)),
            ] {
                let Err(ConnectError::Identifier { role: named, name: refused }) = column else {
                    panic!("{name:?} was accepted as {role}");
                };
                assert_eq!((named, refused.as_str()), (role, name));
            }
        }
    }

    #[test]
    fn only_a_table_may_have_a_schema() {
        assert!(Column::new("a.t", "k", "s").is_ok());
        assert!(Column::new("t", "t.k", "s").is_err());
    }
}
