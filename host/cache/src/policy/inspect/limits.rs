//! The bounds of what is compiled, and the words in which it is refused.
//!
//! Each was chosen by measurement with `cargo bench -p leasehold-tests --bench compile`: whatever is within all of them
//! compiles within 5 s and 256 MiB, and the shipped policies are far below each. A number alone is what those have.

use super::Refusal;

/// A bound, and of what.
pub(super) struct Limit {
    what: &'static str,
    most: u64,
}

/// One within the other, the outermost included. The shipped policies: 2.
pub(super) const DEPTH: Limit = Limit::new("components and modules within each other", 8);
/// 3.
pub(super) const MODULES: Limit = Limit::new("core modules", 64);
/// 3.
pub(super) const COMPONENTS: Limit = Limit::new("components", 64);
/// 11.
pub(super) const INSTANCES: Limit = Limit::new("instances", 512);
/// Of everything but modules, each component as often as it is instantiated: 3,140.
pub(super) const COMPONENT_BYTES: Limit = Limit::new("bytes of component sections", 128 << 10);
/// Each costs as much as the types that it takes and gives: 13.
pub(super) const CANONICAL: Limit = Limit::new("functions that cross the border of the component", 64);
/// 1,123.
pub(super) const TYPE_BYTES: Limit = Limit::new("bytes of component types", 8 << 10);
/// 1.
pub(super) const NESTED_TYPES: Limit = Limit::new("types within types", 200);
/// Of everything in modules but code and data: 1,018.
pub(super) const MODULE_BYTES: Limit = Limit::new("bytes of module sections beside code and data", 128 << 10);
/// Names and information for debuggers, which nothing reads but the names: 2,369.
pub(super) const CUSTOM_BYTES: Limit = Limit::new("bytes of custom sections", 2 << 20);
/// Each type costs two more pieces of code, by which the host and the policy call each other.
pub(super) const TYPES: Limit = Limit::new("types of functions", 2_000);
/// 93.
pub(super) const FUNCTIONS: Limit = Limit::new("functions", 5_000);
pub(super) const IMPORTS: Limit = Limit::new("imports of modules", 2_000);
/// 13.
pub(super) const EXPORTS: Limit = Limit::new("exports of modules", 2_000);
/// 4.
pub(super) const SEGMENTS: Limit = Limit::new("data and element segments", 2_000);
/// An instance begins with them, and nothing interrupts that: 14.
pub(super) const ELEMENTS: Limit = Limit::new("elements in segments", 1_000);
/// The same: 3.
pub(super) const GLOBALS: Limit = Limit::new("globals", 1_000);
/// 1.
pub(super) const MEMORIES: Limit = Limit::new("memories", 16);
/// As large as the memory of an instance may be: 17.
pub(super) const MEMORY_PAGES: Limit =
    Limit::new("pages of initial memory", (crate::policy::limits::MAX_MEMORY_BYTES >> 16) as u64);
/// 2.
pub(super) const TABLES: Limit = Limit::new("tables", 16);
/// 14.
pub(super) const TABLE_ELEMENTS: Limit = Limit::new("elements in a table", 10_000);
/// 6.
pub(super) const PARAMETERS: Limit = Limit::new("parameters of one function", 24);
/// 1. A call of few bytes that gives many values, which the next one takes, is the dearest code of all.
pub(super) const RESULTS: Limit = Limit::new("results of one function", 8);
/// Of all functions, as `body.rs` weighs them: 25,000.
pub(super) const CODE_WEIGHT: Limit = Limit::new("bytes of code (calls and loops count more)", 400 << 10);
/// Of one: 3,500.
pub(super) const BODY_WEIGHT: Limit =
    Limit::new("bytes of code in one function (calls and loops count more)", 24 << 10);
/// The squares of the weights of all functions, in KiB²; 24 KiB and a few more of ordinary length. The shipped policies: 30.
pub(super) const LONG_CODE: Limit = Limit::new("KiB² of code in long functions", 640);
/// 14.
pub(super) const LOCALS: Limit = Limit::new("locals in one function", 1_000);
pub(super) const LOOP_DEPTH: Limit = Limit::new("loops within loops", 16);
/// 8.
pub(super) const TARGETS: Limit = Limit::new("targets of br_table", 20_000);
/// Over all functions: 2,432.
pub(super) const MERGES: Limit = Limit::new("times that a block meets a local", 100_000);

impl Limit {
    const fn new(what: &'static str, most: u64) -> Self {
        Self { what, most }
    }

    /// Refuses a number above the bound.
    pub(super) fn check(&self, found: u64) -> Result<(), Refusal> {
        if found <= self.most {
            return Ok(());
        }
        let Self { what, most } = self;
        Err(format!(
            "it has {found} or more {what}, and this host compiles {most} at most: make the policy smaller"
        ))
    }

    /// Adds to what was found before.
    pub(super) fn add(&self, found: &mut u64, more: usize) -> Result<(), Refusal> {
        *found = found.saturating_add(more as u64);
        self.check(*found)
    }
}
