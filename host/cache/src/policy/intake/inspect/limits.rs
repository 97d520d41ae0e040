//! The bounds of what is compiled, and the words in which it is refused.
//!
//! Each was chosen by measurement with `cargo bench -p leasehold-tests --bench compile`: a component within
//! all of them compiles within 5 s and 256 MiB, and the shipped policies are far below each. "Shipped: 3" is
//! the figure of the shipped policies.

use super::Refusal;

/// A bound, with the name of what it bounds.
pub(super) struct Limit {
    what: &'static str,
    most: u64,
}

/// Depth of components and modules within each other, the outermost included. Shipped: 2.
pub(super) const DEPTH: Limit = Limit::new("components and modules within each other", 8);
/// Shipped: 3.
pub(super) const MODULES: Limit = Limit::new("core modules", 64);
/// Shipped: 3.
pub(super) const COMPONENTS: Limit = Limit::new("components", 64);
/// Shipped: 11.
pub(super) const INSTANCES: Limit = Limit::new("instances", 512);
/// Bytes of everything but modules, each component as often as it is instantiated. Shipped: 3,140.
pub(super) const COMPONENT_BYTES: Limit = Limit::new("bytes of component sections", 128 << 10);
/// Each function costs as much as the types that it takes and gives. Shipped: 13.
pub(super) const CANONICAL: Limit = Limit::new("functions that cross the border of the component", 64);
/// Shipped: 1,123.
pub(super) const TYPE_BYTES: Limit = Limit::new("bytes of component types", 8 << 10);
/// Shipped: 1.
pub(super) const NESTED_TYPES: Limit = Limit::new("types within types", 200);
/// Bytes of everything in modules but code and data. Shipped: 1,018.
pub(super) const MODULE_BYTES: Limit = Limit::new("bytes of module sections beside code and data", 128 << 10);
/// Names and information for debuggers, of which only the names are read. Shipped: 2,369.
pub(super) const CUSTOM_BYTES: Limit = Limit::new("bytes of custom sections", 2 << 20);
/// Each type costs two more pieces of code, by which the host and the policy call each other.
pub(super) const TYPES: Limit = Limit::new("types of functions", 2_000);
/// Shipped: 93.
pub(super) const FUNCTIONS: Limit = Limit::new("functions", 5_000);
pub(super) const IMPORTS: Limit = Limit::new("imports of modules", 2_000);
/// Shipped: 13.
pub(super) const EXPORTS: Limit = Limit::new("exports of modules", 2_000);
/// Shipped: 4.
pub(super) const SEGMENTS: Limit = Limit::new("data and element segments", 2_000);
/// The elements are part of an instance's initial state, and nothing interrupts the making of that. Shipped:
/// 14.
pub(super) const ELEMENTS: Limit = Limit::new("elements in segments", 1_000);
/// The globals are part of an instance's initial state too. Shipped: 3.
pub(super) const GLOBALS: Limit = Limit::new("globals", 1_000);
/// Shipped: 1.
pub(super) const MEMORIES: Limit = Limit::new("memories", 16);
/// The maximum memory of an instance. Shipped: 17.
pub(super) const MEMORY_PAGES: Limit =
    Limit::new("pages of initial memory", (crate::policy::runtime::limits::MAX_MEMORY_BYTES >> 16) as u64);
/// Shipped: 2.
pub(super) const TABLES: Limit = Limit::new("tables", 16);
/// Shipped: 14.
pub(super) const TABLE_ELEMENTS: Limit = Limit::new("elements in a table", 10_000);
/// Shipped: 6.
pub(super) const PARAMETERS: Limit = Limit::new("parameters of one function", 24);
/// Shipped: 1. A call of few bytes that gives many values, which the next one takes, is the costliest code of
/// all.
pub(super) const RESULTS: Limit = Limit::new("results of one function", 8);
/// Weight of all functions, as `body.rs` weighs them. Shipped: 25,000.
pub(super) const CODE_WEIGHT: Limit = Limit::new("bytes of code (calls and loops count more)", 400 << 10);
/// Weight of one function. Shipped: 3,500.
pub(super) const BODY_WEIGHT: Limit =
    Limit::new("bytes of code in one function (calls and loops count more)", 24 << 10);
/// Squares of the weights of all functions, in KiB²: room for one function of 24 KiB and a few more of
/// ordinary length. Shipped: 30.
pub(super) const LONG_CODE: Limit = Limit::new("KiB² of code in long functions", 640);
/// Shipped: 14.
pub(super) const LOCALS: Limit = Limit::new("locals in one function", 1_000);
pub(super) const LOOP_DEPTH: Limit = Limit::new("loops within loops", 16);
/// Shipped: 8.
pub(super) const TARGETS: Limit = Limit::new("targets of br_table", 20_000);
/// Blocks times locals, over all functions. Shipped: 2,432.
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

    /// Adds to the earlier finds, and checks the sum.
    pub(super) fn add(&self, found: &mut u64, more: usize) -> Result<(), Refusal> {
        *found = found.saturating_add(more as u64);
        self.check(*found)
    }
}
