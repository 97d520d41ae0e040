//! Which column holds the secrets, and the four statements that are ever sent about it.
//!
//! It knows SQL text and no driver. Identifiers cannot be bound as parameters, so they are checked here, once, and always
//! quoted. A column is always qualified with its table as well: SQLite takes a bare quoted name that it does not know for
//! a string literal, and would answer with the column's name where the secret should be.
//!
//! Every statement compares the key twice. The first comparison is the database's own and uses its index; the second is
//! of text, byte for byte. Without it `042` would find the row of the number 42, and `ABC` that of a case-insensitive
//! `abc`: two ids and so two cached entries for one row, of which an issue would renew only one.

use std::fmt;
use std::sync::Arc;

use crate::ConnectError;

/// PostgreSQL cuts longer names off without an error, and SQLite does not; one limit keeps them alike.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The column that holds the secrets: its table, and the column that holds the workspace's id.
///
/// Names are compared as the database compares quoted names: PostgreSQL minds the case, SQLite does not. The key column
/// has to be unique (a primary key or a unique index).
#[derive(Clone, Debug)]
pub struct Column {
    schema: Option<String>,
    table: String,
    key: String,
    secret: String,
}

impl Column {
    /// Names the column `secret` of `table`, where the column `key` holds the workspace's id.
    ///
    /// `table` may be `schema.table`. Whether they exist is checked when a database is connected.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Identifier`] if a name is not a letter or `_` followed by letters, digits or `_`, of at most 63
    /// bytes, all of ASCII.
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
        })
    }

    /// The schema, if one was named.
    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table without its schema.
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

    /// The statements for this column in one dialect.
    pub(super) fn statements(&self, dialect: Dialect<'_>) -> Statements {
        let table = self.quoted_table();
        // A qualifier is the table's own name: `"schema"."table"."column"` is not accepted everywhere.
        let key = format!("{}.{}", quoted(&self.table), quoted(&self.key));
        let secret = format!("{}.{}", quoted(&self.table), quoted(&self.secret));
        // What is assigned to may not be qualified, and is never taken for a literal.
        let target = quoted(&self.secret);
        let Words { id, minted, typed_id, bytewise, text } = dialect.words(&secret);
        let found = format!("{key} = {typed_id} AND CAST({key} AS text) COLLATE {bytewise} = {id}");
        Statements {
            // Two rows, so that a key column that is not unique is noticed.
            select: format!("SELECT {text} FROM {table} WHERE {found} LIMIT 2").into(),
            // A row for each row changed. Counting changes instead would miss those made through a view in SQLite.
            rotate: format!("UPDATE {table} SET {target} = {minted} WHERE {found} RETURNING 1").into(),
            heal: format!(
                "UPDATE {table} SET {target} = CASE WHEN {secret} IS NULL OR {secret} = '' THEN {minted} \
                 ELSE {secret} END WHERE {found} RETURNING {text}"
            )
            .into(),
        }
    }

    /// A statement that reads `size` workspaces: the ids of those that have a row, as text, and their secrets. The last
    /// parameter is one more than the rows that there may be if the key column is unique.
    pub(super) fn select_batch(&self, dialect: Dialect<'_>, size: usize) -> String {
        let table = self.quoted_table();
        let key = format!("{}.{}", quoted(&self.table), quoted(&self.key));
        let secret = format!("{}.{}", quoted(&self.table), quoted(&self.secret));
        let Words { bytewise, text, .. } = dialect.words(&secret);
        let (typed, exact, limit) = dialect.one_of(size);
        format!(
            "SELECT CAST({key} AS text), {text} FROM {table} WHERE {key} {typed} \
             AND CAST({key} AS text) COLLATE {bytewise} {exact} LIMIT {limit}"
        )
    }
}

/// `table.column`, for messages.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        write!(f, "{}.{}", self.table, self.secret)
    }
}

/// How a database wants to be spoken to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect<'a> {
    /// SQLite: a column has an affinity, and a value may be of any type.
    Sqlite,
    /// PostgreSQL.
    Postgres {
        /// The type of the key column where it is not text, quoted as SQL wants it.
        key_type: Option<&'a str>,
    },
}

/// The three statements, ready to be sent. `$1` or `?1` is the workspace's id, the second parameter a minted secret.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    /// Reads the secret: no row or one, and two only if the key column is not unique.
    pub(super) select: Arc<str>,
    /// Replaces the secret: one row if there was one to change.
    pub(super) rotate: Arc<str>,
    /// Stores the secret where none is, and returns the one that is stored then.
    pub(super) heal: Arc<str>,
}

struct Words {
    id: &'static str,
    minted: &'static str,
    /// The id as a value of the key column's type.
    typed_id: String,
    bytewise: &'static str,
    /// The secret as it is read.
    text: String,
}

impl Dialect<'_> {
    fn words(self, secret: &str) -> Words {
        match self {
            // Not cast when read: a BLOB would become text, and what is not text is to be refused.
            Self::Sqlite => Words {
                id: "?1",
                minted: "?2",
                typed_id: "?1".to_owned(),
                bytewise: "BINARY",
                text: secret.to_owned(),
            },
            // Cast when read: a domain or a padded char arrives as the text that it stands for.
            Self::Postgres { key_type } => Words {
                id: "$1",
                minted: "$2",
                typed_id: key_type
                    .map_or_else(|| "$1".to_owned(), |name| format!("CAST($1::text AS {name})")),
                bytewise: "\"C\"",
                text: format!("CAST({secret} AS text)"),
            },
        }
    }
}

impl Dialect<'_> {
    /// How a key is compared with each of `size` ids: as a value of its own type, and as text; and the parameter after them.
    fn one_of(self, size: usize) -> (String, String, String) {
        match self {
            // A list has no affinity of its own: the key's is applied, as it is for one id.
            Self::Sqlite => {
                let ids: Vec<String> = (1..=size).map(|number| format!("?{number}")).collect();
                let list = format!("IN ({})", ids.join(", "));
                (list.clone(), list, format!("?{}", size + 1))
            }
            // One array, whatever its length.
            Self::Postgres { key_type } => {
                let name = key_type.unwrap_or("text");
                (format!("= ANY(CAST($1::text[] AS {name}[]))"), "= ANY($1)".to_owned(), "$2".to_owned())
            }
        }
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
                let Err(ConnectError::Identifier { role: told, name: refused }) = column else {
                    panic!("{name:?} was accepted as {role}");
                };
                assert_eq!((told, refused.as_str()), (role, name));
            }
        }
    }

    #[test]
    fn only_a_table_may_have_a_schema() {
        assert!(Column::new("a.t", "k", "s").is_ok());
        assert!(Column::new("t", "t.k", "s").is_err());
    }

    #[test]
    fn a_key_that_is_not_text_is_compared_as_its_own_type_and_as_text() {
        let column = Column::new("t", "k", "s").unwrap();
        let statements = column.statements(Dialect::Postgres { key_type: Some("uuid") });
        assert_eq!(
            &*statements.select,
            "SELECT CAST(\"t\".\"s\" AS text) FROM \"t\" WHERE \"t\".\"k\" = CAST($1::text AS uuid) \
             AND CAST(\"t\".\"k\" AS text) COLLATE \"C\" = $1 LIMIT 2"
        );
        assert_eq!(
            column.select_batch(Dialect::Postgres { key_type: Some("uuid") }, 128),
            "SELECT CAST(\"t\".\"k\" AS text), CAST(\"t\".\"s\" AS text) FROM \"t\" \
             WHERE \"t\".\"k\" = ANY(CAST($1::text[] AS uuid[])) \
             AND CAST(\"t\".\"k\" AS text) COLLATE \"C\" = ANY($1) LIMIT $2"
        );
        assert_eq!(
            column.select_batch(Dialect::Sqlite, 2),
            "SELECT CAST(\"t\".\"k\" AS text), \"t\".\"s\" FROM \"t\" WHERE \"t\".\"k\" IN (?1, ?2) \
             AND CAST(\"t\".\"k\" AS text) COLLATE BINARY IN (?1, ?2) LIMIT ?3"
        );
    }
}
