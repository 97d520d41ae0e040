//! Tables of what SQLite's codes and the driver's errors mean. The driver's trait lets a test make an error
//! of any code; the codes that a database in memory can be made to return come from SQLite itself as well.

use std::error::Error as StdError;
use std::{fmt, io};

use sqlx::error::{DatabaseError as DriverError, ErrorKind};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use super::*;

/// Text that a message may hold, and that is nothing to pass on.
const VALUE: &str = "the message";

/// Error with a result code, as the driver hands it on.
#[derive(Debug)]
struct CodedError(String);

impl fmt::Display for CodedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VALUE)
    }
}

impl StdError for CodedError {}

impl DriverError for CodedError {
    fn message(&self) -> &str {
        VALUE
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.as_str().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

fn coded(code: &str) -> sqlx::Error {
    sqlx::Error::Database(Box::new(CodedError(code.to_owned())))
}

fn kind(error: &DatabaseError) -> &'static str {
    match error {
        DatabaseError::Unavailable(_) => "unavailable",
        DatabaseError::Refused(_) => "refused",
        DatabaseError::ReadOnly => "read-only",
        DatabaseError::Lost(_) => "lost",
        other => panic!("{other:?} is none of a failed statement"),
    }
}

/// Holds a failure against what a read and an issue are told, sent and not sent, and whether a batch splits.
fn check(error: impl Fn() -> sqlx::Error, [read, issue]: [&str; 2], splits: bool, row: &str) {
    let sent = || SqliteFailure::Sent(error());
    let not_sent = || SqliteFailure::NotSent(error());
    assert_eq!((kind(&sent().of_select()), kind(&sent().of_issue())), (read, issue), "sent, {row}");
    assert_eq!(
        (kind(&not_sent().of_select()), kind(&not_sent().of_issue())),
        (read, read),
        "not sent, {row}"
    );
    assert_eq!((sent().may_be_of_one_row(), not_sent().may_be_of_one_row()), (splits, false), "{row}");
    for told in [sent().of_select(), sent().of_issue()] {
        assert!(!format!("{told} {told:?}").contains(VALUE), "{row}: {told}");
    }
}

type CodeRow = ([&'static str; 2], bool, u32, &'static [u32], &'static str);

/// SQLite's result codes: what a read and an issue are told, whether a batch is split, the primary code, some
/// of its extended codes, and the words.
const CODES: &[CodeRow] = &[
    // What the table, the rights or the value is the reason for.
    (["refused"; 2], true, 1, &[257, 513, 769], "the table may have changed"),
    (["refused"; 2], false, 3, &[], "access was denied"),
    (["refused"; 2], true, 18, &[], "the value is too long"),
    (["refused"; 2], false, 19, &[275, 787, 1299, 1555, 1811, 2067], "a trigger forbids it"),
    (["refused"; 2], false, 20, &[], "the statement failed"),
    (["refused"; 2], false, 23, &[279], "access was denied"),
    (["read-only"; 2], false, 8, &[264, 520, 776, 1032, 1288, 1544], "the database is read-only"),
    // What passes: another writer, the operator, the machine, a schema that is changing.
    (["unavailable"; 2], false, 4, &[516], "the statement failed"),
    (["unavailable"; 2], false, 5, &[261, 517, 773], "locked by another writer"),
    (["unavailable"; 2], false, 6, &[262, 518], "locked by another writer"),
    (["unavailable"; 2], false, 7, &[], "the statement failed"),
    (["unavailable"; 2], false, 9, &[], "the statement was interrupted"),
    (["unavailable"; 2], false, 13, &[], "the disk is full"),
    (["unavailable"; 2], false, 14, &[270, 526, 782, 1038], "does not exist or cannot be opened"),
    (["unavailable"; 2], false, 15, &[], "the statement failed"),
    (["unavailable"; 2], false, 17, &[], "the schema is changing"),
    // The file, page by page or as a whole.
    (["unavailable"; 2], true, 11, &[267, 523, 779], "the file is damaged or not a database"),
    (["unavailable"; 2], false, 26, &[], "the file is damaged or not a database"),
    // The commit's record may be written, and its sync may have failed.
    (["unavailable", "lost"], true, 10, &[266, 522, 778, 1034, 1290, 3082], "writing the file failed"),
    // What a statement of ours does not come to, and codes that there are not yet.
    (["unavailable"; 2], false, 2, &[], "the statement failed"),
    (["unavailable"; 2], false, 12, &[], "the statement failed"),
    (["unavailable"; 2], false, 16, &[], "the statement failed"),
    (["unavailable"; 2], false, 21, &[], "the statement failed"),
    (["unavailable"; 2], false, 22, &[], "the statement failed"),
    (["unavailable"; 2], false, 24, &[], "the statement failed"),
    (["unavailable"; 2], false, 25, &[], "the statement failed"),
    (["unavailable"; 2], false, 99, &[355], "the statement failed"),
];

#[test]
fn each_code_says_what_became_of_the_statement_whatever_its_extension() {
    for (told, splits, primary, extended, words) in CODES {
        for code in [primary].into_iter().chain(*extended) {
            let row = format!("code {code}");
            check(|| coded(&code.to_string()), *told, *splits, &row);
            let described = describe(&coded(&code.to_string())).into_owned();
            assert!(described.ends_with(&format!("{words} (SQLite code {primary})")), "{row}: {described}");
        }
    }
    let known: Vec<u32> = CODES.iter().map(|(_, _, primary, ..)| *primary).collect();
    assert!((1..=26).all(|code| known.contains(&code)), "a code is missing: {known:?}");
}

#[test]
fn an_error_without_a_code_leaves_an_issue_in_doubt_unless_nothing_was_sent() {
    const FAILED: &str = "the driver failed";
    let source = || Box::<dyn StdError + Send + Sync>::from(VALUE);
    let decode = || sqlx::Error::ColumnDecode { index: VALUE.into(), source: source() };
    let lost = ["unavailable", "lost"];
    type Row<'a> = (&'a str, &'a dyn Fn() -> sqlx::Error, [&'a str; 2], &'a str);
    let rows: &[Row<'_>] = &[
        ("Encode", &|| sqlx::Error::Encode(source()), ["unavailable"; 2], FAILED),
        ("Io", &|| io::Error::new(io::ErrorKind::NotFound, VALUE).into(), lost, "the file cannot be used"),
        ("PoolTimedOut", &|| sqlx::Error::PoolTimedOut, lost, "no connection became free in time"),
        ("PoolClosed", &|| sqlx::Error::PoolClosed, lost, "the pool is closed"),
        ("no number", &|| coded("SQLITE_BUSY"), lost, FAILED),
        ("Protocol", &|| sqlx::Error::Protocol(VALUE.into()), lost, FAILED),
        ("Configuration", &|| sqlx::Error::Configuration(source()), lost, FAILED),
        ("InvalidArgument", &|| sqlx::Error::InvalidArgument(VALUE.into()), lost, FAILED),
        ("Tls", &|| sqlx::Error::Tls(source()), lost, FAILED),
        ("RowNotFound", &|| sqlx::Error::RowNotFound, lost, FAILED),
        ("TypeNotFound", &|| sqlx::Error::TypeNotFound { type_name: VALUE.into() }, lost, FAILED),
        ("ColumnIndex", &|| sqlx::Error::ColumnIndexOutOfBounds { index: 1, len: 1 }, lost, FAILED),
        ("ColumnNotFound", &|| sqlx::Error::ColumnNotFound(VALUE.into()), lost, FAILED),
        ("ColumnDecode", &decode, lost, FAILED),
        ("Decode", &|| sqlx::Error::Decode(source()), lost, FAILED),
        ("AnyDriverError", &|| sqlx::Error::AnyDriverError(source()), lost, FAILED),
        ("WorkerCrashed", &|| sqlx::Error::WorkerCrashed, lost, FAILED),
        ("InvalidSavePoint", &|| sqlx::Error::InvalidSavePointStatement, lost, FAILED),
        ("BeginFailed", &|| sqlx::Error::BeginFailed, lost, FAILED),
    ];
    for (name, error, told, words) in rows {
        check(error, *told, false, name);
        assert!(describe(&error()).contains(words), "{name}: {}", describe(&error()));
    }
}

#[tokio::test]
async fn sqlite_returns_the_codes_that_the_table_is_about() {
    let quoting = "CREATE TRIGGER r BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, 'the message'); END; \
                   UPDATE t SET s = 'x'";
    for (code, statements) in [
        (1, "SELECT s FROM missing"),
        (1, "SELECT json('no JSON')"),
        (8, "PRAGMA query_only = 1; UPDATE t SET s = 'x'"),
        (13, "PRAGMA max_page_count = 3; UPDATE t SET s = zeroblob(100000)"),
        (18, "SELECT zeroblob(2000000000)"),
        (19, "UPDATE t SET s = NULL"),
        (19, quoting),
        (20, "UPDATE t SET n = 'no number'"),
    ] {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let table = "CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT NOT NULL); INSERT INTO t VALUES (1, 's')";
        sqlx::raw_sql(table).execute(&mut connection).await.unwrap();
        let error =
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect_err(statements);
        assert_eq!(primary_code(&error), Some(code), "{statements}: {error}");
        assert!(!describe(&error).contains(VALUE), "{statements}");
    }
    // No file, and one that is no database: the program itself.
    for (code, file) in [(14, "/missing/file".into()), (26, std::env::current_exe().unwrap())] {
        let opened = SqliteConnectOptions::new().filename(file).read_only(true).connect().await;
        let error = match opened {
            Ok(mut connection) => {
                sqlx::raw_sql("SELECT * FROM t").execute(&mut connection).await.expect_err("no database")
            }
            Err(error) => error,
        };
        assert_eq!(primary_code(&error), Some(code), "{error}");
    }
}
