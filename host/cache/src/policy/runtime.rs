//! A policy as WebAssembly: engine, compiler and instances, and every bound on what they take. Nothing
//! outside of this folder names wasmtime.
//!
//! It knows of no swap, and of no policy but the one that it is given.

mod bindings;
pub(in crate::policy) mod compile_cache;
pub(in crate::policy) mod compiled;
mod compiler;
pub(in crate::policy) mod contract;
mod describe;
pub(in crate::policy) mod engine;
pub(crate) mod execution;
mod fuel;
mod imports;
mod instance;
pub(in crate::policy) mod limits;
mod meter;
pub(crate) mod pool;
mod priority;
pub(in crate::policy) mod shortage;
mod slow_worker;
