//! Tables of what PostgreSQL's codes and the driver's errors mean. A small server that speaks as much of the
//! protocol as it takes sends the errors, since the driver makes such an error from an answer only.

use std::error::Error as StdError;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

use super::*;

/// Text that a message may hold, and that is nothing to pass on.
const VALUE: &str = "the message";
/// Context of an error that a trigger raises.
const TRIGGER: &str = "WPL/pgSQL function t()";

/// Connection to a server that refuses every statement with the fields that are its text.
struct RefusingServer(PgConnection);

impl RefusingServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // It ends with the connection.
        thread::spawn(move || refuse_all(listener.accept()?.0));
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("u");
        Self(options.ssl_mode(PgSslMode::Disable).connect().await.unwrap())
    }

    /// Returns the error of this code. A field more is written as the protocol writes it.
    async fn error(&mut self, severity: &str, code: &str, field: &str) -> sqlx::Error {
        let fields = format!("S{severity}\nV{severity}\nC{code}\nM{VALUE}\n{field}");
        sqlx::raw_sql(AssertSqlSafe(fields)).execute(&mut self.0).await.unwrap_err()
    }
}

fn refuse_all(mut client: TcpStream) -> io::Result<()> {
    receive(&mut client)?;
    client.write_all(&[message(b'R', &[0; 4]), message(b'Z', b"I")].concat())?;
    let mut kind = [0];
    while client.read_exact(&mut kind).is_ok() {
        let body = receive(&mut client)?;
        if kind == *b"Q" {
            // The text ends with a zero byte, and so does each field, and all of them together.
            let fields = String::from_utf8_lossy(&body).trim_end_matches(['\0', '\n']).replace('\n', "\0");
            let refusal = message(b'E', format!("{fields}\0\0").as_bytes());
            client.write_all(&[refusal, message(b'Z', b"I")].concat())?;
        }
    }
    Ok(())
}

fn receive(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut body)?;
    Ok(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}

fn kind(error: &DatabaseError) -> &'static str {
    match error {
        DatabaseError::Unavailable(_) => "unavailable",
        DatabaseError::Refused(_) => "refused",
        DatabaseError::ReadOnly => "read-only",
        DatabaseError::Lost(_) => "lost",
        DatabaseError::Timeout => "timeout",
        DatabaseError::Overloaded => "overloaded",
        other => panic!("{other:?} is none of a failed statement"),
    }
}

/// Returns everything that is asked of a failure but its conversions, in words.
fn traits(failure: &PostgresFailure) -> String {
    let words = [
        (failure.is_of_connection(), "connection"),
        (failure.spoils_connection(), "close"),
        (failure.is_mix_up(), "mix-up"),
        (failure.is_protocol_violation(), "protocol"),
        (failure.is_of_stale_session(), "stale"),
        (failure.is_login_refused(), "login"),
        (failure.may_be_of_one_row(), "one-row"),
        (failure.says_no_such_value(), "no-value"),
        (failure.says_several_rows(), "several"),
    ];
    let words: Vec<&str> = words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
    words.join(" ")
}

/// What a read and an issue are told, the traits, and codes, perhaps with a word before them: see `failure`.
type CodesRow = (&'static str, &'static str, &'static str, &'static str);

/// PostgreSQL's appendix A by its classes, where what a class means is what each of its codes does. Severity
/// is ERROR: the server has rolled the statement back.
const ANSWERS: &[CodesRow] = &[
    // The connection, in a pooler's words: a server that loses its client says nothing.
    ("unavailable", "lost", "close", "08000 08001 08003 08004 08006 08007"),
    ("unavailable", "unavailable", "close mix-up protocol", "08P01"),
    ("unavailable", "unavailable", "close mix-up", "26000 42P05"),
    ("refused", "refused", "close stale", "0A000"),
    ("read-only", "read-only", "close stale", "25006"),
    // What the value, the table, the role or a function in the database is the reason for.
    ("refused", "refused", "one-row several", "21000"),
    ("refused", "refused", "one-row no-value", "22003 22007 22008 22P02"),
    ("refused", "refused", "one-row", "22000 22001 22004 22012 22021 22P05"),
    ("refused", "refused", "one-row", "23000 23502 23503 23505 23514 23P01 44000"),
    ("refused", "refused", "one-row", "2F003 2F005 38000 39000 39P01 P0001 P0002 P0003 P0004"),
    ("refused", "refused", "", "42501 42703 42883 42P01 55000"),
    ("refused", "refused", "one-row", "42601 42702 42804 42809 42P02 42P18"),
    // What another transaction is the reason for, or the one that is open.
    ("unavailable", "unavailable", "", "25000 25001 25P01 25P02 40000 40001 40002 40P01"),
    ("unavailable", "lost", "", "40003"),
    ("unavailable", "unavailable", "", "55006 55P02 55P03"),
    // The server, its limits, its operator. A page that cannot be read is one row's.
    ("unavailable", "unavailable", "", "28000 28P01 3D000 53000 53100 53200 53300 53400"),
    ("timeout", "unavailable", "", "57014"),
    ("unavailable", "unavailable", "", "57000 57P04 57P05"),
    ("unavailable", "unavailable", "one-row", "58000 58030 72000 F0000 HV000 XX000 XX001 XX002"),
    // Poolers pass on why a session has ended, and not that it has.
    ("unavailable", "unavailable", "close", "57P01 57P02 57P03"),
    // An answer that ends the session may come after the commit.
    ("unavailable", "lost", "connection close", "FATAL:57P01 FATAL:57P02 FATAL:57P04 FATAL:57P05"),
    ("unavailable", "lost", "connection close", "FATAL:25P03 FATAL:25P04 FATAL:40001 FATAL:08006"),
    ("unavailable", "lost", "connection close one-row", "FATAL:XX000 PANIC:58030"),
    ("unavailable", "lost", "connection close protocol", "FATAL:08P01"),
    ("unavailable", "lost", "connection close", "FATAL:26000 FATAL:53300 FATAL:28P01"),
    ("timeout", "lost", "connection close", "FATAL:57014"),
    // A function raises what it wants: of the pooler it says nothing.
    ("unavailable", "unavailable", "close protocol", "TRIGGER:08P01"),
    ("unavailable", "unavailable", "", "TRIGGER:26000 TRIGGER:42P05"),
    ("refused", "refused", "", "TRIGGER:42501 TRIGGER:55000"),
    ("unavailable", "lost", "close", "TRIGGER:08006"),
    // There was no session yet, or another statement was refused: the look for a sign of life.
    ("unavailable", "unavailable", "login", "UNSENT:28000 UNSENT:28P01"),
    ("unavailable", "unavailable", "", "UNSENT:3D000 UNSENT:40003 UNSENT:53300 UNSENT:57014 UNSENT:57P03"),
    // What is too deep or too wide, and what functions in the database do wrong each time.
    ("refused", "refused", "one-row", "54001 54011 54023"),
    ("refused", "refused", "one-row", "0Z002 20000 27000 2D000 3F000"),
    ("refused", "refused", "one-row", "TRIGGER:27000 TRIGGER:54001 TRIGGER:34000"),
    // A server that takes no writes before a VACUUM, and a statement that a pooler has lost.
    ("unavailable", "unavailable", "one-row", "54000 34000"),
];

#[tokio::test]
async fn each_code_says_what_became_of_the_statement_and_of_its_connection() {
    let mut server = RefusingServer::start().await;
    let mut seen = Vec::new();
    for (select, issue, expected, codes) in ANSWERS {
        for row in codes.split(' ') {
            assert!(!seen.contains(&row), "{row} is there twice");
            seen.push(row);
            assert_eq!(traits(&failure(&mut server, row).await), *expected, "{row}");
            assert_eq!(kind(&failure(&mut server, row).await.of_select()), *select, "a read, {row}");
            assert_eq!(kind(&failure(&mut server, row).await.of_issue()), *issue, "an issue, {row}");
        }
    }
}

async fn failure(server: &mut RefusingServer, row: &str) -> PostgresFailure {
    match row.split_once(':') {
        None => PostgresFailure::Sent(server.error("ERROR", row, "").await),
        Some(("TRIGGER", code)) => PostgresFailure::Sent(server.error("ERROR", code, TRIGGER).await),
        Some(("UNSENT", code)) => PostgresFailure::NotSent(server.error("FATAL", code, "").await),
        Some((severity, code)) => PostgresFailure::Sent(server.error(severity, code, "").await),
    }
}

#[tokio::test]
async fn the_server_is_quoted_where_its_words_cannot_be_data_and_a_trigger_never_is() {
    let mut server = RefusingServer::start().await;
    for (code, words) in [
        ("08006 0A000 25006 28P01 3D000 42501 42703 42P01 53100 54000 55000 57P01 58030", VALUE),
        ("21000", "more than one row belongs to one workspace; the key column has to be unique"),
        ("26000", "the prepared statement is not there (SQLSTATE 26000)"),
        ("22001", "the column cannot hold the value (SQLSTATE 22001)"),
        ("23505", "the server refused the statement (SQLSTATE 23505)"),
        ("40001", "a concurrent transaction was in the way (SQLSTATE 40001)"),
        ("42601", "the server refused the statement (SQLSTATE 42601)"),
        ("P0001", "the server refused the statement (SQLSTATE P0001)"),
        ("XX000", "the server refused the statement (SQLSTATE XX000)"),
    ] {
        for code in code.split(' ') {
            let quoted = format!("{VALUE} (SQLSTATE {code})");
            let expected = if words == VALUE { &quoted } else { words };
            assert_eq!(describe(&server.error("ERROR", code, "").await), expected);
            let of_trigger = server.error("ERROR", code, TRIGGER).await;
            assert!(!describe(&of_trigger).contains(VALUE), "{code}: {}", describe(&of_trigger));
        }
    }
    let constraint = server.error("ERROR", "23514", "nnot_short\nDthe row").await;
    assert_eq!(describe(&constraint), r#"the constraint "not_short" forbids it (SQLSTATE 23514)"#);
}

/// Makes one of the driver's errors; those that hold a text hold the value.
fn driver_error(name: &str) -> sqlx::Error {
    use sqlx::Error;
    let source = || Box::<dyn StdError + Send + Sync>::from(VALUE);
    match name {
        "Io" => Error::Io(io::Error::new(io::ErrorKind::ConnectionReset, VALUE)),
        "Tls" => Error::Tls("no certificate".into()),
        "Protocol" => Error::Protocol(VALUE.into()),
        "Encode" => Error::Encode(source()),
        "PoolTimedOut" => Error::PoolTimedOut,
        "PoolClosed" => Error::PoolClosed,
        "Configuration" => Error::Configuration(source()),
        "InvalidArgument" => Error::InvalidArgument(VALUE.into()),
        "RowNotFound" => Error::RowNotFound,
        "TypeNotFound" => Error::TypeNotFound { type_name: VALUE.into() },
        "ColumnIndexOutOfBounds" => Error::ColumnIndexOutOfBounds { index: 1, len: 1 },
        "ColumnNotFound" => Error::ColumnNotFound(VALUE.into()),
        "ColumnDecode" => Error::ColumnDecode { index: VALUE.into(), source: source() },
        "Decode" => Error::Decode(source()),
        "AnyDriverError" => Error::AnyDriverError(source()),
        "WorkerCrashed" => Error::WorkerCrashed,
        "InvalidSavePointStatement" => Error::InvalidSavePointStatement,
        "BeginFailed" => Error::BeginFailed,
        other => panic!("the driver has no {other}"),
    }
}

#[test]
fn an_error_of_the_driver_leaves_an_issue_in_doubt_unless_nothing_was_sent() {
    const FAILED: &str = "the driver failed";
    for (names, issue, expected, words) in [
        ("Io", "lost", "connection close", CLOSED),
        ("Tls", "lost", "connection close", "no certificate"),
        ("Protocol", "lost", "connection close", "the server broke the protocol"),
        ("Encode", "unavailable", "", "the statement could not be encoded"),
        ("PoolTimedOut", "lost", "", "no connection became free or could be opened in time"),
        ("PoolClosed", "lost", "", "the pool is closed"),
        ("Configuration InvalidArgument RowNotFound TypeNotFound", "lost", "", FAILED),
        ("ColumnIndexOutOfBounds ColumnNotFound ColumnDecode Decode", "lost", "", FAILED),
        ("AnyDriverError WorkerCrashed InvalidSavePointStatement BeginFailed", "lost", "", FAILED),
    ] {
        for name in names.split(' ') {
            let sent = || PostgresFailure::Sent(driver_error(name));
            let not_sent = || PostgresFailure::NotSent(driver_error(name));
            assert_eq!((traits(&sent()), traits(&not_sent())), (expected.into(), String::new()), "{name}");
            for (failure, told) in [
                (sent().of_select(), "unavailable"),
                (sent().of_issue(), issue),
                (not_sent().of_select(), "unavailable"),
                (not_sent().of_issue(), "unavailable"),
            ] {
                assert_eq!(kind(&failure), told, "{name}");
                let output = failure.to_string();
                assert!(output.contains(words) && !output.contains(VALUE), "{name}: {output}");
            }
        }
    }
}

#[test]
fn a_statement_without_an_error_of_its_own_is_in_doubt_where_it_may_have_been_run() {
    let rows: [(fn() -> PostgresFailure, _, _, _); 6] = [
        (|| PostgresFailure::Silent, "timeout", "timeout", ""),
        (|| PostgresFailure::Mixed(Mismatch::Empty), "unavailable", "lost", "close mix-up"),
        (|| PostgresFailure::Mixed(Mismatch::Tag), "unavailable", "lost", "close mix-up"),
        (|| PostgresFailure::Mixed(Mismatch::Nonce), "unavailable", "lost", "close mix-up"),
        (|| PostgresFailure::Held("held".into()), "unavailable", "unavailable", ""),
        (|| PostgresFailure::Late, "overloaded", "overloaded", ""),
    ];
    for (row, (failure, select, issue, expected)) in rows.into_iter().enumerate() {
        assert_eq!(traits(&failure()), expected, "row {row}");
        assert_eq!((kind(&failure().of_select()), kind(&failure().of_issue())), (select, issue), "row {row}");
    }
}
