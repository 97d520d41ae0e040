//! Components that are costly outside of their modules: much of everything that a component has a section
//! for, and few things that are instantiated very often.
//!
//! They are written as text: here the number of items is what costs, not their bytes.

use std::fmt::Write as _;

use wasm_encoder::Encode as _;

use super::Costly;

pub(super) const ALL: &[Costly] = &[
    Costly::new("modules", |size| repeated("", size, "(core module)", "")),
    Costly::new("instances of a module", |size| {
        repeated("(core module $m)", size, "(core instance (instantiate $m))", "")
    }),
    Costly::new("components", |size| repeated("", size, "(component)", "")),
    Costly::new("components within components", within_each_other),
    Costly::new("instances of a component", |size| {
        repeated("(component $c)", size, "(instance (instantiate $c))", "")
    }),
    Costly::new("instances that double", doubling),
    Costly::new("instances that double in a row", doubling_in_a_row),
    Costly::new("component types", |size| repeated("", size, "(type (func (param \"a\" u32)))", "")),
    Costly::new("tuples of tuples", |size| {
        numbered("(type $t0 (tuple u8 u8))", size, |text, n| {
            let _ = write!(text, "(type $t{} (tuple $t{n} $t{n}))", n + 1);
        })
    }),
    Costly::new("a record", |size| {
        let fields: String = (0..size).map(|n| format!("(field \"f{n}\" u8)")).collect();
        format!("(component (type (record {fields})))").assembled()
    }),
    Costly::new("types within types", types_within_types),
    Costly::new("aliases", |size| {
        numbered(
            "(import \"leasehold:policy/clock@0.1.0\" (instance $i (export \"now\" (func (result u64)))))",
            size,
            |text, _| {
                text.push_str("(alias export $i \"now\" (func))");
            },
        )
    }),
    Costly::new("lowered functions", |size| {
        numbered(
            "(import \"leasehold:policy/clock@0.1.0\" (instance $i (export \"now\" (func (result u64)))))",
            size,
            |text, _| {
                text.push_str("(core func (canon lower (func $i \"now\")))");
            },
        )
    }),
    Costly::new("lifted functions", |size| {
        numbered(
            "(core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) (type $t (func))",
            size,
            |text, n| {
                let _ = write!(
                    text,
                    "(func $f{n} (type $t) (canon lift (core func $i \"f\"))) (export \"f{n}\" (func $f{n}))"
                );
            },
        )
    }),
    Costly::new("adapters", adapters),
    Costly::new("lowered functions of an enum", |size| {
        let cases: String = (0..size).map(|n| format!(" \"c{n:x}\"")).collect();
        lowered(&format!("(type $t (enum{cases}))"))
    }),
    Costly::new("lowered functions of a tuple of tuples", |size| {
        // More than a million in all is not a valid type.
        let wide = size.min(240) as usize;
        let (bytes, tuples) = (" u8".repeat(wide), " $t0".repeat(wide));
        let rest = "(type (tuple u8))".repeat(size as usize - wide);
        lowered(&format!("(type $t0 (tuple{bytes})) (type $t (tuple{tuples})) {rest}"))
    }),
    Costly::new("resources", |size| repeated("", size, "(type (resource (rep i32)))", "")),
    Costly::new("exports of an instance", |size| {
        let exports: String = (0..size).map(|n| format!("(export \"e{n}\" (func $f))")).collect();
        format!("(component (import \"f\" (func $f)) (instance {exports}))").assembled()
    }),
    Costly::new("component imports", |size| {
        numbered("", size, |text, n| {
            let _ = write!(text, "(import \"i{n}\" (func))");
        })
    }),
];

/// Assembly of text to a component, at the end of an expression.
trait Assemble {
    fn assembled(self) -> Vec<u8>;
}

impl Assemble for String {
    fn assembled(self) -> Vec<u8> {
        wat::parse_str(&self).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn repeated(before: &str, size: u32, item: &str, after: &str) -> Vec<u8> {
    format!("(component {before} {} {after})", item.repeat(size as usize)).assembled()
}

fn numbered(before: &str, size: u32, mut item: impl FnMut(&mut String, u32)) -> Vec<u8> {
    let mut text = format!("(component {before} ");
    for n in 0..size {
        item(&mut text, n);
    }
    text.push(')');
    text.assembled()
}

const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// Nests components. It is made in bytes, because text that is so deep is not read.
fn within_each_other(size: u32) -> Vec<u8> {
    let mut component = HEADER.to_vec();
    for _ in 0..size {
        let mut outer = HEADER.to_vec();
        outer.push(4);
        component.encode(&mut outer);
        component = outer;
    }
    component
}

/// Makes types of components that declare one type each: `(component (type (component (type ...`.
fn types_within_types(size: u32) -> Vec<u8> {
    let mut types = vec![1_u8];
    types.extend((0..size).flat_map(|_| [0x41, 1, 1]));
    // (func)
    types.extend([0x40, 0, 1, 0]);
    let mut component = HEADER.to_vec();
    component.push(7);
    types.encode(&mut component);
    component
}

/// Has each component hold the one before twice: two instances at the depth of one, a million at the depth of
/// twenty.
fn doubling(size: u32) -> Vec<u8> {
    let mut text = "(component (core module $m) (core instance (instantiate $m)))".to_owned();
    for _ in 0..size {
        let inner = text.replacen("(component", "(component $c", 1);
        text = format!("(component {inner} (instance (instantiate $c)) (instance (instantiate $c)))");
    }
    text.assembled()
}

/// Makes the same without any depth: each component takes the one before from outside.
fn doubling_in_a_row(size: u32) -> Vec<u8> {
    let mut text = "(component (component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for n in 0..size {
        let twice = "(instance (instantiate $c)) (instance (instantiate $c))";
        let _ = write!(text, "(component $c{} (alias outer 1 $c{n} (component $c)) {twice})", n + 1);
    }
    let _ = write!(text, "(instance (instantiate $c{size})))");
    text.assembled()
}

/// Makes as many functions as the gate lets through that take a type `$t` as often as they can.
fn lowered(types: &str) -> Vec<u8> {
    let parameters: String = (0..16).map(|n| format!("(param \"p{n}\" $e)")).collect();
    let lowered = "(core func (canon lower (func $f) (memory (core memory $i \"m\"))))".repeat(64);
    format!(
        "(component {types} (import \"t\" (type $e (eq $t))) (import \"f\" (func $f {parameters}))
           (core module $m (memory (export \"m\") 1)) (core instance $i (instantiate $m)) {lowered})"
    )
    .assembled()
}

/// Makes functions of one component that another one calls, with types that have to be copied field by field.
fn adapters(size: u32) -> Vec<u8> {
    let fields: String = (0..size).map(|n| format!("(field \"f{n}\" (tuple string (list u16)))")).collect();
    let types = format!("(type $r (record {fields}))");
    let memory = "(core module $m (memory (export \"m\") 1)
        (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export \"f\") (param i32)))
        (core instance $i (instantiate $m))";
    format!(
        "(component
           (component $callee {types} (export $e \"r\" (type $r)) {memory}
             (func $f (param \"r\" $e) (canon lift (core func $i \"f\") \
               (memory (core memory $i \"m\")) (realloc (core func $i \"realloc\"))))
             (export \"f\" (func $f)))
           (component $caller {types} (import \"r\" (type $e (eq $r))) \
             (import \"f\" (func $f (param \"r\" $e))) {memory}
             (core func $l (canon lower (func $f) \
               (memory (core memory $i \"m\")) (realloc (core func $i \"realloc\"))))
             (core module $n (import \"\" \"f\" (func (param i32))))
             (core instance (instantiate $n (with \"\" (instance (export \"f\" (func $l)))))))
           (instance $callee (instantiate $callee))
           (instance (instantiate $caller \
             (with \"r\" (type $callee \"r\")) (with \"f\" (func $callee \"f\")))))"
    )
    .assembled()
}
