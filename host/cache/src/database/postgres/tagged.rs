//! A statement that belongs to its answer: what it carries along, and how an answer is held against what was
//! asked.
//!
//! The driver names its prepared statements `sqlx_s_1`, `sqlx_s_2` and so on over every connection. A pooler
//! that lends server connections from one transaction to the next, and does not know prepared statements,
//! runs such a name on a connection where it is another statement. So every statement here has three
//! parameters before its own:
//!
//! 1. the *nonce*, other bytes each time, which the answer repeats;
//! 2. the *tag*, which names the purpose: a statement does nothing unless it is given its own, and answers
//!    with its own;
//! 3. the *seal*, an array of object ids, which says nothing.
//!
//! Together they have a shape that no other program's statement has: a nonce is no UTF-8, and has a length
//! that no other type has, so that not even a statement of as many parameters can be run with ours. A
//! statement always answers with at least one row: no rows at all are an answer to something else, and not
//! absence. (Triggers of the database that are called for each statement, and not for each row, are called
//! for a statement that does nothing, too.)

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Arguments as _, AssertSqlSafe, Executor as _, Row as _, SqlSafeStr as _, Type};

/// Number of columns of an answer before those that were asked for: the tag, the server's process, the nonce.
pub(super) const ANSWER: usize = 3;

/// The third parameter, as it is written in a statement, and as a value.
const SEAL: (&str, [Oid; 2]) =
    ("CAST('{1818583411,1701343084}' AS oid[])", [Oid(1_818_583_411), Oid(1_701_343_084)]);

/// The setting that keeps notices off the wire, which the driver would log and a trigger may put anything
/// into: for this statement's own transaction, and before a row is looked at, whatever becomes of the
/// connection's settings on the way to the server.
const QUIET: &str = "(SELECT set_config('client_min_messages', 'error', true)) = 'error'";

/// The setting that ends a wait for a lock after 30 s where no other limit is set: a write that no caller
/// waits for any more must not stay pending for ever.
const LOCK_TIMEOUT: &str = "(SELECT set_config('lock_timeout', \
     CASE current_setting('lock_timeout') WHEN '0' THEN '30s' \
     ELSE current_setting('lock_timeout') END, true)) IS NOT NULL";

/// Maximum size of the parameters of a statement about one workspace, but for long ids.
const ARGUMENT_BYTES: usize = 256;

/// The bytes that distinguish a question from every other question of all processes: 13 of them, the first of
/// which begins no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce([u8; 13]);

/// A parameter of a statement's own, from `$4` on.
#[derive(Clone, Copy)]
pub(super) enum Parameter<'a> {
    Text(&'a str),
    Texts(&'a [&'a str]),
    Count(i64),
}

/// A statement with its tag. A clone shares both.
#[derive(Clone, Debug)]
pub(super) struct Tagged {
    text: Arc<str>,
    tag: Arc<str>,
}

/// The reason why an answer is not the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// There is no row at all.
    Empty,
    /// The answer names another statement, or none.
    Tag,
    /// The answer belongs to an earlier question.
    Nonce,
}

impl Nonce {
    pub(super) fn new(process: [u8; 4], number: u64) -> Self {
        let mut bytes = [0xff; 13];
        let (head, tail) = bytes.split_at_mut(5);
        if let Some((_, prefix)) = head.split_first_mut() {
            prefix.copy_from_slice(&process);
        }
        tail.copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}

impl Tagged {
    /// Makes a statement that reads. `select` makes the part behind the columns of the answer, `<columns>
    /// FROM ...`, from the condition without which it must find nothing.
    pub(super) fn read(purpose: &str, select: impl FnOnce(&str) -> String) -> Self {
        let tag = format!("leasehold:{purpose}");
        let guard = guard(&tag, QUIET);
        Self::new(&tag, "", &select(&guard))
    }

    /// Makes a statement that changes rows. `change` makes it from the condition without which it must change
    /// nothing, and it returns a column `stored`. The answer has the number of rows changed, the first row's
    /// `stored` (two rows are an error that undoes the change), and what `select` adds.
    pub(super) fn write(purpose: &str, change: impl FnOnce(&str) -> String, select: &str) -> Self {
        Self::change(purpose, &format!("{QUIET} AND {LOCK_TIMEOUT}"), change, select)
    }

    /// Makes such a statement for a transaction of the program's own, whose waits for locks are its own
    /// affair.
    pub(super) fn write_within(purpose: &str, change: impl FnOnce(&str) -> String, select: &str) -> Self {
        Self::change(purpose, QUIET, change, select)
    }

    /// Makes a statement of several steps that change rows. `steps` makes the parts of its `WITH` from the
    /// condition without which they must change nothing, and `select` is what stands behind the columns of
    /// the answer.
    pub(super) fn steps(purpose: &str, steps: impl FnOnce(&str) -> String, select: &str) -> Self {
        let tag = format!("leasehold:{purpose}");
        let guard = guard(&tag, &format!("{QUIET} AND {LOCK_TIMEOUT}"));
        Self::new(&tag, &format!("WITH {} ", steps(&guard)), select)
    }

    fn change(purpose: &str, settings: &str, change: impl FnOnce(&str) -> String, select: &str) -> Self {
        let tag = format!("leasehold:{purpose}");
        let guard = guard(&tag, settings);
        let changed = format!("WITH changed AS ({}) ", change(&guard));
        let mut columns = String::from("(SELECT count(*) FROM changed), (SELECT stored FROM changed)");
        if !select.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(columns, ", {select}");
        }
        Self::new(&tag, &changed, &columns)
    }

    fn new(tag: &str, with: &str, select: &str) -> Self {
        let text = format!("{with}SELECT {}, pg_backend_pid(), $1, {select}", literal(tag));
        Self { text: text.into(), tag: tag.into() }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns the statement as it is sent. Its text holds checked identifiers and literals of ours only.
    pub(super) fn query<'q>(
        &'q self,
        nonce: &'q Nonce,
        parameters: &[Parameter<'q>],
    ) -> Query<'q, sqlx::Postgres, PgArguments> {
        let mut arguments = PgArguments::default();
        // All arguments fit in one allocation, but for batches.
        arguments.reserve(3 + parameters.len(), ARGUMENT_BYTES);
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&self.text)), arguments)
            .bind(nonce.0.as_slice())
            .bind(&*self.tag)
            .bind(SEAL.1.as_slice());
        parameters.iter().fold(query, |query, parameter| match *parameter {
            Parameter::Text(text) => query.bind(text),
            Parameter::Texts(texts) => query.bind(texts),
            Parameter::Count(count) => query.bind(count),
        })
    }

    /// Has the server parse the statement as one that has so many parameters of its own, all of them texts.
    pub(super) async fn prepare(
        &self,
        connection: &mut PgConnection,
        texts: usize,
    ) -> Result<(), sqlx::Error> {
        let text = || <str as Type<sqlx::Postgres>>::type_info();
        let (nonce, seal) =
            (<[u8] as Type<sqlx::Postgres>>::type_info(), <[Oid] as Type<sqlx::Postgres>>::type_info());
        let mut types = vec![nonce, text(), seal];
        types.extend((0..texts).map(|_| text()));
        let statement = AssertSqlSafe(Arc::clone(&self.text)).into_sql_str();
        connection.prepare_with(statement, &types).await.map(drop)
    }

    /// Holds an answer against what was asked. Returns the server's process that gave it.
    pub(super) fn check(&self, nonce: &Nonce, rows: &[PgRow]) -> Result<i32, Mismatch> {
        let row = rows.first().ok_or(Mismatch::Empty)?;
        // The types are those of the statement that was meant, so that any bytes may be in there. Only once
        // the tag is right is it known that there are more columns.
        if !holds(row, 0, self.tag.as_bytes()) {
            return Err(Mismatch::Tag);
        }
        if !holds(row, 2, &nonce.0) {
            return Err(Mismatch::Nonce);
        }
        row.try_get(1).map_err(|_| Mismatch::Tag)
    }
}

impl Mismatch {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Empty => "the answer has no row, and so belongs to another statement",
            Self::Tag => "the answer belongs to another statement",
            Self::Nonce => "the answer belongs to an earlier statement",
        }
    }
}

/// Returns whether a column of an answer is there and holds these bytes, as they came.
fn holds(row: &PgRow, column: usize, bytes: &[u8]) -> bool {
    row.try_get_raw(column).is_ok_and(|value| value.as_bytes().is_ok_and(|found| found == bytes))
}

/// Makes the condition of a statement: that it was given its own tag. It names no column, so that the server
/// evaluates it once, and looks at no row where it does not hold.
fn guard(tag: &str, settings: &str) -> String {
    format!("{settings} AND $2 = {} AND $3 = {}", literal(tag), SEAL.0)
}

/// Quotes a text as SQL writes it. Texts of ours hold identifiers, which have neither quotes nor backslashes;
/// quotes are doubled all the same.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_no_text_and_each_one_another() {
        let first = Nonce::new([1, 2, 3, 4], 7);
        assert!(std::str::from_utf8(&first.0).is_err());
        assert_eq!(first.0.get(1..5), Some([1, 2, 3, 4].as_slice()));
        assert_ne!(first, Nonce::new([1, 2, 3, 4], 8));
        assert_ne!(first, Nonce::new([1, 2, 3, 5], 7));
    }

    #[test]
    fn a_statement_names_itself_and_is_guarded_by_its_name() {
        let read = Tagged::read("read:t.s", |guard| format!("(SELECT s FROM t WHERE k = $4 AND {guard})"));
        assert!(read.text.starts_with("SELECT 'leasehold:read:t.s', pg_backend_pid(), $1, (SELECT s FROM t"));
        assert!(read.text.contains("AND $2 = 'leasehold:read:t.s' AND $3 = "));
        let write =
            Tagged::write("o'x", |guard| format!("DELETE FROM t WHERE {guard} RETURNING 1 AS stored"), "");
        assert!(write.text.starts_with("WITH changed AS (DELETE FROM t WHERE (SELECT set_config("));
        assert!(write.text.contains("$2 = 'leasehold:o''x'"));
    }
}
