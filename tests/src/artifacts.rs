//! Components that are costly to compile, each in another way and in any size: what the host has to refuse before it is
//! too much.
//!
//! None of them is a policy, so that each ends at the world at the latest, once it has been compiled. What the gate
//! accepts of them is not known here: that is for the tests and for `benches/compile` to find out.

mod bodies;
mod layers;
mod modules;

use wasm_encoder::{Component, ModuleSection};

/// A way of being costly, and the component that is so in a given size. What the size counts is the maker's business;
/// twice as much is about twice as many bytes or more.
#[derive(Clone, Copy, Debug)]
pub struct Costly {
    /// For reports.
    pub name: &'static str,
    make: fn(u32) -> Vec<u8>,
}

impl Costly {
    /// The component of this size.
    pub fn component(&self, size: u32) -> Vec<u8> {
        (self.make)(size)
    }

    /// All ways.
    pub fn all() -> impl Iterator<Item = Self> {
        [bodies::ALL, modules::ALL, layers::ALL].into_iter().flatten().copied()
    }

    /// The way of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|way| way.name == name)
    }

    const fn new(name: &'static str, make: fn(u32) -> Vec<u8>) -> Self {
        Self { name, make }
    }
}

/// A component with nothing but this module.
fn component(module: &wasm_encoder::Module) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(module));
    component.finish()
}
