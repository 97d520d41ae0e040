//! Guests that invent, keep, reuse or mistake handles: the only way in which a policy could ever get at the
//! secret of another workspace.
//!
//! A handle is a number in the guest's hands. The host knows which numbers it gave out in the call that is
//! running.

use super::Guest;

pub(crate) const GUESTS: &[Guest] = &[
    Guest::new(
        "returns-handle-zero",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (i32.store8 (i32.const 196) (i32.const 1))
             (i32.const 192))"#,
    ),
    Guest::new(
        "returns-a-handle-it-was-never-given",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (i32.store8 (i32.const 196) (i32.const 1))
             (i32.store (i32.const 200) (i32.const 99))
             (i32.const 192))
           (func $issue (export "issue") (param i32 i32 i32) (result i32)
             (i32.store8 (i32.const 192) (i32.const 0))
             (i32.store (i32.const 196) (i32.const -1))
             (i32.const 192))"#,
    ),
    Guest::new(
        "returns-a-handle-it-dropped",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then (call $drop (i32.load (i32.const 200)))))
             (i32.const 192))"#,
    ),
    Guest::new(
        "drops-a-handle-twice",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then
               (call $drop (i32.load (i32.const 200)))
               (call $drop (i32.load (i32.const 200)))))
             (i32.const 192))"#,
    ),
    Guest::new(
        "asks-a-handle-it-was-never-given",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $obtained-at (i32.const 1)))
             (call $select-into-answer))"#,
    ),
    Guest::new(
        "puts-a-handle-it-was-never-given",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (call $put-for-ever (i32.const 77))
             (i32.const 192))"#,
    ),
    Guest::new(
        "puts-a-handle-it-dropped",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then
               (call $drop (i32.load (i32.const 200)))
               (call $put-for-ever (i32.load (i32.const 200)))))
             (i32.const 192))"#,
    ),
    Guest::new(
        "puts-with-a-wrong-option-tag",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (call $put (i32.const 2) (i32.load (i32.const 200))
               (i64.const -1) (i64.const -1) (i64.const -1) (i64.const -1))
             (i32.const 192))"#,
    ),
    Guest::new(
        "returns-a-handle-of-its-own",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (i32.store8 (i32.const 196) (i32.const 1))
             (i32.store (i32.const 200) (call $new-own (i32.const 1)))
             (i32.const 192))"#,
    ),
    Guest::new(
        "puts-a-handle-of-its-own",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (drop (call $select-into-answer))
             (call $put-for-ever (call $new-own (i32.const 1)))
             (i32.const 192))"#,
    ),
    Guest::new(
        "drops-a-handle-of-its-own-as-a-secret",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (call $drop (call $new-own (i32.const 1)))
             (call $select-into-answer))"#,
    ),
    // Numbers that were good in an earlier call, in a call about another workspace.
    Guest::new(
        "returns-the-number-of-an-earlier-call",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (global.get $kept) (then
               (i32.store8 (i32.const 192) (i32.const 0))
               (i32.store8 (i32.const 196) (i32.const 1))
               (i32.store (i32.const 200) (global.get $kept))
               (return (i32.const 192))))
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then (global.set $kept (i32.load (i32.const 200)))))
             (i32.const 192))"#,
    ),
    Guest::new(
        "puts-the-number-of-an-earlier-call",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (global.get $kept) (then (call $put-for-ever (global.get $kept))))
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then (global.set $kept (i32.load (i32.const 200)))))
             (i32.const 192))"#,
    ),
    Guest::new(
        "asks-the-number-of-an-earlier-call",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (global.get $kept) (then (drop (call $obtained-at (global.get $kept)))))
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then (global.set $kept (i32.load (i32.const 200)))))
             (i32.const 192))"#,
    ),
    // Keeps a handle on the first call in a way that would let a later call put it, if the instance lived on.
    Guest::new(
        "keeps-a-handle-and-puts-it-for-the-next",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (global.get $kept) (then
               (call $put-for-ever (global.get $kept))
               (i32.store8 (i32.const 192) (i32.const 0))
               (i32.store8 (i32.const 196) (i32.const 1))
               (i32.store (i32.const 200) (global.get $kept))
               (return (i32.const 192))))
             (drop (call $select-into-answer))
             (if (i32.load8_u (i32.const 196)) (then (global.set $kept (i32.load (i32.const 200)))))
             (call $select-into-answer))"#,
    ),
    Guest::new(
        "answers-the-next-read-with-the-last-answer",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (i32.eqz (global.get $kept)) (then
               (global.set $kept (i32.const 1))
               (return (call $select-into-answer))))
             (i32.const 192))"#,
    ),
    Guest::new(
        "answers-the-next-issue-with-the-last-answer",
        r#"(func $issue (export "issue") (param i32 i32) (param $mode i32) (result i32)
             (if (i32.eqz (global.get $kept)) (then
               (global.set $kept (i32.const 1))
               (call $database-issue (local.get $mode) (i32.const 64))))
             (i32.const 64))"#,
    ),
    Guest::new(
        "hands-the-read-what-the-issue-left",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (i32.eqz (global.get $kept)) (then (return (call $select-into-answer))))
             (i32.store8 (i32.const 192) (i32.const 0))
             (i32.store8 (i32.const 196) (i32.const 1))
             (i32.store (i32.const 200) (global.get $kept))
             (i32.const 192))
           (func $issue (export "issue") (param i32 i32) (param $mode i32) (result i32)
             (call $database-issue (local.get $mode) (i32.const 64))
             (global.set $kept (i32.load (i32.const 68)))
             (i32.const 64))"#,
    ),
];
