//! Guests that do not end: in a start function, in an export, in a callback, and in single instructions over
//! the whole of a memory or a table.
//!
//! Each takes what it can get of processor time, stack or memory. None of them touches a secret before it
//! runs away.

use super::Guest;

pub(crate) const GUESTS: &[Guest] = &[
    Guest::new("loops-in-start", "(func $start (call $for-ever))"),
    Guest::new("recurses-in-start", "(func $start (call $start))"),
    Guest::new(
        "loops-in-describe",
        r#"(func $describe (export "describe") (result i32) (call $for-ever) (i32.const 0))"#,
    ),
    Guest::new(
        "loops-in-configure",
        concat!(
            r#"(func $configure (export "configure") (param i32 i32) (result i32) "#,
            "(call $for-ever) (i32.const 0))",
        ),
    ),
    // `describe` is asked of the first instance only: by it a guest knows the instance that is looked at.
    Guest::new(
        "loops-in-every-later-configure",
        r#"(func $configure (export "configure") (param i32 i32) (result i32)
             (if (i32.eqz (global.get $described)) (then (call $for-ever)))
             (i32.store8 (i32.const 192) (i32.const 0))
             (i32.const 192))
           (func $read (export "read") (param i32 i32) (result i32) unreachable)"#,
    ),
    Guest::new(
        "loops-in-post-return",
        r#"(func $after-read (export "after-read") (param i32) (call $for-ever))"#,
    ),
    Guest {
        realloc: concat!(
            r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) "#,
            "(loop $again (br $again)) (i32.const 0))",
        ),
        ..Guest::new("loops-in-realloc", "")
    },
    Guest {
        // Honest in `configure`, and then no more.
        realloc: r#"(func (export "realloc") (param i32 i32 i32) (param $len i32) (result i32)
             (global.set $next (i32.add (global.get $next) (i32.const 1)))
             (loop $again (br_if $again (i32.gt_u (global.get $next) (i32.const 8195))))
             (i32.mul (global.get $next) (i32.const 4)))"#,
        ..Guest::new("loops-in-a-later-realloc", "")
    },
    Guest::new(
        "recurses-on-the-stack",
        concat!(
            r#"(func $read (export "read") (param i32 i32) (result i32) "#,
            "(call $read (i32.const 0) (i32.const 0)))",
        ),
    ),
    Guest::new(
        "recurses-with-large-frames",
        "(func $deep (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
             (i64.add (local.get 0) (call $deep
               (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) \
               (local.get 7)
               (local.get 8) (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13)
               (local.get 14) (local.get 15) (local.get 0))))
           (func $read (export \"read\") (param i32 i32) (result i32)
             (i32.wrap_i64 (call $deep (call $now) (call $now) (call $now) (call $now) (call $now) (call $now)
               (call $now) (call $now) (call $now) (call $now) (call $now) (call $now) (call $now) (call $now)
               (call $now) (call $now))))",
    ),
    Guest {
        pages: "64",
        ..Guest::new(
            "fills-the-whole-memory",
            r#"(func $read (export "read") (param i32 i32) (result i32)
                 (loop $again
                   (memory.fill (i32.const 0) (i32.const 7) (i32.const 4194304))
                   (br $again))
                 (i32.const 0))"#,
        )
    },
    Guest {
        pages: "64",
        ..Guest::new(
            "copies-the-whole-memory",
            r#"(func $read (export "read") (param i32 i32) (result i32)
                 (loop $again
                   (memory.copy (i32.const 2097152) (i32.const 0) (i32.const 2097152))
                   (memory.copy (i32.const 1) (i32.const 0) (i32.const 4194303))
                   (br $again))
                 (i32.const 0))"#,
        )
    },
    Guest::new(
        "grows-its-memory-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (loop $again (drop (memory.grow (i32.const 1))) (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "grows-its-memory-at-once",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))
             (if (i32.eq (memory.grow (i32.const 63)) (i32.const -1)) (then unreachable))
             (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
             (call $select-into-answer))"#,
    ),
    Guest::new(
        "grows-its-table-for-ever",
        r#"(table $grown 1 funcref)
           (func $read (export "read") (param i32 i32) (result i32)
             (loop $again
               (drop (table.grow $grown (ref.null func) (i32.const 100)))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "fills-its-table-for-ever",
        r#"(table $filled 10000 funcref)
           (func $read (export "read") (param i32 i32) (result i32)
             (loop $again
               (table.fill $filled (i32.const 0) (ref.null func) (i32.const 10000))
               (table.copy $filled $filled (i32.const 1) (i32.const 0) (i32.const 9999))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "jumps-by-table-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (local $at i32)
             (loop $again
               (local.set $at (i32.add (local.get $at) (i32.const 7)))
               (block $a (block $b (block $c (block $d
                 (br_table $a $b $c $d $again (i32.and (local.get $at) (i32.const 7))))
                 (br $again)) (br $again)) (br $again))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "misses-the-caches-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (local $at i32)
             (drop (memory.grow (i32.const 48)))
             (loop $again
               (local.set $at
                 (i32.add (i32.mul (local.get $at) (i32.const 1664525)) (i32.const 1013904223)))
               (i32.store8 (i32.and (local.get $at) (i32.const 0x2fffff)) (i32.const 1))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "chases-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (local $at i32) (local $n i32)
             (drop (memory.grow (i32.const 48)))
             (loop $fill
               (i32.store offset=0x100000 (i32.shl (local.get $n) (i32.const 6))
                 (i32.shl
                   (i32.and
                     (i32.add (i32.mul (local.get $n) (i32.const 20077)) (i32.const 12345))
                     (i32.const 0x7fff))
                   (i32.const 6)))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $fill (i32.lt_u (local.get $n) (i32.const 0x8000))))
             (loop $again
               (local.set $at (i32.load offset=0x100000 (i32.load offset=0x100000
                 (i32.load offset=0x100000 (i32.load offset=0x100000 (local.get $at))))))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "divides-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (local $rest i64) (local $root f64)
             (local.set $root (f64.const 1e300))
             (loop $again
               (local.set $rest (i64.rem_u (i64.const -1) (i64.or (local.get $rest) (i64.const 3))))
               (local.set $root (f64.sqrt (f64.div (local.get $root) (f64.const 0.3))))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "calls-by-table-for-ever",
        r#"(type $step (func (param i32) (result i32)))
           (table $steps funcref (elem $one $two $one $two))
           (func $one (type $step) (i32.add (local.get 0) (i32.const 1)))
           (func $two (type $step) (i32.add (local.get 0) (i32.const 2)))
           (func $read (export "read") (param i32 i32) (result i32)
             (local $at i32)
             (loop $again
               (local.set $at (call_indirect $steps (type $step)
                 (local.get $at) (i32.and (local.get $at) (i32.const 3))))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "drops-and-selects-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (loop $again
               (call $select (i32.const 192))
               (if (i32.load8_u (i32.const 196)) (then (call $drop (i32.load (i32.const 200)))))
               (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "logs-nothing-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (loop $again (call $write (i32.const 0) (i32.const 0) (i32.const 0)) (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "logs-sixty-kilobytes-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (loop $again (call $write (i32.const 0) (i32.const 4096) (i32.const 60000)) (br $again))
             (i32.const 0))"#,
    ),
    Guest::new(
        "makes-handles-of-its-own-for-ever",
        r#"(func $read (export "read") (param i32 i32) (result i32)
             (loop $again (drop (call $new-own (i32.const 7))) (br $again))
             (i32.const 0))"#,
    ),
];
