//! Components that are costly to compile, each in another way and in any size: the host has to refuse them
//! before they cost too much.
//!
//! None of them is a policy, so that each ends at the world at the latest, once it has been compiled. Which
//! of them the gate accepts is not known here: the tests and `benches/compile` find that out.

mod bodies;
mod layers;
mod modules;

use wasm_encoder::{Component, ModuleSection};

/// A way of being costly, and the component that is so in a given size. The meaning of the size is the
/// maker's business; twice as much is about twice as many bytes or more.
#[derive(Clone, Copy, Debug)]
pub struct Costly {
    /// The name in reports.
    pub name: &'static str,
    make: fn(u32) -> Vec<u8>,
}

impl Costly {
    /// Returns the component of this size.
    pub fn component(&self, size: u32) -> Vec<u8> {
        (self.make)(size)
    }

    /// Returns all ways.
    pub fn all() -> impl Iterator<Item = Self> {
        [bodies::ALL, modules::ALL, layers::ALL].into_iter().flatten().copied()
    }

    /// Returns the way of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|way| way.name == name)
    }

    const fn new(name: &'static str, make: fn(u32) -> Vec<u8>) -> Self {
        Self { name, make }
    }
}

/// Returns a component with nothing but this module.
fn component(module: &wasm_encoder::Module) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(module));
    component.finish()
}
