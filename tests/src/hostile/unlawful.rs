//! Guests that are to be refused at the gate: a description that lies, and a component that takes more than a
//! policy may.
//!
//! They never serve. The tests show with them at which stage they are refused, in which words, and that the
//! old policy serves on.

use super::Guest;

pub(crate) const GUESTS: &[Guest] = &[
    Guest::new(
        "describes-itself-beyond-its-memory",
        r#"(func $describe (export "describe") (result i32) (i32.const 65532))"#,
    ),
    Guest::new(
        "describes-a-name-beyond-its-memory",
        r#"(func $describe (export "describe") (result i32)
             (i32.store (i32.const 1152) (i32.const -4)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-a-name-that-is-not-utf-8",
        r#"(func $describe (export "describe") (result i32)
             (i32.store8 (i32.const 1024) (i32.const 0xff)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-an-empty-name",
        r#"(func $describe (export "describe") (result i32)
             (i32.store (i32.const 1156) (i32.const 0)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-a-name-that-forges-a-line",
        r#"(func $describe (export "describe") (result i32)
             (i32.store8 (i32.const 1025) (i32.const 10)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-a-long-name",
        r#"(func $describe (export "describe") (result i32)
             (memory.fill (i32.const 2100) (i32.const 0x61) (i32.const 65))
             (i32.store (i32.const 1152) (i32.const 2100))
             (i32.store (i32.const 1156) (i32.const 65))
             (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-sixty-kilobytes",
        r#"(func $describe (export "describe") (result i32)
             (memory.fill (i32.const 2100) (i32.const 0x61) (i32.const 60000))
             (i32.store (i32.const 1168) (i32.const 2100))
             (i32.store (i32.const 1172) (i32.const 60000))
             (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-a-billion-settings",
        r#"(func $describe (export "describe") (result i32)
             (i32.store (i32.const 1180) (i32.const 1000000000)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-two-thousand-settings",
        r#"(func $describe (export "describe") (result i32)
             (i32.store (i32.const 1176) (i32.const 4096))
             (i32.store (i32.const 1180) (i32.const 2000)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-thirty-three-settings",
        r#"(func $describe (export "describe") (result i32)
             (i32.store (i32.const 1176) (i32.const 4096))
             (i32.store (i32.const 1180) (i32.const 33)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-a-setting-twice",
        r#"(func $describe (export "describe") (result i32)
             (memory.copy (i32.const 1208) (i32.const 1184) (i32.const 24))
             (i32.store (i32.const 1180) (i32.const 2)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-a-setting-without-knowing-it",
        r#"(func $describe (export "describe") (result i32)
             (i32.store8 (i32.const 1088) (i32.const 0x53)) (i32.const 1152))"#,
    ),
    Guest::new(
        "describes-other-settings-than-it-is-given",
        r#"(func $describe (export "describe") (result i32)
             (i32.store8 (i32.const 1088) (i32.const 0x78)) (i32.const 1152))"#,
    ),
    // A lie that cannot be found out: the name of the default policy.
    Guest::new(
        "describes-itself-as-the-default-policy",
        r#"(func $describe (export "describe") (result i32)
             (i32.store (i32.const 1024) (i32.const 0x306c7474)) (i32.const 1152))
           (func $read (export "read") (param i32 i32) (result i32) unreachable)"#,
    ),
    Guest { pages: "257", ..Guest::new("wants-more-memory-than-it-may-have", "") },
    Guest::new("wants-a-larger-table-than-it-may-have", "(table 10001 funcref)"),
    Guest {
        component: r#"(core module $more (memory 1)) (core instance (instantiate $more))"#,
        ..Guest::new("wants-a-second-memory", "")
    },
    Guest {
        component: r#"(core module $more)
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))
            (core instance (instantiate $more)) (core instance (instantiate $more))"#,
        ..Guest::new("wants-twenty-instances", "")
    },
    Guest {
        component: r#"(core module $more (func $loop (loop $again (br $again))) (start $loop))
            (core instance (instantiate $more))"#,
        ..Guest::new("loops-in-a-second-instance", "")
    },
    Guest::new("wants-vectors", "(func (result i32) (i32x4.extract_lane 0 (v128.const i32x4 0 0 0 0)))"),
    Guest::new("wants-tail-calls", "(func (return_call $start))"),
    Guest { component: "(core module (memory i64 1))", ..Guest::new("wants-a-64-bit-memory", "") },
    Guest { component: "(core module (memory 1 1 shared))", ..Guest::new("wants-a-shared-memory", "") },
    Guest {
        component: "(core module (memory 1) (memory 1))",
        ..Guest::new("wants-two-memories-in-one-module", "")
    },
    Guest { component: "(core module (type (struct (field i32))))", ..Guest::new("wants-a-collector", "") },
    Guest { component: "(core module (tag))", ..Guest::new("wants-exceptions", "") },
];
