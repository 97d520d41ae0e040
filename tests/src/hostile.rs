//! Every hostile policy of the tests, ready to be swapped in: those of the crate `tests/hostile`, which the
//! SDK's types let through, and those in bare WebAssembly, which no type prevents.
//!
//! Each carries a marker of its own, by which `guest_memory` finds the memories that are its instances'. The
//! expected outcome of a policy is not known here: that is the table in `tests/policies/corpus`.

mod abi;
mod handles;
mod runaway;
mod unlawful;

use std::sync::OnceLock;

use leasehold::{Builder, Policy, Probation, SecretCache};

use crate::guest_memory::Marker;

/// A hostile guest in bare WebAssembly: the parts that differ from an honest one.
pub(crate) struct Guest {
    name: &'static str,
    /// Its functions: any of `$start`, `$describe`, `$configure`, `$read`, `$after-read` and `$issue`.
    functions: &'static str,
    /// The function by which the host asks it for memory.
    realloc: &'static str,
    /// The bounds of its memory.
    pages: &'static str,
    /// The rest of the component.
    component: &'static str,
}

impl Guest {
    const fn new(name: &'static str, functions: &'static str) -> Self {
        Self { name, functions, realloc: "", pages: "1", component: "" }
    }
}

/// The component of `tests/hostile`.
pub const COMPONENT: &[u8] = include_bytes!(env!("LEASEHOLD_HOSTILE"));

const TEMPLATE: &str = include_str!("../hostile/wat/policy.wat");

/// The functions of an honest guest, by name.
const HONEST: [(&str, &str); 6] = [
    ("(func $start", "(func $start)"),
    (
        "(func $describe",
        r#"(func $describe (export "describe") (result i32)
             (global.set $described (i32.const 1))
             (i32.const 1152))"#,
    ),
    (
        "(func $configure",
        r#"(func $configure (export "configure") (param i32 i32) (result i32)
             (i32.store8 (i32.const 192) (i32.const 0))
             (i32.const 192))"#,
    ),
    (
        "(func $read",
        r#"(func $read (export "read") (param i32 i32) (result i32) (call $select-into-answer))"#,
    ),
    ("(func $after-read", r#"(func $after-read (export "after-read") (param i32))"#),
    (
        "(func $issue",
        r#"(func $issue (export "issue") (param i32 i32) (param $mode i32) (result i32)
             (call $database-issue (local.get $mode) (i32.const 192))
             (i32.const 192))"#,
    ),
];

const HONEST_REALLOC: &str = r#"
    (func (export "realloc") (param i32 i32 i32) (param $len i32) (result i32)
      (local $at i32)
      (if (i32.gt_u (global.get $next) (i32.const 32768)) (then (global.set $next (i32.const 8192))))
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $len)))
      (local.get $at))"#;

/// Returns a builder that takes hostile policies as they come: without a rehearsal, which would turn most of
/// them away, and without a probation, which would end at their first fault.
pub fn builder() -> Builder {
    SecretCache::builder().rehearsal(false).probation(Probation::NONE)
}

/// Returns the policy of `tests/hostile` that breaks the rule of this name.
pub fn does(name: &str, marker: &Marker) -> Policy {
    static HOSTILE: OnceLock<Policy> = OnceLock::new();
    // Clones share the code, so that it is compiled once.
    let hostile = HOSTILE.get_or_init(|| Policy::from_bytes(COMPONENT)).clone();
    hostile.setting("does", name).setting("mark", marker.disguised())
}

/// Returns the policy in bare WebAssembly of this name.
pub fn bare(name: &str, marker: &Marker) -> Policy {
    let guest = guests().find(|guest| guest.name == name);
    let guest = guest.unwrap_or_else(|| panic!("there is no guest in bare WebAssembly named {name:?}"));
    // There is a setting, so that there is something to hand over in `configure`.
    Policy::from_bytes(guest.component(marker)).setting("setting", "some value")
}

/// Returns a policy in bare WebAssembly that breaks no rule: the smallest component that the host takes.
pub fn honest(marker: &Marker) -> Vec<u8> {
    Guest::new("honest", "").component(marker)
}

/// Returns a policy that is busy for so many turns of a loop in its start function and again in `configure`,
/// and then for ever in `read`, of which no instance survives.
pub fn busy(turns: u64, marker: &Marker) -> Policy {
    let functions = format!(
        "(func $busy (local $left i64)
             (local.set $left (i64.const {turns}))
             (loop $again
               (br_if $again (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) \
                 (i64.const 0)))))
           (func $start (call $busy))
           (func $configure (export \"configure\") (param i32 i32) (result i32)
             (call $busy)
             (i32.store8 (i32.const 192) (i32.const 0))
             (i32.const 192))
           (func $read (export \"read\") (param i32 i32) (result i32) (call $for-ever) unreachable)"
    );
    Policy::from_bytes(Guest::new("busy", functions.leak()).component(marker))
}

/// Returns the names of all policies in bare WebAssembly.
pub fn bare_names() -> impl Iterator<Item = &'static str> {
    guests().map(|guest| guest.name)
}

fn guests() -> impl Iterator<Item = &'static Guest> {
    [runaway::GUESTS, abi::GUESTS, handles::GUESTS, unlawful::GUESTS].into_iter().flatten()
}

impl Guest {
    fn component(&self, marker: &Marker) -> Vec<u8> {
        let honest = HONEST.iter().filter(|(begins, _)| !defines(self.functions, begins));
        let functions: String = honest.map(|(_, text)| *text).chain([self.functions]).collect();
        let realloc = if self.realloc.is_empty() { HONEST_REALLOC } else { self.realloc };
        let text = TEMPLATE
            .replace("{{pages}}", self.pages)
            .replace("{{realloc}}", realloc)
            .replace("{{marker}}", &marker.disguised_in_wat())
            .replace("{{functions}}", &functions)
            .replace("{{component}}", self.component);
        wat::parse_str(text).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Returns whether the text defines the function whose definition begins so, and not one with a longer name.
fn defines(text: &str, begins: &str) -> bool {
    text.split(begins).skip(1).any(|rest| rest.starts_with([' ', ')', '\n']))
}
