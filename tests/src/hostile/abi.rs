//! Guests that break the canonical ABI: addresses, lengths, encodings, tags and callbacks that no compiler
//! would make.
//!
//! wasmtime has to handle these correctly, and the host to contain them: one trap, one fault, one direct
//! statement.

use super::Guest;

pub(crate) const GUESTS: &[Guest] = &[
    Guest::new("traps-in-start", "(func $start unreachable)"),
    Guest::new("asks-the-clock-in-start", "(func $start (drop (call $now)))"),
    Guest::new("selects-in-start", "(func $start (call $select (i32.const 192)))"),
    Guest::new(
        "puts-absence-in-start",
        "(func $start (call $put (i32.const 0) (i32.const 0) (i64.const -1) (i64.const -1) (i64.const -1) \
         (i64.const -1)))",
    ),
    Guest::new("logs-in-start", "(func $start (call $write (i32.const 2) (i32.const 1024) (i32.const 8)))"),
    Guest::new("traps-in-describe", r#"(func $describe (export "describe") (result i32) unreachable)"#),
    Guest::new(
        "selects-in-describe",
        concat!(
            r#"(func $describe (export "describe") (result i32) "#,
            "(call $select (i32.const 192)) (i32.const 1152))",
        ),
    ),
    Guest::new(
        "issues-in-configure",
        r#"(func $configure (export "configure") (param i32 i32) (result i32)
             (call $database-issue (i32.const 0) (i32.const 192))
             (i32.const 192))"#,
    ),
    Guest::new(
        "removes-in-configure",
        concat!(
            r#"(func $configure (export "configure") (param i32 i32) (result i32) "#,
            "(call $remove) (i32.const 192))",
        ),
    ),
    Guest::new(
        "gets-the-entry-in-configure",
        concat!(
            r#"(func $configure (export "configure") (param i32 i32) (result i32) "#,
            "(call $get (i32.const 64)) (i32.const 192))",
        ),
    ),
    Guest::new(
        "traps-in-every-later-configure",
        r#"(func $configure (export "configure") (param i32 i32) (result i32)
             (if (i32.eqz (global.get $described)) (then unreachable))
             (i32.store8 (i32.const 192) (i32.const 0))
             (i32.const 192))
           (func $read (export "read") (param i32 i32) (result i32) unreachable)"#,
    ),
    Guest::new(
        "refuses-in-every-later-configure",
        r#"(func $configure (export "configure") (param i32 i32) (result i32)
             (i32.store8 (i32.const 192) (i32.eqz (global.get $described)))
             (i32.store (i32.const 196) (i32.const 1024))
             (i32.store (i32.const 200) (i32.const 8))
             (i32.const 192))
           (func $read (export "read") (param i32 i32) (result i32) unreachable)"#,
    ),
    Guest::new(
        "answers-beyond-its-memory",
        r#"(func $read (export "read") (param i32 i32) (result i32) (i32.const 65532))"#,
    ),
    Guest::new(
        "answers-at-the-last-address",
        r#"(func $read (export "read") (param i32 i32) (result i32) (i32.const -4))"#,
    ),
    Guest::new(
        "answers-at-an-odd-address",
        concat!(
            r#"(func $read (export "read") (param i32 i32) (result i32) "#,
            "(call $select (i32.const 192)) (i32.const 193))",
        ),
    ),
    Guest::new(
        "answers-with-a-wrong-result-tag",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (i32.store8 (i32.const 192) (i32.const 7))
             (i32.const 192))"#,
    ),
    Guest::new(
        "answers-with-a-wrong-option-tag",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (i32.store8 (i32.const 196) (i32.const 2))
             (i32.const 192))"#,
    ),
    Guest::new(
        "answers-with-an-unknown-error",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (i32.store8 (i32.const 192) (i32.const 1))
             (i32.store8 (i32.const 196) (i32.const 200))
             (i32.const 192))
           (func $issue (export "issue") (param i32 i32 i32) (result i32)
             (i32.store8 (i32.const 192) (i32.const 1))
             (i32.store8 (i32.const 196) (i32.const 4))
             (i32.const 192))"#,
    ),
    Guest::new(
        "wants-the-select-beyond-its-memory",
        concat!(
            r#"(func $read (export "read") (param i32 i32) (result i32) "#,
            "(call $select (i32.const 65532)) (i32.const 192))",
        ),
    ),
    Guest::new(
        "wants-the-select-at-an-odd-address",
        concat!(
            r#"(func $read (export "read") (param i32 i32) (result i32) "#,
            "(call $select (i32.const 193)) (i32.const 192))",
        ),
    ),
    Guest::new(
        "issues-in-an-unknown-mode",
        r#"(func $issue (export "issue") (param i32 i32 i32) (result i32)
             (call $database-issue (i32.const 2) (i32.const 192))
             (i32.const 192))"#,
    ),
    Guest::new(
        "wants-the-issue-beyond-its-memory",
        r#"(func $issue (export "issue") (param i32 i32) (param $mode i32) (result i32)
             (call $database-issue (local.get $mode) (i32.const 65532))
             (i32.const 192))"#,
    ),
    Guest::new(
        "logs-at-an-unknown-level",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (call $write (i32.const 9) (i32.const 1024) (i32.const 8))
             (call $select-into-answer))"#,
    ),
    Guest::new(
        "logs-beyond-its-memory",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (call $write (i32.const 2) (i32.const 65000) (i32.const 1000))
             (call $select-into-answer))"#,
    ),
    Guest::new(
        "logs-four-gigabytes",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (call $write (i32.const 2) (i32.const 1024) (i32.const -1))
             (call $select-into-answer))"#,
    ),
    Guest::new(
        "logs-what-is-not-utf-8",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (i64.store (i32.const 512) (i64.const -1))
             (call $write (i32.const 2) (i32.const 512) (i32.const 8))
             (call $select-into-answer))"#,
    ),
    Guest {
        pages: "2",
        ..Guest::new(
            "logs-more-than-may-be-carried",
            r#"(func $read (export "read") (param i32 i32) (result i32)
                 (call $write (i32.const 2) (i32.const 4096) (i32.const 65537))
                 (call $select-into-answer))"#,
        )
    },
    Guest {
        realloc: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#,
        ..Guest::new("traps-in-realloc", "")
    },
    Guest {
        realloc: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const -8))"#,
        ..Guest::new("allocates-beyond-its-memory", "")
    },
    Guest {
        realloc: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8193))"#,
        ..Guest::new("allocates-at-an-odd-address", "")
    },
    Guest {
        // The first two texts of a call overlap its answer and each other.
        realloc: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 192))"#,
        ..Guest::new("allocates-the-same-address-always", "")
    },
    Guest {
        realloc: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32)
             (drop (call $now)) (i32.const 8192))"#,
        ..Guest::new("asks-the-clock-in-realloc", "")
    },
    Guest::new("traps-in-post-return", r#"(func $after-read (export "after-read") (param i32) unreachable)"#),
    Guest::new(
        "asks-the-clock-in-post-return",
        r#"(func $after-read (export "after-read") (param i32) (drop (call $now)))"#,
    ),
];
